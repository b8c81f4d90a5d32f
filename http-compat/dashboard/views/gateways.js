// Gateways: those that are known, and what goes through each.

import { ago, facts, h, patch, state, table } from "../dom.js";
import { MOST, ofService, traffic } from "../traffic.js";
import { world } from "../world.js";

const LOOK_MS = 2000;

export function gateways() {
  const body = h("div", {});
  const measure = traffic();
  let through = [];
  async function look() {
    through = await measure();
    draw();
  }
  const reasons = (counts) => Object.entries(counts).map(([reason, count]) => `${reason} ${count}`).join(", ");

  function one({ id, name, seen, trouble }) {
    const title = id === "" ? "Through this node" : `Through ${name}`;
    const services = seen ? [...seen.services.keys()].sort().map((service) => ({ key: service, ...ofService([seen], service) })) : [];
    return h("section", { "data-key": `through-${id}` },
      h("h3", {}, title),
      trouble && h("p", { class: "bad", "data-key": "trouble" }, trouble),
      seen && table(title, [
        ["Service", (it) => it.name],
        ["Requests a second", (it) => it.rate, "number"],
        ["Answers", (it) => String(it.answers), "number"],
        ["Failed (5xx)", (it) => String(it.bad), "number"],
        ["Half within", (it) => it.half, "number"],
        ["95 % within", (it) => it.most, "number"],
        ["Sent once more", (it) => String(it.retries), "wide number"],
      ], services, "Nothing has come through it."),
      seen && facts([["Connections", String(seen.totals.connections ?? 0)], ["Upgraded connections", String(seen.totals.tunnels ?? 0)],
        ["Instances passed over", `${seen.totals.ejections ?? 0} times since its start`],
        ["Attempts that came to nothing", reasons(seen.failures)], ["Answered by the gateway itself", reasons(seen.refusals)]]));
  }

  function draw() {
    const peers = (world.network?.peers ?? []).filter((peer) => peer.roles.includes("gateway"));
    patch(body,
      through.map(one),
      h("h3", { "data-key": "known" }, "Other nodes that are gateways"),
      table("Other nodes that are gateways", [
        ["Gateway", (peer) => peer.label || peer.peerId],
        ["State", (peer) => state(peer.connected ? "connected" : "away")],
        ["Path", (peer) => peer.path ?? ""],
        ["Since", (peer) => ago(peer.since)],
      ], peers, "None is known here."),
      peers.filter((peer) => peer.connected).length > MOST
        && h("p", { class: "soft", "data-key": "note" }, `Of the connected ones ${MOST} are asked what goes through them.`));
  }

  look();
  const timer = setInterval(look, LOOK_MS);
  return { element: h("div", {}, h("h2", {}, "Gateways"), body), draw, leave: () => clearInterval(timer) };
}
