// What is known of the network: lists read once, kept up by events, bounded.

import { ask, events, Refused } from "./api.js";

/** Jobs kept; what is older is asked for where it is looked at. */
const MOST_JOBS = 2000;

/** Jobs read at once: more than a screen shows. */
export const PAGE = 200;

/** Between two looks at what no event tells: peers, counts, and when hosts were last seen. */
const LOOK_MS = 3000;

/** Between two drawings: a node may tell of hundreds of changes in a second, and nobody reads faster. */
const DRAW_MS = 80;

/** Between two readings of all lists, if events were missed again and again. */
const READ_MS = 1000;

/** Without a sign of life for so long, in seconds, a host counts as silent, as to `skyclaw why`. */
export const SILENT_S = 20;

export const world = {
  jobs: new Map(), services: new Map(), hosts: new Map(), network: null, status: null,
  /** Where the jobs that were not read begin. */
  next: undefined,
  live: "connecting",
};

const listeners = new Set();
let drawn = 0;
let drawing = false;

/** Calls `listener` after changes. Returns how to end that. */
export function onChange(listener) {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

function changed() {
  if (drawing) return;
  drawing = true;
  setTimeout(() => {
    drawing = false;
    drawn = performance.now();
    for (const listener of listeners) listener();
  }, Math.max(0, drawn + DRAW_MS - performance.now()));
}

/** Takes a list that was read: what was told of meanwhile stays as it was told. */
function keep(kind, map, list) {
  const told = (id) => news.has(`${kind}/${id}`);
  for (const id of map.keys()) if (!told(id)) map.delete(id);
  for (const one of list) if (!told(one.id)) map.set(one.id, one);
}

function keepJob(job) {
  const known = world.jobs.get(job.id);
  if (known && known.updatedAt > job.updatedAt) return;
  world.jobs.set(job.id, job);
  if (world.jobs.size > MOST_JOBS * 1.1) {
    for (const old of [...world.jobs.values()].sort(newestFirst).slice(MOST_JOBS)) world.jobs.delete(old.id);
  }
}

export function newestFirst(a, b) {
  return a.createdAt < b.createdAt ? 1 : a.createdAt > b.createdAt ? -1 : a.id < b.id ? 1 : -1;
}

let read = -READ_MS;
let reading = null;
let again = false;
/** What was told of while the lists are read, as kind/id: newer than what is read. */
const news = new Set();
/** Readings of lists under way. */
let asking = 0;

/** Reads lists, knowing what was told of meanwhile. */
async function reads(read) {
  if (asking++ === 0) news.clear();
  try {
    return await read();
  } finally {
    asking--;
  }
}

/** Reads all lists, not too often; what is told meanwhile is newer and stays. */
function readAll() {
  again = true;
  reading ??= (async () => {
    try {
      while (again) {
        await new Promise((done) => setTimeout(done, Math.max(0, read + READ_MS - performance.now())));
        again = false;
        read = performance.now();
        await reads(readOnce);
      }
    } finally {
      reading = null;
    }
  })();
  return reading;
}

async function readOnce() {
  const [jobs, services, hosts, network, status] = await Promise.all([
    ask(`v1/jobs?view=brief&order=newest&limit=${PAGE}`), ask("v1/services?details=1"), ask("v1/hosts"),
    ask("v1/network"), ask("v1/status"),
  ]);
  // Anything may have gone: only what was read, or told of since, is known.
  for (const id of world.jobs.keys()) if (!news.has(`job/${id}`)) world.jobs.delete(id);
  for (const job of jobs.jobs) if (!news.has(`job/${job.id}`)) keepJob(job);
  world.next = jobs.next;
  keep("service", world.services, services.services);
  keep("host", world.hosts, hosts.hosts);
  Object.assign(world, { network, status });
  changed();
}

async function look() {
  try {
    await reads(lookOnce);
  } catch {
    // Said by whoever follows the events.
  }
}

async function lookOnce() {
  const [hosts, network, status] = await Promise.all([ask("v1/hosts"), ask("v1/network"), ask("v1/status")]);
  keep("host", world.hosts, hosts.hosts);
  Object.assign(world, { network, status });
}

function heard(name, value) {
  if (asking > 0) news.add(name === "gone" ? `${value.kind}/${value.id}` : `${name}/${value.id}`);
  if (name === "job") keepJob(value);
  else if (name === "service") world.services.set(value.id, value);
  else if (name === "host") world.hosts.set(value.id, value);
  else if (name === "gone") ({ job: world.jobs, service: world.services, host: world.hosts })[value.kind]?.delete(value.id);
  changed();
}

/** Looks while somebody looks, and lets times go on. */
function keepLooking() {
  let looked = 0;
  setInterval(async () => {
    if (document.visibilityState !== "visible") return;
    if (world.live === "live" && performance.now() - looked > LOOK_MS) {
      looked = performance.now();
      await look();
    }
    changed();
  }, 1000);
}

/** A browser opens few connections to one node: a tab that nobody looks at gives its own back. */
const HIDDEN_MS = 10000;

/** Ends `stop` once the page was hidden for a while; returns how to end watching. */
export function yieldWhenHidden(stop) {
  let timer;
  const look = () => {
    clearTimeout(timer);
    if (document.visibilityState === "hidden") timer = setTimeout(() => stop.abort(), HIDDEN_MS);
  };
  document.addEventListener("visibilitychange", look);
  look();
  return () => {
    clearTimeout(timer);
    document.removeEventListener("visibilitychange", look);
  };
}

/** Waits until somebody looks at the page. */
export function untilSeen() {
  return new Promise((done) => {
    const look = () => {
      if (document.visibilityState === "hidden") return;
      document.removeEventListener("visibilitychange", look);
      done();
    };
    document.addEventListener("visibilitychange", look);
    look();
  });
}

/** Follows the node for as long as the page is there; `locked` is called when it wants a token. */
export async function follow(locked) {
  keepLooking();
  for (let pause = 500; ; pause = Math.min(pause * 2, 10000)) {
    await untilSeen();
    const stop = new AbortController();
    const ignore = yieldWhenHidden(stop);
    let failed = null;
    try {
      await events("v1/events", stop.signal, (name, value) => {
        if (name !== "hello" && name !== "missed") return heard(name, value);
        return readAll().then(() => {
          pause = 500;
          world.live = "live";
        }, (error) => {
          failed = error;
          stop.abort();
        });
      });
      world.live = "the node ended the connection; trying again";
    } catch (error) {
      failed ??= error;
      world.live = "no connection to the node; trying again";
    } finally {
      ignore();
      stop.abort();
    }
    if (document.visibilityState === "hidden") {
      world.live = "resting while nobody looks";
      continue;
    }
    if (failed instanceof Refused && failed.wantsToken) {
      world.live = "a token is needed";
      changed();
      await locked(failed);
      pause = 250;
      continue;
    }
    if (failed instanceof Refused) world.live = `the node says: ${failed.message}; trying again`;
    changed();
    await new Promise((done) => setTimeout(done, pause));
  }
}
