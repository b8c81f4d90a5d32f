// What goes through gateways, from the numbers that their nodes count.

import { metrics } from "./api.js";
import { world } from "./world.js";

/** Other gateways that are asked at once: each is a tunnel and half a megabyte at most. */
export const MOST = 8;

/** Returns a function that asks this node, and the gateways it is connected with, what went through them since it last did. */
export function traffic() {
  let before = new Map();
  let last = [];
  let asking = false;
  return async () => {
    if (asking || document.visibilityState === "hidden") return last;
    asking = true;
    const peers = (world.network?.peers ?? []).filter((peer) => peer.connected && peer.roles.includes("gateway")).slice(0, MOST);
    const all = [{ id: "", name: world.network?.nodeId, path: "metrics" }, ...peers.map((peer) => ({
      id: peer.peerId, name: peer.label || peer.peerId, path: `v1/network/peers/${encodeURIComponent(peer.peerId)}/metrics`,
    }))];
    const measures = new Map(all.map(({ id }) => [id, before.get(id) ?? rates()]));
    before = measures;
    last = await Promise.all(all.map(async ({ id, name, path }) => {
      try {
        return { id, name, seen: measures.get(id)(await metrics(path)) };
      } catch (error) {
        return { id, name, trouble: error.message };
      }
    }));
    asking = false;
    return last;
  };
}

/** Of the numbers of a node, and those before, what happened between: returns a function to be given them. */
function rates() {
  let before = null;
  return (rows) => {
    const now = { at: performance.now(), services: new Map(), totals: {}, failures: {}, refusals: {} };
    for (const [name, labels, value] of rows) {
      if (!name.startsWith("gateway_")) continue;
      const what = name.slice(8);
      if (labels.service !== undefined) {
        const one = now.services.get(labels.service) ?? { answers: 0, bad: 0, retries: 0, buckets: [] };
        now.services.set(labels.service, one);
        if (what === "answers_total") {
          one.answers += value;
          if (labels.class === "5xx") one.bad += value;
        } else if (what === "retries_total") one.retries = value;
        else if (what === "seconds_bucket") one.buckets.push([labels.le === "+Inf" ? Infinity : Number(labels.le), value]);
      } else if (what === "endpoint_failures_total") now.failures[labels.reason] = value;
      else if (what === "refusals_total") now.refusals[labels.reason] = value;
      else now.totals[what.replace(/_total$/, "")] = value;
    }
    for (const [service, one] of now.services) {
      const old = before?.services.get(service)?.answers ?? (before ? 0 : one.answers);
      one.rate = before ? Math.max(0, one.answers - old) / Math.max(0.001, (now.at - before.at) / 1000) : 0;
    }
    before = now;
    return now;
  };
}

/** Within which time that share of the answers came; buckets say it no finer. */
function within(buckets, share) {
  const sorted = [...buckets].sort((a, b) => a[0] - b[0]);
  const all = sorted.at(-1)?.[1] ?? 0;
  if (all === 0) return "";
  const [most] = sorted.find(([, count]) => count >= all * share);
  return most === Infinity ? "over 60 s" : most < 1 ? `${most * 1000} ms` : `${most} s`;
}

/** What went through these gateways to one service; null if nothing did. */
export function ofService(all, name) {
  const ones = all.map((seen) => seen.services.get(name)).filter(Boolean);
  if (ones.length === 0) return null;
  const sum = (what) => ones.reduce((whole, one) => whole + one[what], 0);
  const buckets = new Map();
  for (const [most, count] of ones.flatMap((one) => one.buckets)) buckets.set(most, (buckets.get(most) ?? 0) + count);
  return { name, answers: sum("answers"), bad: sum("bad"), retries: sum("retries"), rate: sum("rate").toFixed(1),
    half: within([...buckets], 0.5), most: within([...buckets], 0.95) };
}
