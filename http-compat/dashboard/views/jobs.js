// The list of jobs, and the form to submit one.

import { ask } from "../api.js";
import { ago, h, state, table, took } from "../dom.js";
import { newestFirst, world } from "../world.js";

/** Rows drawn at once: more than fit on a screen, fewer than make a browser slow. */
const ROWS = 100;

export function jobs() {
  const list = h("div", {});
  const said = h("p", { role: "status", class: "soft" });
  const status = h("select", { id: "status", onchange: () => draw() },
    ["", "queued", "leased", "completed", "failed"].map((word) => h("option", { value: word }, word || "any state")));
  const words = h("input", { id: "words", type: "search", placeholder: "id, command, host or submitter", oninput: () => draw() });
  let rows = ROWS;
  const more = h("button", { class: "plain", type: "button", onclick: () => { rows += ROWS; draw(); } }, "Show more");

  function draw() {
    const text = words.value.trim().toLowerCase();
    const fits = (job) => (status.value === "" || job.status === status.value)
      && (text === "" || [job.id, job.title, job.assignedHostId, job.submittedBy].some((part) => part?.toLowerCase().includes(text)));
    const all = [...world.jobs.values()].filter(fits).sort(newestFirst);
    list.replaceChildren(table("Jobs", [
      ["Job", (job) => h("a", { href: `#/jobs/${encodeURIComponent(job.id)}` }, h("code", {}, job.title || job.id))],
      ["State", (job) => state(job.status)],
      ["Host", (job) => job.assignedHostId ?? "", "wide"],
      ["Attempts", (job) => String(job.attempts), "wide number"],
      ["Took", (job) => took(job.durationMs), "number"],
      ["Made", (job) => ago(job.createdAt)],
    ], all.slice(0, rows), "No job fits."));
    more.hidden = all.length <= rows;
    said.textContent = `${all.length} of the ${world.jobs.size} newest jobs`;
  }

  return { element: h("div", {}, h("h2", {}, "Jobs"), submitForm(),
    h("form", { class: "row", role: "search", onsubmit: (event) => event.preventDefault() },
      h("label", { for: "status" }, "State", status), h("label", { for: "words" }, "Find", words)), said, list, more), draw };
}

/** Splits as a shell would, as far as quotes go. */
export function splitWords(text) {
  const words = [];
  for (const [, double, single, plain] of text.matchAll(/"((?:[^"\\]|\\.)*)"|'([^']*)'|(\S+)/g)) {
    words.push(double?.replace(/\\(.)/g, "$1") ?? single ?? plain);
  }
  return words;
}

function submitForm() {
  const line = h("input", { id: "command", required: true, placeholder: "sh -c 'date; echo done'", size: 50 });
  const needs = h("input", { id: "needs", placeholder: "none", size: 18 });
  const said = h("p", { role: "status" });
  const button = h("button", {}, "Submit");
  const submit = async (event) => {
    event.preventDefault();
    const [command, ...args] = splitWords(line.value);
    const requiredCapabilities = needs.value.split(",").map((word) => word.trim()).filter(Boolean);
    button.disabled = true;
    try {
      const { job } = await ask("v1/jobs", { method: "POST",
        body: { payload: { kind: "shell", command, args }, requirement: { requiredCapabilities } } });
      said.replaceChildren("Submitted as ", h("a", { href: `#/jobs/${encodeURIComponent(job.id)}` }, job.id));
      line.value = "";
    } catch (error) {
      said.replaceChildren(h("span", { class: "bad" }, error.message));
    }
    button.disabled = false;
  };
  return h("details", {}, h("summary", {}, "Submit a job"), h("form", { class: "row", onsubmit: submit },
    h("label", { for: "command" }, "Command", line), h("label", { for: "needs" }, "Capabilities, with commas", needs), button), said);
}
