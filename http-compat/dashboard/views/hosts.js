// Hosts: what each can do, and what it does.

import { ago, h, table } from "../dom.js";
import { world } from "../world.js";

export function hosts() {
  const list = h("div", {});
  return {
    element: h("div", {}, h("h2", {}, "Hosts"), list),
    draw() {
      const all = [...world.hosts.values()].sort((a, b) => a.name < b.name ? -1 : 1);
      list.replaceChildren(table("Hosts", [
        ["Host", (host) => [host.name, h("br", {}), h("code", { class: "soft" }, host.id)]],
        ["Runs", (host) => `${host.activeLeases} of ${host.maxParallel}`, "number"],
        ["Kept apart", (host) => host.sandbox ?? "none"],
        ["OpenClaw", (host) => host.openclaw ? host.openclaw.trouble ?? host.openclaw.version ?? "yes" : "", "wide"],
        ["Can", (host) => host.capabilities.filter((word) => !word.startsWith("sandbox:")).join(", "), "wide"],
        ["Seen", (host) => ago(host.lastSeenAt)],
      ], all, "No host has registered: skyclaw-node --role host lends a machine."));
    },
  };
}
