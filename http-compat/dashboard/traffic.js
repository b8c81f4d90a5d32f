// What goes through a gateway, from the numbers that its node counts.

/** Of the numbers of a node, and those before, what happened between: returns a function to be given them. */
export function rates() {
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

export function ofService(seen, name) {
  const one = seen?.services.get(name);
  if (!one) return null;
  return { name, answers: one.answers, bad: one.bad, retries: one.retries, rate: one.rate.toFixed(1),
    half: within(one.buckets, 0.5), most: within(one.buckets, 0.95) };
}
