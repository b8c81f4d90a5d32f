// The list of jobs, and the form to submit one.

import { ask } from "../api.js";
import { ago, h, hostLink, jobLink, patch, state, table, took } from "../dom.js";
import { newestFirst, PAGE, world } from "../world.js";

/** Rows drawn at once: more than fit on a screen, fewer than make a browser slow. */
const ROWS = 100;

/** Older jobs kept while the list is open. */
const MOST_OLDER = 5000;

export function jobs() {
  const list = h("div", {});
  const said = h("p", { role: "status", class: "soft" });
  let older = new Map();
  let cursor;
  let rows = ROWS;
  let loading = false;

  const status = h("select", { id: "status", onchange: () => again() },
    ["", "queued", "leased", "completed", "failed"].map((word) => h("option", { value: word }, word || "any state")));
  const words = h("input", { id: "words", type: "search", placeholder: "id, command, host or submitter", size: 30, oninput: () => { rows = ROWS; draw(); } });
  const more = h("button", { class: "plain", type: "button", onclick: () => { rows += ROWS; fill(); } }, "Show more");

  /** From the newest on, with the filter that is set. */
  function again() {
    older = new Map();
    cursor = undefined;
    rows = ROWS;
    fill();
  }

  const start = () => (status.value === "" ? world.next : "");

  function fits() {
    const text = words.value.trim().toLowerCase();
    const one = (job) => (status.value === "" || job.status === status.value)
      && (text === "" || [job.id, job.title, job.assignedHostId, job.submittedBy].some((part) => part?.toLowerCase().includes(text)));
    const all = new Map(older);
    for (const job of world.jobs.values()) all.set(job.id, job);
    return [[...all.values()].filter(one).sort(newestFirst), all.size];
  }

  /** The node has more that were not read. */
  const goesOn = () => (cursor === undefined ? start() !== undefined : cursor !== null) && older.size < MOST_OLDER;

  /** Reads older ones from the node until there are as many as are to be drawn. */
  async function fill() {
    draw();
    if (loading || fits()[0].length >= rows || !goesOn()) return;
    loading = true;
    const asked = status.value;
    try {
      const from = cursor ?? start();
      const page = await ask(`v1/jobs?view=brief&order=newest&limit=${PAGE}${asked && `&status=${asked}`}${from && `&cursor=${from}`}`);
      if (asked === status.value) {
        for (const job of page.jobs) older.set(job.id, job);
        cursor = page.next ?? null;
      }
    } catch (error) {
      said.textContent = error.message;
    }
    loading = false;
    draw();
    if (asked !== status.value) fill();
  }

  function draw() {
    const [all, known] = fits();
    patch(list, table("Jobs", [
      ["Job", jobLink],
      ["State", (job) => state(job.status)],
      ["Host", (job) => job.assignedHostId && hostLink(job.assignedHostId, world.hosts.get(job.assignedHostId)?.name), "wide"],
      ["Attempts", (job) => String(job.attempts), "wide number"],
      ["Took", (job) => took(job.durationMs), "number"],
      ["Made", (job) => ago(job.createdAt)],
    ], all.slice(0, rows), "No job fits."));
    more.hidden = all.length <= rows && !goesOn();
    const counts = world.status?.jobs;
    const total = counts && counts.queued + counts.leased + counts.completed + counts.failed;
    const text = `${all.length} of the ${known} newest jobs${total > known ? `, of ${total} in all` : ""}`;
    if (said.textContent !== text) said.textContent = text;
  }

  const find = (event) => {
    event.preventDefault();
    const text = words.value.trim();
    if (text.startsWith("job_") && fits()[0].length !== 1) location.hash = `#/jobs/${encodeURIComponent(text)}`;
    else fill();
  };
  return { element: h("div", {}, h("h2", {}, "Jobs"), submitForm(),
    h("form", { class: "row", role: "search", onsubmit: find },
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
