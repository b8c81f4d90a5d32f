// Services: what runs where, how many there are to be, and what they write.

import { ask, events } from "../api.js";
import { ago, facts, h, hostLink, patch, state, table } from "../dom.js";
import { ofService, traffic as throughAll } from "../traffic.js";
import { asked, lines } from "../why.js";
import { untilSeen, world, yieldWhenHidden } from "../world.js";

/** Lines of a log kept on the page, and asked for of each instance where it was not read for a while. */
const LINES = 1000;

/** Lines of each instance that are asked for at first. */
const FIRST_LINES = 100;

/** Notes remembered, so that each is shown once: one for each instance that a service may have. */
const NOTES = 1000;

/** Pause before a log that ended or broke off is asked for again. */
const AGAIN_MS = 2000;

/** Between two looks at the traffic. */
const LOOK_MS = 2000;

const line = (it) => [it.command, ...it.args].join(" ");
const link = (it) => h("a", { href: `#/services/${encodeURIComponent(it.id)}` }, it.name);

export function services() {
  const list = h("div", {});
  return {
    element: h("div", {}, h("h2", {}, "Services"), list),
    draw() {
      const all = [...world.services.values()].sort((a, b) => (a.name < b.name ? -1 : 1));
      patch(list, table("Services", [
        ["Service", link],
        ["State", (it) => state(it.status)],
        ["Instances", (it) => `${it.assignments.filter((part) => part.status === "running").length} of ${it.replicas}`, "number"],
        ["Command", (it) => h("code", {}, line(it).slice(0, 120)), "wide"],
        ["Changed", (it) => ago(it.updatedAt)],
      ], all, "No service is deployed: skyclaw deploy does that."));
    },
  };
}

/** Of each instance how far it was read: the number of its last line. */
function places() {
  const all = new Map();
  const joined = new Set();
  return {
    /** Lines come again from here on. */
    begin: () => joined.clear(),
    /** Whether a line is new, and whether some before it are missing. */
    take({ epoch, number }) {
      // That lines were dropped is told without a number, where they are missing.
      if (number === undefined) return { fresh: true, gap: false };
      const last = all.get(epoch) ?? -1;
      const gap = all.has(epoch) && !joined.has(epoch) && number > last + 1;
      joined.add(epoch);
      if (number > last) all.set(epoch, number);
      return { fresh: number > last, gap };
    },
    /** Forgets instances that are no more, so that a page that stays open does not grow. */
    keep(epochs) {
      for (const map of [all, joined]) for (const epoch of map.keys()) if (!epochs.has(epoch)) map.delete(epoch);
    },
  };
}

/** Shows what a service writes while somebody looks; whoever comes back reads on where it was. */
function follow(path, log) {
  const read = places();
  /** Notes of all connections, and those of earlier ones that this one did not tell yet. */
  const told = new Set();
  let again = new Set();
  let said = "";
  let left = false;
  let stop = null;

  function show(text) {
    // Whoever has scrolled up reads on there.
    const below = log.scrollHeight - log.scrollTop - log.clientHeight < 40;
    log.append(`${text}\n`);
    while (log.childNodes.length > LINES) log.firstChild.remove();
    if (below) log.scrollTop = log.scrollHeight;
  }

  function say(text) {
    if (text !== said) show(`[${text}]`);
    said = text;
  }

  /** What is told again after each connection is shown once. */
  function note(text) {
    if (again.delete(text)) return;
    told.add(text);
    if (told.size > NOTES) told.delete(told.values().next().value);
    say(text);
  }

  function heard(name, piece) {
    if (name === "note") return note(piece.message);
    const { fresh, gap } = read.take(piece);
    if (gap) say(`lines of instance ${piece.replica} are not shown`);
    if (!fresh) return;
    said = "";
    show(`${piece.at} ${piece.replica} ${piece.line}`);
  }

  async function run() {
    for (let tail = FIRST_LINES; !left; tail = LINES) {
      await untilSeen();
      if (left) return;
      stop = new AbortController();
      const ignore = yieldWhenHidden(stop);
      read.begin();
      again = new Set(told);
      try {
        await events(`${path}/logs?follow=1&tail=${tail}`, stop.signal, heard);
      } catch (error) {
        if (error.name !== "AbortError") say(error.message);
        if (error.status === 404 || error.wantsToken) return;
      } finally {
        ignore();
      }
      if (!left) await new Promise((then) => setTimeout(then, AGAIN_MS));
    }
  }
  run();
  return {
    keep: read.keep,
    stop() {
      left = true;
      stop?.abort();
    },
  };
}

