// Marks all that is to be reached by keyboard, and notes what is as the keys are pressed: the names of those left.
const css = "a[href], button, input, select, textarea, summary, [tabindex='0']";
const seen = (window.__reached ??= new Set());
const at = document.activeElement;
if (at && at !== document.body) {
  seen.add(at);
  const style = getComputedStyle(at);
  if (style.outlineStyle === "none" || parseFloat(style.outlineWidth) === 0) return ["no focus is shown on " + at.outerHTML.slice(0, 80)];
}
const there = [...document.querySelectorAll(css)].filter((it) => !it.disabled && it.checkVisibility({ visibilityProperty: true }));
return there.filter((it) => !seen.has(it)).map((it) => it.outerHTML.slice(0, 80));
