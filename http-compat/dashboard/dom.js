// Elements from data. Text is always text: nothing that a node, host or job said becomes markup.

const SVG = "http://www.w3.org/2000/svg";

function fill(element, props, children) {
  for (const [key, value] of Object.entries(props ?? {})) {
    if (value === undefined || value === null || value === false) continue;
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (key === "value") element.value = value;
    else element.setAttribute(key, value === true ? "" : value);
  }
  const there = children.flat(9).filter((child) => child !== undefined && child !== null && child !== false);
  element.append(...there);
  return element;
}

export function h(name, props, ...children) {
  return fill(document.createElement(name), props, children);
}

export function svg(name, props, ...children) {
  return fill(document.createElementNS(SVG, name), props, children);
}

const keyOf = (node) => node.dataset?.key;
const same = (a, b) => a.nodeType === b.nodeType && a.nodeName === b.nodeName && keyOf(a) === keyOf(b);

/**
 * Makes the children of `old` like `fresh`, and leaves alone what is alike already: whoever has the focus on a
 * link, reads with a screen reader or marks a text keeps their place. What has `data-key` is known by it. Handlers
 * of what stays are those it had.
 */
export function patch(old, ...fresh) {
  const wanted = fresh.flat(9).filter((node) => node !== undefined && node !== null && node !== false)
    .map((node) => (typeof node === "string" ? document.createTextNode(node) : node));
  const keys = new Set(wanted.map(keyOf).filter(Boolean));
  const keyed = new Map();
  for (const child of [...old.children]) {
    const key = keyOf(child);
    if (key && keys.has(key)) keyed.set(key, child);
    else if (key) child.remove();
  }
  let at = old.firstChild;
  for (const node of wanted) {
    const key = keyOf(node);
    const mine = key ? keyed.get(key) : at;
    if (!mine || !same(mine, node)) {
      old.insertBefore(node, at);
      continue;
    }
    if (mine === at) at = at.nextSibling;
    else old.insertBefore(mine, at);
    renew(mine, node);
  }
  while (at) {
    const next = at.nextSibling;
    at.remove();
    at = next;
  }
}

function renew(mine, node) {
  if (mine.nodeType !== Node.ELEMENT_NODE) {
    if (mine.data !== node.data) mine.data = node.data;
    return;
  }
  for (const { name } of [...mine.attributes]) {
    // What the reader opened stays open.
    if (!node.hasAttribute(name) && name !== "open") mine.removeAttribute(name);
  }
  for (const { name, value } of [...node.attributes]) {
    if (mine.getAttribute(name) !== value) mine.setAttribute(name, value);
  }
  patch(mine, [...node.childNodes]);
}

/** A table: columns are [title, cell of a row, class]; a row is known by its id. */
export function table(caption, columns, rows, empty) {
  if (rows.length === 0) return h("p", { class: "soft", "data-key": `none-${caption}` }, empty);
  const head = columns.map(([title, , style]) => h("th", { scope: "col", class: style }, title));
  const line = (row) => h("tr", { "data-key": row.id ?? row.peerId ?? row.key },
    columns.map(([, cell, style]) => h("td", { class: style }, cell(row))));
  // One that is wider than the page is moved by keyboard too.
  return h("div", { class: "scroll", "data-key": caption, tabindex: "0", role: "region", "aria-label": caption },
    h("table", {}, h("thead", {}, h("tr", {}, head)), h("tbody", {}, rows.map(line))));
}

export function state(word) {
  return h("span", { class: `state ${word}` }, word);
}

/** A definition list of what is there. */
export function facts(pairs) {
  const there = pairs.filter(([, value]) => value !== undefined && value !== null && value !== "" && value !== false);
  return h("dl", {}, there.map(([name, value]) => [h("dt", { "data-key": name }, name), h("dd", { "data-key": `${name}:` }, value)]));
}

/** What a job is called, leading to it. */
export function jobLink(job) {
  return h("a", { href: `#/jobs/${encodeURIComponent(job.id)}` }, h("code", {}, job.title || job.id));
}

export function hostLink(id, name) {
  return h("a", { href: `#/hosts/${encodeURIComponent(id)}` }, name || id);
}

export function seconds(time) {
  return Math.max(0, (Date.now() - Date.parse(time)) / 1000);
}

export function ago(time) {
  if (!time) return "";
  const n = Math.round(seconds(time));
  const text = n < 2 ? "now" : n < 120 ? `${n} s ago`
    : n < 7200 ? `${Math.round(n / 60)} min ago`
      : n < 172800 ? `${Math.round(n / 3600)} h ago` : `${Math.round(n / 86400)} days ago`;
  return h("time", { datetime: time, title: time }, text);
}

export function took(ms) {
  if (ms === undefined || ms === null) return "";
  return ms < 1000 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(1)} s`;
}
