// Which view is shown, and the question for a token.

import { keepToken } from "./api.js";
import { h } from "./dom.js";
import { follow, onChange, world } from "./world.js";
import { overview } from "./views/overview.js";
import { jobs } from "./views/jobs.js";
import { job } from "./views/job.js";
import { services, service } from "./views/services.js";
import { hosts, host } from "./views/hosts.js";
import { network } from "./views/network.js";
import { gateways } from "./views/gateways.js";

const main = document.getElementById("main");
const live = document.getElementById("live");

const VIEWS = [
  [/^\/$/, "Overview", overview],
  [/^\/jobs$/, "Jobs", jobs],
  [/^\/jobs\/(.+)$/, "Job", job],
  [/^\/services$/, "Services", services],
  [/^\/services\/(.+)$/, "Service", service],
  [/^\/hosts$/, "Hosts", hosts],
  [/^\/hosts\/(.+)$/, "Host", host],
  [/^\/network$/, "Network", network],
  [/^\/gateways$/, "Gateways", gateways],
];

let leave = () => {};
/** The question for a token, while it is open. */
let question = null;
let seen = false;

function route() {
  const path = location.hash.replace(/^#/, "") || "/";
  for (const [pattern, title, view] of VIEWS) {
    const match = path.match(pattern);
    if (!match) continue;
    try {
      return [path, title, view, match.slice(1).map(decodeURIComponent)];
    } catch {
      break;
    }
  }
  return [path, "Not found", () => ({ element: h("h2", {}, "There is no such view") }), []];
}

function show(moved) {
  leave();
  leave = () => {};
  const [path, title, view, parts] = route();
  for (const link of document.querySelectorAll("nav a")) {
    const target = link.getAttribute("href").slice(1);
    const here = target === "/" ? path === "/" : path === target || path.startsWith(`${target}/`);
    if (here) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  document.title = `${title} · Skyclaw`;
  if (question) return main.replaceChildren(question);
  const shown = view(...parts);
  main.replaceChildren(shown.element);
  const stop = shown.draw ? onChange(shown.draw) : () => {};
  shown.draw?.();
  leave = () => {
    stop();
    shown.leave?.();
  };
  // Whoever reads with a screen reader hears the new view.
  if (moved) main.focus();
}

/** Asks for a token until one was given. */
function locked(error) {
  return new Promise((done) => {
    const field = h("input", { type: "password", autocomplete: "current-password", required: true, id: "token" });
    question = h("form", {
      onsubmit: (event) => {
        event.preventDefault();
        try {
          keepToken(field.value);
        } catch (wrong) {
          field.setCustomValidity(wrong.message);
          field.reportValidity();
          return;
        }
        question = null;
        done();
        show(true);
      },
    }, h("h2", {}, "This node asks for a token"), error.status === 403 && h("p", { class: "bad" }, error.message),
    h("p", {}, "The network's token (SKYCLAW_TOKEN), or a key with the scope read (skyclaw keys create). It stays in this tab."),
    // Browsers that keep passwords keep them under a name.
    h("input", { type: "text", autocomplete: "username", "aria-label": "Name", value: "skyclaw", hidden: true }),
    h("label", { for: "token" }, "Token or key"), field, h("button", {}, "Open"));
    field.addEventListener("input", () => field.setCustomValidity(""));
    show(false);
    field.focus();
  });
}

onChange(() => {
  const words = world.live === "live" ? `live · ${world.network?.nodeId ?? ""}` : world.live;
  // Read out each time it is set.
  if (live.textContent !== words) live.textContent = words;
  if (world.live === "live" && !seen) {
    seen = true;
    // The view is drawn after this, and before the frame.
    requestAnimationFrame(() => performance.mark("first-view"));
  }
});
document.querySelector(".skip").addEventListener("click", (event) => {
  // Its place is no view.
  event.preventDefault();
  main.focus();
});
addEventListener("hashchange", () => show(true));
show(false);
follow(locked);
