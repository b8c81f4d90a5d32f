// What is known of the network: lists read once, kept up by events, bounded.

import { ask, events, Refused } from "./api.js";

/** Jobs kept: what is older is found by the filter at the node. */
export const MOST_JOBS = 2000;

/** Between two looks at what no event tells: peers, and when hosts were last seen. */
const LOOK_MS = 5000;

export const world = { jobs: new Map(), services: new Map(), hosts: new Map(), network: null, live: "connecting" };

const listeners = new Set();
let drawing = false;

/** Calls `listener` after changes, at most once a frame. Returns how to end that. */
export function onChange(listener) {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

function changed() {
  if (drawing) return;
  drawing = true;
  requestAnimationFrame(() => {
    drawing = false;
    for (const listener of listeners) listener();
  });
}

function keep(map, list) {
  map.clear();
  for (const one of list) map.set(one.id, one);
}

function keepJob(job) {
  const known = world.jobs.get(job.id);
  if (known && known.updatedAt > job.updatedAt) return;
  world.jobs.set(job.id, job);
  if (world.jobs.size > MOST_JOBS * 1.1) {
    const old = [...world.jobs.values()].sort(newestFirst).slice(MOST_JOBS);
    for (const one of old) world.jobs.delete(one.id);
  }
}

export function newestFirst(a, b) {
  return a.createdAt < b.createdAt ? 1 : a.createdAt > b.createdAt ? -1 : a.id < b.id ? 1 : -1;
}

async function readAll() {
  const [jobs, services, hosts, network] = await Promise.all([
    ask("v1/jobs?view=brief&order=newest&limit=500"), ask("v1/services?details=1"), ask("v1/hosts"),
    ask("v1/network"),
  ]);
  keep(world.jobs, jobs.jobs);
  keep(world.services, services.services);
  keep(world.hosts, hosts.hosts);
  world.network = network;
  changed();
}

async function look() {
  try {
    const [hosts, network] = await Promise.all([ask("v1/hosts"), ask("v1/network")]);
    keep(world.hosts, hosts.hosts);
    world.network = network;
    changed();
  } catch {
    // Said by whoever follows the events.
  }
}

function heard(name, value) {
  if (name === "job") keepJob(value);
  else if (name === "service") world.services.set(value.id, value);
  else if (name === "host") world.hosts.set(value.id, value);
  else if (name === "gone") ({ job: world.jobs, service: world.services, host: world.hosts })[value.kind]?.delete(value.id);
  changed();
}

/** Follows the node for as long as the page is there; `locked` is called when it wants a token. */
export async function follow(locked) {
  setInterval(() => { if (document.visibilityState === "visible" && world.live === "live") look(); }, LOOK_MS);
  for (let pause = 500; ; pause = Math.min(pause * 2, 10000)) {
    const stop = new AbortController();
    try {
      await events("v1/events", stop.signal, (name, value) => {
        if (name === "hello" || name === "missed") {
          pause = 500;
          world.live = "live";
          readAll().catch(() => stop.abort());
        } else heard(name, value);
      });
      world.live = "the node ended the connection; trying again";
    } catch (error) {
      if (error instanceof Refused && (error.status === 401 || error.status === 403)) {
        world.live = "a token is needed";
        changed();
        await locked(error);
        pause = 250;
        continue;
      }
      world.live = "no connection to the node; trying again";
    }
    changed();
    await new Promise((done) => setTimeout(done, pause));
  }
}
