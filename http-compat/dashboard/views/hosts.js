// Hosts: what each can do, what it does, and why it does nothing.

import { ago, facts, h, hostLink, jobLink, patch, seconds, state, table } from "../dom.js";
import { newestFirst, SILENT_S, world } from "../world.js";

/** How a host stands, in a word and a reason, by the rules that coordinators match by. */
function stands(host, waiting) {
  const silent = seconds(host.lastSeenAt);
  if (silent >= SILENT_S) return ["silent", `not heard of for ${Math.round(silent)} s; what it held goes to others`];
  if (host.activeLeases >= host.maxParallel) return ["busy", "all its slots are taken"];
  if (host.activeLeases > 0) return ["running", "has slots free"];
  if (waiting.length === 0) return ["idle", "no job waits"];
  const missing = new Set();
  for (const job of waiting) {
    const lacks = (job.needs ?? []).filter((need) => !host.capabilities.includes(need));
    if (lacks.length === 0) return ["idle", "about to take a job, or it rests"];
    for (const need of lacks) missing.add(need);
  }
  return ["idle", `the jobs that wait need ${[...missing].slice(0, 5).join(", ")}`];
}

const waiting = () => [...world.jobs.values()].filter((job) => job.status === "queued");
const can = (host) => host.capabilities.filter((word) => !word.startsWith("sandbox:")).join(", ");
const openclaw = (host) => host.openclaw && (host.openclaw.trouble ?? host.openclaw.version ?? "yes");

export function hosts() {
  const list = h("div", {});
  const said = h("p", { class: "soft" });
  return {
    element: h("div", {}, h("h2", {}, "Hosts"), said, list),
    draw() {
      const jobs = waiting();
      const all = [...world.hosts.values()].sort((a, b) => (a.name < b.name ? -1 : 1));
      const slots = all.reduce((sum, host) => sum + host.maxParallel, 0);
      const taken = all.reduce((sum, host) => sum + host.activeLeases, 0);
      const heard = all.filter((host) => seconds(host.lastSeenAt) < SILENT_S).length;
      said.textContent = `${heard} of ${all.length} hosts heard of; ${taken} of ${slots} slots taken`;
      patch(list, table("Hosts", [
        ["Host", (host) => hostLink(host.id, host.name)],
        ["State", (host) => state(stands(host, jobs)[0])],
        ["Why", (host) => stands(host, jobs)[1], "wide"],
        ["Runs", (host) => `${host.activeLeases} of ${host.maxParallel}`, "number"],
        ["Sandbox", (host) => host.sandbox ?? "none"],
        ["OpenClaw", (host) => openclaw(host) ?? "", "wide"],
        ["Can", can, "wide"],
        ["Seen", (host) => ago(host.lastSeenAt)],
      ], all, "No host has registered: skyclaw-node --role host lends a machine."));
    },
  };
}

export function host(id) {
  const body = h("div", {});
  return {
    element: h("div", {}, h("h2", {}, "Host ", h("code", {}, id)), body),
    draw() {
      const it = world.hosts.get(id);
      if (!it) return patch(body, h("p", { "data-key": "none" }, world.status ? "No such host is known." : ""));
      const [word, why] = stands(it, waiting());
      const its = [...world.jobs.values()].filter((job) => job.assignedHostId === id).sort(newestFirst);
      return patch(body,
        facts([["Name", it.name], ["State", state(word)], ["Why", why], ["Runs", `${it.activeLeases} of ${it.maxParallel}`],
          ["Sandbox", it.sandbox ?? "none"], ["OpenClaw", openclaw(it)], ["Can", can(it)], ["Seen", ago(it.lastSeenAt)],
          ["Registered", ago(it.registeredAt)], ["Told by", it.updatedBy]]),
        h("h3", { "data-key": "title" }, "Its latest jobs"),
        table("Its latest jobs", [["Job", jobLink], ["State", (job) => state(job.status)], ["Made", (job) => ago(job.createdAt)]],
          its.slice(0, 50), "None of the newest jobs ran there."));
    },
  };
}
