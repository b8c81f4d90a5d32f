// Who is connected with whom, as this node sees it.

import { ago, facts, h, state, svg, table } from "../dom.js";
import { world } from "../world.js";

/** Peers drawn as a map; the table has all of them. */
const DRAWN = 60;

export function network() {
  const body = h("div", {});
  return {
    element: h("div", {}, h("h2", {}, "Network"), body),
    draw() {
      const view = world.network;
      if (!view) return;
      body.replaceChildren(
        facts([["This node", view.nodeId], ["Network", view.network], ["Peer id", view.peerId && h("code", {}, view.peerId)]]),
        h("h3", {}, "Map"), map(view),
        h("h3", {}, "Peers"),
        table("Peers", [
          ["Peer", (peer) => peer.label || peer.peerId],
          ["State", (peer) => state(peer.connected ? "connected" : "away")],
          ["Roles", (peer) => peer.roles.join(", ")],
          ["Path", (peer) => peer.path ?? ""],
          ["Round trip", (peer) => peer.rttMs === undefined ? "" : `${peer.rttMs.toFixed(1)} ms`, "number"],
          ["Since", (peer) => ago(peer.since)],
          ["Trouble", (peer) => h("span", { class: "bad" }, peer.why ?? ""), "wide"],
        ], view.peers, "No peer is known."),
        view.refused.length > 0 && [h("h3", {}, "Not let in"),
          table("Not let in", [["Peer", (it) => h("code", {}, it.peerId)], ["Why", (it) => it.why], ["By", (it) => it.by], ["When", (it) => ago(it.at)]], view.refused, "")]);
    },
  };
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
  return h("figure", {}, picture);
}
