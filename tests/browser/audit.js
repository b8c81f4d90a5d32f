// What is wrong with the page as it stands, for people who read it by keyboard, by ear or with weak eyes: a list
// of complaints. Contrast is that of WCAG AA.
const wrong = [];
const complain = (element, what) => {
  const name = element.id ? `#${element.id}` : element.className ? `.${element.className}` : "";
  wrong.push(`${element.nodeName.toLowerCase()}${name} "${(element.textContent || "").trim().slice(0, 40)}": ${what}`);
};
// What is within a closed part of the page has a place, and is not seen.
const visible = (element) => element.checkVisibility({ visibilityProperty: true });

if (!document.documentElement.lang) wrong.push("the page has no language");
if (!document.title) wrong.push("the page has no title");
if (!document.querySelector("meta[name=viewport]")) wrong.push("the page has no viewport");
for (const [what, count] of [["h1", 1], ["main", 1], ["h2", 1]]) {
  const found = document.querySelectorAll(what).length;
  if (found !== count) wrong.push(`${found} of ${what}`);
}
let level = 0;
for (const heading of document.querySelectorAll("h1, h2, h3, h4, h5, h6")) {
  const next = Number(heading.nodeName[1]);
  if (next > level + 1) complain(heading, `skips a level after h${level}`);
  level = next;
}
const ids = [...document.querySelectorAll("[id]")].map((element) => element.id);
for (const id of new Set(ids)) if (ids.filter((other) => other === id).length > 1) wrong.push(`the id ${id} is there twice`);

const label = (element) => element.getAttribute("aria-label") || [...(element.labels ?? [])].map((it) => it.textContent).join("");
for (const field of document.querySelectorAll("input, select, textarea")) if (!label(field)) complain(field, "has no label");
for (const element of document.querySelectorAll("a, button, summary")) {
  if (!element.textContent.trim() && !label(element)) complain(element, "has no text");
}
for (const element of document.querySelectorAll("img, [role=img], nav, [role=region], [role=log]")) {
  if (!element.getAttribute("alt") && !label(element)) complain(element, "has no name");
}
for (const table of document.querySelectorAll("table")) {
  if (table.querySelectorAll("th[scope]").length === 0) complain(table, "has no headings");
}
for (const element of document.querySelectorAll("[tabindex]")) if (element.tabIndex > 0) complain(element, "is out of order");
for (const element of document.querySelectorAll("main *")) {
  const over = getComputedStyle(element);
  const scrolls = ["auto", "scroll"].includes(over.overflowX) || ["auto", "scroll"].includes(over.overflowY);
  const more = element.scrollWidth > element.clientWidth + 1 || element.scrollHeight > element.clientHeight + 1;
  if (scrolls && more && visible(element) && element.tabIndex < 0) complain(element, "is scrolled by no key");
}

const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
const rgba = (color) => {
  canvas.clearRect(0, 0, 1, 1);
  canvas.fillStyle = color;
  canvas.fillRect(0, 0, 1, 1);
  return [...canvas.getImageData(0, 0, 1, 1).data];
};
const light = ([r, g, b]) => {
  const [x, y, z] = [r, g, b].map((c) => (c / 255 <= 0.04045 ? c / 255 / 12.92 : ((c / 255 + 0.055) / 1.055) ** 2.4));
  return 0.2126 * x + 0.7152 * y + 0.0722 * z;
};
const behind = (element) => {
  for (let at = element; at; at = at.parentElement) {
    const color = rgba(getComputedStyle(at).backgroundColor);
    if (color[3] > 250) return color;
  }
  return [255, 255, 255, 255];
};
const contrast = (a, b) => {
  const [x, y] = [light(a), light(b)].sort((m, n) => n - m);
  return (x + 0.05) / (y + 0.05);
};
const judge = (element, color, style, what) => {
  const size = parseFloat(style.fontSize);
  const large = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700);
  const ratio = contrast(rgba(color), behind(element));
  if (ratio < (large ? 3 : 4.5)) complain(element, `${what} has a contrast of ${ratio.toFixed(2)}`);
};
for (const element of document.querySelectorAll("body *")) {
  const own = [...element.childNodes].some((node) => node.nodeType === Node.TEXT_NODE && node.data.trim());
  if (!visible(element) || element.disabled) continue;
  const style = getComputedStyle(element);
  if (own) judge(element, element.ownerSVGElement ? style.fill : style.color, style, "its text");
  if (element.placeholder) judge(element, getComputedStyle(element, "::placeholder").color, style, "its example");
}
return wrong;
