// How the network does, at a glance.

import { ago, h, jobLink, patch, seconds, state, table } from "../dom.js";
import { newestFirst, SILENT_S, world } from "../world.js";

export function overview() {
  const body = h("div", {});
  return {
    element: h("div", {}, h("h2", {}, "Overview"), body),
    draw() {
      if (!world.status) return;
      const { jobs, ready, reasons } = world.status;
      const services = [...world.services.values()];
      const running = services.filter((service) => service.status === "running").length;
      const hosts = [...world.hosts.values()];
      const heard = hosts.filter((host) => seconds(host.lastSeenAt) < SILENT_S).length;
      const peers = world.network?.peers ?? [];
      const tile = (number, what, href) => h("li", { "data-key": what }, h("a", { href }, h("b", {}, String(number)), what));
      const recent = [...world.jobs.values()].sort(newestFirst).slice(0, 10);
      patch(body,
        !ready && h("div", { class: "notice bad", "data-key": "trouble" }, h("p", {}, "This node cannot do all of its work:"),
          h("ul", {}, reasons.map((reason) => h("li", {}, reason)))),
        h("ul", { class: "tiles", "data-key": "tiles" },
          tile(jobs.queued, "jobs queued", "#/jobs"), tile(jobs.leased, "jobs running", "#/jobs"),
          tile(jobs.completed, "jobs completed", "#/jobs"), tile(jobs.failed, "jobs failed", "#/jobs"),
          tile(`${running}/${services.length}`, "services running", "#/services"),
          tile(`${heard}/${hosts.length}`, "hosts heard of", "#/hosts"),
          tile(`${peers.filter((peer) => peer.connected).length}/${peers.length}`, "peers connected", "#/network")),
        h("h3", { "data-key": "latest" }, "Latest jobs"),
        table("Latest jobs", [
          ["Job", jobLink],
          ["State", (job) => state(job.status)],
          ["Made", (job) => ago(job.createdAt)],
        ], recent, "No job was submitted yet."));
    },
  };
}
