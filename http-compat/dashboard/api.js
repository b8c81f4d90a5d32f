// Questions to the node that served this page, and its events as they come.

const KEPT = "skyclaw-token";
let token = sessionStorage.getItem(KEPT) ?? "";

/** A refusal, with what the node said of it. */
export class Refused extends Error {
  constructor(status, text) {
    super(text);
    this.status = status;
  }

  /** Another token might be let in. */
  get wantsToken() {
    return this.status === 401 || this.status === 403;
  }
}

export function keepToken(text) {
  // Nothing else can stand in a header.
  if (!/^[\x21-\x7e]*$/.test(text.trim())) throw new Refused(401, "a token has no such characters");
  token = text.trim();
  // For this tab alone: it is gone when the tab is.
  sessionStorage.setItem(KEPT, token);
}

function headers(more) {
  return token === "" ? { ...more } : { ...more, "x-skyclaw-token": token };
}

async function refused(response) {
  const text = await response.text();
  let said;
  try {
    said = JSON.parse(text).error;
  } catch {
    said = text.slice(0, 500);
  }
  return new Refused(response.status, said || `status ${response.status}`);
}

export async function ask(path, { method = "GET", body } = {}) {
  const json = body === undefined ? {} : { "content-type": "application/json" };
  const response = await fetch(path, {
    method, headers: headers(json), body: body === undefined ? undefined : JSON.stringify(body),
  });
  if (!response.ok) throw await refused(response);
  return response.json();
}

/** The numbers of a node, as [name, labels, value]. */
export async function metrics(path) {
  // One that is silent must not hold up the others.
  const response = await fetch(path, { headers: headers(), signal: AbortSignal.timeout(4000) });
  if (!response.ok) throw await refused(response);
  const rows = [];
  for (const line of (await response.text()).split("\n")) {
    const found = line.match(/^skyclaw_(\w+)(?:\{(.*)\})? (\S+)$/);
    if (!found) continue;
    const labels = {};
    for (const [, name, value] of (found[2] ?? "").matchAll(/(\w+)="((?:[^"\\]|\\.)*)"/g)) labels[name] = value;
    rows.push([found[1], labels, Number(found[3])]);
  }
  return rows;
}

/** Reads server-sent events until they end or `signal` says so. An EventSource could send no token. */
export async function events(path, signal, heard) {
  const response = await fetch(path, { headers: headers(), signal });
  if (!response.ok) throw await refused(response);
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    rest += value;
    const parts = rest.split("\n\n");
    rest = parts.pop();
    for (const part of parts) {
      let name = "message";
      let data = "";
      for (const line of part.split("\n")) {
        if (line.startsWith("event: ")) name = line.slice(7);
        if (line.startsWith("data: ")) data += line.slice(6);
      }
      if (data !== "") heard(name, JSON.parse(data));
    }
  }
}
