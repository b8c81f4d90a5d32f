// Hosts: what each can do, what it does, and why it does nothing.

import { ago, facts, h, hostLink, jobLink, patch, seconds, state, table } from "../dom.js";
import { asked, lines } from "../why.js";
import { newestFirst, SILENT_S, world } from "../world.js";

/** How a host stands of which no coordinator says so, by what is shown of it and of jobs anyway. */
function stands(host, waiting) {
  const silent = seconds(host.lastSeenAt);
  if (silent >= SILENT_S) return { status: "silent", because: `not heard of for ${Math.round(silent)} s` };
  if (host.activeLeases >= host.maxParallel) return { status: "busy", because: "all its slots are taken" };
  if (host.activeLeases > 0) return { status: "running", because: "has slots free" };
  if (waiting.length === 0) return { status: "idle", because: "no job waits" };
  const missing = new Set();
  for (const job of waiting) {
    const lacks = (job.needs ?? []).filter((need) => !host.capabilities.includes(need));
    if (lacks.length === 0) return { status: "idle", because: "about to take a job, or it rests" };
    for (const need of lacks) missing.add(need);
  }
  return { status: "idle", because: `the jobs that wait need ${[...missing].slice(0, 5).join(", ")}` };
}

const waiting = () => [...world.jobs.values()].filter((job) => job.status === "queued");
const can = (host) => host.capabilities.filter((word) => !word.startsWith("sandbox:")).join(", ");
const openclaw = (host) => host.openclaw && (host.openclaw.trouble ?? host.openclaw.version ?? "yes");

export function hosts() {
  const list = h("div", {});
  const said = h("p", { class: "soft" });
  const why = asked("v1/status?hosts=1", () => view.draw());
  const view = {
    element: h("div", {}, h("h2", {}, "Hosts"), said, list),
    draw() {
      // A coordinator looks at so many hosts for one answer, and says how many it left out; of those it is said
      // what can be seen anyway.
      const told = new Map((why.answer?.hosts ?? []).map((host) => [host.id, host]));
      const more = why.answer?.moreHosts ?? 0;
      const jobs = waiting();
      const of = (host) => told.get(host.id) ?? stands(host, jobs);
      const all = [...world.hosts.values()].sort((a, b) => (a.name < b.name ? -1 : 1));
      const slots = all.reduce((sum, host) => sum + host.maxParallel, 0);
      const taken = all.reduce((sum, host) => sum + host.activeLeases, 0);
      const heard = all.filter((host) => seconds(host.lastSeenAt) < SILENT_S).length;
      said.textContent = `${heard} of ${all.length} hosts heard of; ${taken} of ${slots} slots taken${more > 0 ? `; the coordinator explains all but ${more}` : ""}`;
      patch(list, table("Hosts", [
        ["Host", (host) => hostLink(host.id, host.name)],
        ["State", (host) => state(of(host).status)],
        ["Why", (host) => of(host).because, "wide"],
        ["Runs", (host) => `${host.activeLeases} of ${host.maxParallel}`, "number"],
        ["Sandbox", (host) => host.sandbox ?? "none"],
        ["OpenClaw", (host) => openclaw(host) ?? "", "wide"],
        ["Can", can, "wide"],
        ["Seen", (host) => ago(host.lastSeenAt)],
      ], all, "No host has registered: skyclaw-node --role host lends a machine."));
    },
    leave: () => why.stop(),
  };
  return view;
}

export function host(id) {
  const body = h("div", {});
  const asking = asked(`v1/hosts/${encodeURIComponent(id)}/why`, () => view.draw());
  const view = {
    element: h("div", {}, h("h2", {}, "Host ", h("code", {}, id)), body),
    draw() {
      const it = world.hosts.get(id);
      if (!it) return patch(body, h("p", { "data-key": "none" }, world.status ? "No such host is known." : ""));
      const why = asking.answer?.why ?? stands(it, waiting());
      const its = [...world.jobs.values()].filter((job) => job.assignedHostId === id).sort(newestFirst);
      return patch(body,
        facts([["Name", it.name], ["State", state(why.status)], ["Because", why.because], ["Then", why.then], ["Runs", `${it.activeLeases} of ${it.maxParallel}`],
          ["Sandbox", it.sandbox ?? "none"], ["OpenClaw", openclaw(it)], ["Can", can(it)], ["Seen", ago(it.lastSeenAt)],
          ["Registered", ago(it.registeredAt)], ["Told by", it.updatedBy]]),
        lines("What waits", why.waiting),
        h("h3", { "data-key": "title" }, "Its latest jobs"),
        table("Its latest jobs", [["Job", jobLink], ["State", (job) => state(job.status)], ["Made", (job) => ago(job.createdAt)]],
          its.slice(0, 50), "None of the newest jobs ran there."));
    },
    leave: () => asking.stop(),
  };
  return view;
}
