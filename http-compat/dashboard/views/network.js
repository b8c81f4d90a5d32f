// Who is connected with whom as this node sees it, and who votes with whom.

import { ask } from "../api.js";
import { ago, facts, h, patch, state, svg, table } from "../dom.js";
import { world } from "../world.js";

/** Peers drawn as a map; the table has all of them. */
const DRAWN = 60;

/** Between two looks at who votes: it is counted over the newest jobs. */
const LOOK_MS = 5000;

export function network() {
  const body = h("div", {});
  let status = null;
  async function look() {
    try {
      status = await ask("v1/status?keepers=1");
    } catch {
      status = null;
    }
    draw();
  }

  function draw() {
    const view = world.network;
    if (!view) return;
    patch(body,
      facts([["This node", view.nodeId], ["Network", view.network], ["Peer id", view.peerId && h("code", {}, view.peerId)]]),
      h("h3", { "data-key": "map-title" }, "Map"), map(view),
      h("h3", { "data-key": "peers-title" }, "Peers"),
      table("Peers", [
        ["Peer", (peer) => peer.label || peer.peerId],
        ["State", (peer) => state(peer.connected ? "connected" : "away")],
        ["Roles", (peer) => peer.roles.join(", ")],
        ["Path", (peer) => peer.path ?? ""],
        ["Round trip", (peer) => (peer.rttMs === undefined ? "" : `${peer.rttMs.toFixed(1)} ms`), "number"],
        ["Since", (peer) => ago(peer.since)],
        ["Trouble", (peer) => h("span", { class: "bad" }, peer.why ?? ""), "wide"],
      ], view.peers, "No peer is known."),
      status && replication(view, status),
      view.refused.length > 0 && [h("h3", { "data-key": "refused-title" }, "Not let in"),
        table("Not let in", [["Peer", (it) => h("code", {}, it.peerId)], ["Why", (it) => it.why], ["By", (it) => it.by], ["When", (it) => ago(it.at)]],
          view.refused.map((it, n) => ({ ...it, key: String(n), peerId: it.peerId, id: `${it.peerId}-${n}` })), "")]);
  }

  look();
  const timer = setInterval(look, LOOK_MS);
  return { element: h("div", {}, h("h2", {}, "Network"), body), draw, leave: () => clearInterval(timer) };
}

function replication(view, { ready, reasons, coordinators, jobs, keepers }) {
  const names = new Map(view.peers.map((peer) => [peer.peerId, peer.label]));
  names.set(view.peerId, view.nodeId);
  const name = (peer) => names.get(peer) || peer;
  const leads = (group) => Object.entries(group.leads).map(([peer, count]) => `${name(peer)} ${count}`).join(", ");
  return h("section", { "data-key": "replication" }, h("h3", {}, "Replication"),
    facts([["Writes", ready ? state("ready") : h("span", { class: "bad" }, reasons.join("; "))],
      ["Other coordinators", `${coordinators.connected} connected, each write needs ${coordinators.needed}`],
      ["Undecided jobs", `${jobs.undecided}, of which this node has not heard what was chosen`]]),
    h("h4", {}, `Who votes on the ${keepers.newestJobs} newest jobs`),
    table("Who votes", [
      ["Voters", (group) => group.voters.map(name).join(", ")],
      ["Votes needed", (group) => `${group.quorum} of ${group.voters.length}`, "number"],
      ["Jobs", (group) => String(group.jobs), "number"],
      ["Led by", leads],
    ], keepers.groups.map((group) => ({ ...group, key: group.voters.join() })), "No job is known."));
}

function map(view) {
  const peers = view.peers.slice(0, DRAWN);
  const [width, height] = [800, 420];
  const at = (n) => {
    const angle = 2 * Math.PI * n / Math.max(peers.length, 1) - Math.PI / 2;
    return [width / 2 + Math.cos(angle) * 320, height / 2 + Math.sin(angle) * 160];
  };
  const text = `This node and ${view.peers.filter((peer) => peer.connected).length} connected of ${view.peers.length} known peers`;
  const picture = svg("svg", { class: "map", viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": text });
  peers.forEach((peer, n) => {
    const [x, y] = at(n);
    if (peer.connected) picture.append(svg("line", { x1: width / 2, y1: height / 2, x2: x, y2: y, class: peer.path ?? "direct" }));
  });
  const node = (x, y, label, roles, style) => picture.append(
    svg("circle", { cx: x, cy: y, r: roles.includes("coordinator") ? 13 : 9, class: style }),
    svg("text", { x, y: y + 28 }, label.slice(0, 18)));
  peers.forEach((peer, n) => node(...at(n), peer.label || peer.peerId.slice(-8), peer.roles, peer.connected ? "here" : "away"));
  node(width / 2, height / 2, view.nodeId, ["coordinator"], "here");
  return h("figure", { "data-key": "map" }, picture, h("figcaption", { class: "soft" },
    "Lines are connections, dashed ones lead through a relay; large circles are coordinators, dashed ones are away."));
}
