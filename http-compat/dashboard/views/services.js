// Services: what runs where, how many there are to be, and what they write.

import { ask, events } from "../api.js";
import { ago, facts, h, hostLink, patch, state, table } from "../dom.js";
import { ofService, traffic as throughAll } from "../traffic.js";
import { asked, lines } from "../why.js";
import { world } from "../world.js";

/** Lines of a log kept on the page. */
const LINES = 1000;

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

export function service(id) {
  const top = h("div", {});
  const said = h("p", { role: "status" });
  const log = h("pre", { tabindex: "0", role: "log", "aria-label": "Log" });
  const stop = new AbortController();
  const path = `v1/services/${encodeURIComponent(id)}`;
  const replicas = h("input", { id: "replicas", type: "number", min: "0", max: "256", required: true });
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

  events(`${path}/logs?follow=1&tail=100`, stop.signal, (name, piece) => {
    const text = name === "note" ? `[${piece.message}]` : `${piece.at} ${piece.replica} ${piece.line}`;
    // Whoever has scrolled up reads on there.
    const below = log.scrollHeight - log.scrollTop - log.clientHeight < 40;
    log.append(`${text}\n`);
    while (log.childNodes.length > LINES) log.firstChild.remove();
    if (below) log.scrollTop = log.scrollHeight;
  }).catch((error) => { if (error.name !== "AbortError") log.append(`[${error.message}]\n`); });

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
      stop.abort();
      clearInterval(timer);
      why.stop();
      way.stop();
    },
  };
  return view;
}
