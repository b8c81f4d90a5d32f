// Which view is shown, and the question for a token.

import { keepToken } from "./api.js";
import { h } from "./dom.js";
import { follow, onChange, world } from "./world.js";
import { overview } from "./views/overview.js";
import { jobs } from "./views/jobs.js";
import { job } from "./views/job.js";
import { services, service } from "./views/services.js";
import { hosts } from "./views/hosts.js";
import { network } from "./views/network.js";

const main = document.getElementById("main");
const live = document.getElementById("live");

const VIEWS = [
  [/^\/$/, "Overview", overview],
  [/^\/jobs$/, "Jobs", jobs],
  [/^\/jobs\/(.+)$/, "Job", job],
  [/^\/services$/, "Services", services],
  [/^\/services\/(.+)$/, "Service", service],
  [/^\/hosts$/, "Hosts", hosts],
  [/^\/network$/, "Network", network],
];

let leave = () => {};

function show(moved) {
  leave();
  const path = location.hash.replace(/^#/, "") || "/";
  const found = VIEWS.map(([pattern, title, view]) => [path.match(pattern), title, view]).find(([match]) => match);
  const [match, title, view] = found ?? [[""], "Not found", () => ({ element: h("p", {}, "There is no such view.") })];
  for (const link of document.querySelectorAll("nav a")) {
    const target = link.getAttribute("href").slice(1);
    const here = target === "/" ? path === "/" : path.startsWith(target);
    if (here) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  document.title = `${title} · Skyclaw`;
  const shown = view(...match.slice(1).map(decodeURIComponent));
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
    const form = h("form", {
      onsubmit: (event) => {
        event.preventDefault();
        keepToken(field.value);
        done();
        show(true);
      },
    }, h("h2", {}, "This node asks for a token"), error.status === 403 && h("p", { class: "bad" }, "That key may not read everything."),
    h("p", {}, "The network's token (SKYCLAW_TOKEN), or a key with the scope read (skyclaw keys create). It stays in this tab."),
    h("label", { for: "token" }, "Token or key"), field, h("button", {}, "Open"));
    main.replaceChildren(form);
    field.focus();
  });
}

onChange(() => {
  live.textContent = world.live === "live" ? `live · ${world.network?.nodeId ?? ""}` : world.live;
});
addEventListener("hashchange", () => show(true));
show(false);
follow(locked);
