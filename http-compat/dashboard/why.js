// Why something stands where it does: in the words of the node, asked for again while somebody looks.

import { ask } from "./api.js";
import { h } from "./dom.js";

/** Between two looks. */
const LOOK_MS = 3000;

/** Asks until it is stopped; `drawn` is called when there is an answer. */
export function asked(path, drawn = () => {}) {
  let answer = null;
  let asking = false;
  async function look() {
    if (asking || document.visibilityState !== "visible") return;
    asking = true;
    try {
      answer = await ask(path);
      drawn();
    } catch {
      // What it is about may be gone; what was said last is not shown any longer.
      answer = null;
    }
    asking = false;
  }
  look();
  const timer = setInterval(look, LOOK_MS);
  return { get answer() { return answer; }, stop: () => clearInterval(timer) };
}

/** A list of what was looked at, a line for each. */
export function lines(title, list) {
  return list?.length > 0 && h("section", { "data-key": title }, h("h3", {}, title),
    h("ul", {}, list.map((line, at) => h("li", { "data-key": `${at}/${line.name}` }, `${line.name}: ${line.words}`))));
}
