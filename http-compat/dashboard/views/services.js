// Services: what runs where, and how many there are to be.

import { ask, events } from "../api.js";
import { ago, facts, h, state, table } from "../dom.js";
import { world } from "../world.js";

/** Lines of a log kept on the page. */
const LINES = 1000;

export function services() {
  const list = h("div", {});
  return {
    element: h("div", {}, h("h2", {}, "Services"), list),
    draw() {
      const all = [...world.services.values()].sort((a, b) => a.name < b.name ? -1 : 1);
      list.replaceChildren(table("Services", [
        ["Service", (it) => h("a", { href: `#/services/${encodeURIComponent(it.id)}` }, it.name)],
        ["State", (it) => state(it.status)],
        ["Instances", (it) => `${it.assignments.filter((part) => part.status === "running").length} of ${it.replicas}`, "number"],
        ["Command", (it) => h("code", {}, [it.command, ...it.args].join(" ").slice(0, 120)), "wide"],
        ["Changed", (it) => ago(it.updatedAt)],
      ], all, "No service is deployed: skyclaw deploy does that."));
    },
  };
}

export function service(id) {
  const top = h("div", {});
  const said = h("p", { role: "status" });
  const log = h("pre", { tabindex: "0", "aria-label": "Log" });
  const stop = new AbortController();
  const path = `v1/services/${encodeURIComponent(id)}`;
  const replicas = h("input", { id: "replicas", type: "number", min: "0", max: "256", required: true });
  let touched = false;
  replicas.addEventListener("input", () => { touched = true; });

  const scale = async (event) => {
    event.preventDefault();
    try {
      await ask(path, { method: "PATCH", body: { replicas: Number(replicas.value) } });
      said.textContent = `${replicas.value} instances are wanted now.`;
      touched = false;
    } catch (error) {
      said.replaceChildren(h("span", { class: "bad" }, error.message));
    }
  };

  events(`${path}/logs?follow=1&tail=100`, stop.signal, (name, line) => {
    const text = name === "note" ? `[${line.message}]` : `${line.at} ${line.replica} ${line.line}`;
    log.append(`${text}\n`);
    while (log.childNodes.length > LINES) log.firstChild.remove();
    log.scrollTop = log.scrollHeight;
  }).catch((error) => { if (error.name !== "AbortError") log.append(`[${error.message}]\n`); });

  return {
    element: h("div", {}, h("h2", {}, "Service ", h("code", {}, id)), said, top,
      h("form", { class: "row", onsubmit: scale }, h("label", { for: "replicas" }, "Instances", replicas), h("button", {}, "Scale")),
      h("h3", {}, "Log"), log),
    draw() {
      const it = world.services.get(id);
      if (!it) return top.replaceChildren(h("p", {}, "There is no such service."));
      if (!touched) replicas.value = it.replicas;
      return top.replaceChildren(
        facts([["State", state(it.status)], ["Deployment", it.generation?.toString()], ["Reverted", it.reverted && h("span", { class: "bad" }, it.reverted.error)],
          ["Command", h("code", {}, [it.command, ...it.args].join(" "))], ["Changed", ago(it.updatedAt)]]),
        h("h3", {}, "Instances"),
        table("Instances", [
          ["Slot", (part) => String(part.slot ?? ""), "number"],
          ["State", (part) => state(part.status)],
          ["Host", (part) => part.hostId],
          ["Since", (part) => ago(part.startedAt)],
          ["Error", (part) => h("span", { class: "bad" }, part.error ?? "")],
        ], it.assignments, "None runs."));
    },
    leave: () => stop.abort(),
  };
}
