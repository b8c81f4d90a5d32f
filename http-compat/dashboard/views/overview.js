// How the network does, at a glance.

import { h, state, table, ago } from "../dom.js";
import { newestFirst, world } from "../world.js";

export function overview() {
  const element = h("div", {});
  return {
    element,
    draw() {
      const jobs = [...world.jobs.values()];
      const count = (status) => jobs.filter((job) => job.status === status).length;
      const services = [...world.services.values()];
      const running = services.filter((service) => service.status === "running").length;
      const peers = world.network?.peers ?? [];
      const tile = (number, what, href) => h("li", {}, h("a", { href }, h("b", {}, String(number)), what));
      const recent = jobs.sort(newestFirst).slice(0, 10);
      element.replaceChildren(
        h("h2", {}, "Overview"),
        h("ul", { class: "tiles" },
          tile(count("queued"), "jobs queued", "#/jobs"), tile(count("leased"), "jobs running", "#/jobs"),
          tile(count("completed"), "completed", "#/jobs"), tile(count("failed"), "failed", "#/jobs"),
          tile(`${running}/${services.length}`, "services running", "#/services"),
          tile(world.hosts.size, "hosts", "#/hosts"),
          tile(`${peers.filter((peer) => peer.connected).length}/${peers.length}`, "peers connected", "#/network")),
        h("h3", {}, "Latest jobs"),
        table("Latest jobs", [
          ["Job", (job) => h("a", { href: `#/jobs/${encodeURIComponent(job.id)}` }, h("code", {}, job.title || job.id))],
          ["State", (job) => state(job.status)],
          ["Made", (job) => ago(job.createdAt)],
        ], recent, "No job was submitted yet."));
    },
  };
}