export function service(id) {
  const top = h("div", {});
  const said = h("p", { role: "status" });
  const log = h("pre", { tabindex: "0", role: "log", "aria-label": "Log" });
  const path = `v1/services/${encodeURIComponent(id)}`;
  const replicas = h("input", { id: "replicas", type: "number", min: "1", max: "1000", required: true });
  let touched = false;
  let traffic = null;
  for (const name of ["input", "change"]) replicas.addEventListener(name, () => { touched = true; });

  async function act(work) {
    try {
      said.replaceChildren(await work());
    } catch (error) {
      said.replaceChildren(h("span", { class: "bad" }, error.message));
    }
  }

  const scale = (event) => {
    event.preventDefault();
    return act(async () => {
      await ask(path, { method: "PATCH", body: { replicas: Number(replicas.value) } });
      touched = false;
      return `${replicas.value} instances are wanted now.`;
    });
  };

  const sure = h("button", { type: "button", hidden: true, onclick: () => act(async () => {
    await ask(path, { method: "DELETE" });
    return "It was removed.";
  }) }, "Yes, remove it everywhere");
  const remove = h("button", { type: "button", class: "plain", onclick: () => {
    sure.hidden = !sure.hidden;
    if (!sure.hidden) sure.focus();
  } }, "Remove");

  const written = follow(path, log);
  const why = asked(`${path}/why`, () => view.draw());
  const way = asked(`${path}/routes/why`, () => view.draw());
  const measure = throughAll();
  async function look() {
    const all = (await measure()).map((gateway) => gateway.seen).filter(Boolean);
    traffic = ofService(all, world.services.get(id)?.name) ?? ofService(all, id);
  }
  look();
  const timer = setInterval(look, LOOK_MS);

  const view = {
    element: h("div", {}, h("h2", {}, "Service ", h("code", {}, id)), said, top,
      h("form", { class: "row", onsubmit: scale }, h("label", { for: "replicas" }, "Instances wanted", replicas), h("button", {}, "Scale"), remove, sure),
      h("h3", {}, "Log"), log),
    draw() {
      const it = world.services.get(id);
      if (!it) return patch(top, h("p", { "data-key": "none" }, world.status ? "There is no such service." : ""));
      written.keep(new Set(it.assignments.map((part) => part.epoch)));
      if (!touched && document.activeElement !== replicas) replicas.value = it.replicas;
      const { because, then, hosts, moreHosts } = why.answer?.why ?? {};
      return patch(top,
        facts([["State", state(it.status)], ["Because", because], ["Then", then],
          ["Callers", way.answer?.why && `${way.answer.why.status}: ${way.answer.why.because}`], ["Deployment", it.generation?.toString()],
          ["Taken back", it.reverted && h("span", { class: "bad" }, it.reverted.error)],
          ["Command", h("code", {}, line(it))], ["Needs", it.requiredCapabilities?.join(", ")],
          ["Health", it.health && `GET ${it.health.path} every ${it.health.intervalMs} ms`],
          ["Traffic", traffic?.answers > 0 && `${traffic.rate} requests a second; ${traffic.answers} answers so far, ${traffic.bad} of them failed; half within ${traffic.half}, 95 % within ${traffic.most}`],
          ["Changed", ago(it.updatedAt)]]),
        h("h3", { "data-key": "title" }, "Instances"),
        table("Instances", [
          ["Slot", (part) => String(part.slot ?? ""), "number"],
          ["State", (part) => state(part.status)],
          ["Host", (part) => hostLink(part.hostId, world.hosts.get(part.hostId)?.name)],
          ["Deployment", (part) => String(part.generation ?? ""), "wide number"],
          ["Since", (part) => ago(part.startedAt)],
          ["Error", (part) => h("span", { class: "bad" }, part.error ?? "")],
        ], it.assignments.map((part) => ({ ...part, key: `${part.slot}/${part.epoch}/${part.hostId}` })), "None runs."),
        lines("Hosts for it", hosts),
        moreHosts > 0 && h("p", { "data-key": "more hosts" }, `and ${moreHosts} more, which are further from it`));
    },
    leave() {
      written.stop();
      clearInterval(timer);
      why.stop();
      way.stop();
    },
  };
  return view;
}
