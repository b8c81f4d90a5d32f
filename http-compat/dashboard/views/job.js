// One job: what it is, what became of it, and what can be done with it.

import { ask } from "../api.js";
import { ago, facts, h, state, took } from "../dom.js";
import { world } from "../world.js";

export function job(id) {
  const body = h("div", {});
  const said = h("p", { role: "status" });
  const path = `v1/jobs/${encodeURIComponent(id)}`;
  let shown = null;
  let asking = false;

  async function act(what, then) {
    try {
      const answer = await ask(`${path}/${what}`, { method: "POST" });
      said.textContent = then(answer);
    } catch (error) {
      said.replaceChildren(h("span", { class: "bad" }, error.message));
    }
  }

  async function look() {
    if (asking) return;
    asking = true;
    try {
      render((await ask(path)).job);
    } catch (error) {
      body.replaceChildren(h("p", { class: "bad" }, error.message));
    }
    asking = false;
  }

  function render(job) {
    shown = job.updatedAt;
    const over = job.status === "completed" || job.status === "failed";
    const result = job.result ?? {};
    body.replaceChildren(
      facts([["State", state(job.status)], ["Made", ago(job.createdAt)], ["Changed", ago(job.updatedAt)],
        ["Submitted by", job.submittedBy], ["Host", job.assignedHostId && h("a", { href: "#/hosts" }, job.assignedHostId)],
        ["Attempts", String(job.attempts)], ["Needs", job.requirement?.requiredCapabilities?.join(", ")],
        ["Exit code", result.exitCode?.toString()], ["Took", took(result.durationMs)], ["Error", job.error && h("span", { class: "bad" }, job.error)]]),
      h("div", { class: "actions" },
        !over && h("button", { type: "button", onclick: () => act("cancel", (answer) => answer.cancelling ? "It is being cancelled." : "It was cancelled.") }, "Cancel")),
      h("h3", {}, "Output"), h("pre", { tabindex: "0", "aria-label": "Output" }, result.stdout || "(none)"),
      result.stderr && [h("h3", {}, "Errors"), h("pre", { tabindex: "0", "aria-label": "Errors" }, result.stderr)],
      h("h3", {}, "Payload"), h("pre", { tabindex: "0", "aria-label": "Payload" }, JSON.stringify(job.payload, null, 2)));
  }

  look();
  return {
    element: h("div", {}, h("h2", {}, "Job ", h("code", {}, id)), said, body),
    draw() {
      const known = world.jobs.get(id);
      if (known && known.updatedAt !== shown) look();
    },
  };
}
