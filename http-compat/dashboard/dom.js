// Elements from data. Text is always text: nothing that a node, host or job said becomes markup.

export function h(name, props, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(props ?? {})) {
    if (value === undefined || value === null || value === false) continue;
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (key === "value") element.value = value;
    else element.setAttribute(key, value === true ? "" : value);
  }
  element.append(...children.flat(9).filter((child) => child !== undefined && child !== null && child !== false));
  return element;
}

export function svg(name, props, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(props)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

/** A table: columns are [title, cell of a row, class]. */
export function table(caption, columns, rows, empty) {
  if (rows.length === 0) return h("p", { class: "soft" }, empty);
  const head = columns.map(([title, , style]) => h("th", { scope: "col", class: style }, title));
  const line = (row) => h("tr", { "data-id": row.id ?? row.peerId },
    columns.map(([, cell, style]) => h("td", { class: style }, cell(row))));
  return h("div", { class: "scroll" }, h("table", { "aria-label": caption },
    h("thead", {}, h("tr", {}, head)), h("tbody", {}, rows.map(line))));
}

export function state(word) {
  return h("span", { class: `state ${word}` }, word);
}

/** A definition list of what is there. */
export function facts(pairs) {
  const there = pairs.filter(([, value]) => value !== undefined && value !== null && value !== "");
  return h("dl", {}, there.map(([name, value]) => [h("dt", {}, name), h("dd", {}, value)]));
}

export function ago(time) {
  if (!time) return "";
  const seconds = Math.round((Date.now() - Date.parse(time)) / 1000);
  const text = seconds < 2 ? "now" : seconds < 120 ? `${seconds} s ago`
    : seconds < 7200 ? `${Math.round(seconds / 60)} min ago`
      : seconds < 172800 ? `${Math.round(seconds / 3600)} h ago` : `${Math.round(seconds / 86400)} days ago`;
  return h("time", { datetime: time, title: time }, text);
}

export function took(ms) {
  if (ms === undefined || ms === null) return "";
  return ms < 1000 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(1)} s`;
}
