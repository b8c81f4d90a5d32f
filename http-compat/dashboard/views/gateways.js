// Gateways: those that are known, and what goes through the one of this node.

import { metrics } from "../api.js";
import { ago, facts, h, patch, state, table } from "../dom.js";
import { ofService, rates } from "../traffic.js";
import { world } from "../world.js";

const LOOK_MS = 2000;

export function gateways() {
  const body = h("div", {});
  const measure = rates();
  let seen = null;
  let trouble = "";
  async function look() {
    try {
      seen = measure(await metrics());
      trouble = "";
    } catch (error) {
      trouble = error.message;
    }
    draw();
  }
  const reasons = (counts) => Object.entries(counts).map(([reason, count]) => `${reason} ${count}`).join(", ");

  function draw() {
    const peers = (world.network?.peers ?? []).filter((peer) => peer.roles.includes("gateway"));
    const services = seen ? [...seen.services.keys()].sort().map((name) => ({ key: name, ...ofService(seen, name) })) : [];
    patch(body,
      h("h3", { "data-key": "here" }, "Through this node"),
      trouble !== "" && h("p", { class: "bad", "data-key": "trouble" }, trouble),
      table("Through this node", [
        ["Service", (it) => it.name],
        ["Requests a second", (it) => it.rate, "number"],
        ["Answers", (it) => String(it.answers), "number"],
        ["Failed (5xx)", (it) => String(it.bad), "number"],
        ["Half within", (it) => it.half, "number"],
        ["95 % within", (it) => it.most, "number"],
        ["Sent once more", (it) => String(it.retries), "wide number"],
      ], services, "Nothing has come through a gateway of this node."),
      seen && facts([["Connections", String(seen.totals.connections ?? 0)], ["Upgraded connections", String(seen.totals.tunnels ?? 0)],
        ["Instances passed over", `${seen.totals.ejections ?? 0} times since its start`],
        ["Attempts that came to nothing", reasons(seen.failures)], ["Answered by the gateway itself", reasons(seen.refusals)]]),
      h("h3", { "data-key": "others" }, "Other gateways"),
      table("Other gateways", [
        ["Gateway", (peer) => peer.label || peer.peerId],
        ["State", (peer) => state(peer.connected ? "connected" : "away")],
        ["Path", (peer) => peer.path ?? ""],
        ["Since", (peer) => ago(peer.since)],
      ], peers, "None is known here."),
      peers.length > 0 && h("p", { class: "soft", "data-key": "note" }, "What goes through them, each counts for itself."));
  }

  look();
  const timer = setInterval(look, LOOK_MS);
  return { element: h("div", {}, h("h2", {}, "Gateways"), body), draw, leave: () => clearInterval(timer) };
}
