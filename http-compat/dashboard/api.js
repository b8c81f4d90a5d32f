// Questions to the node that served this page, and its events as they come.

const KEPT = "skyclaw-token";
let token = sessionStorage.getItem(KEPT) ?? "";

/** A refusal, with what the node said of it. */
export class Refused extends Error {
  constructor(status, text) {
    super(text);
    this.status = status;
  }
}

export function keepToken(text) {
  token = text.trim();
  // For this tab alone: it is gone when the tab is.
  sessionStorage.setItem(KEPT, token);
}

function headers(more) {
  return token === "" ? { ...more } : { ...more, "x-skyclaw-token": token };
}

export async function ask(path, { method = "GET", body, signal } = {}) {
  const json = body === undefined ? {} : { "content-type": "application/json" };
  const response = await fetch(path, {
    method, signal, headers: headers(json), body: body === undefined ? undefined : JSON.stringify(body),
  });
  const text = await response.text();
  let value;
  try {
    value = JSON.parse(text);
  } catch {
    value = { error: text.slice(0, 500) };
  }
  if (!response.ok) throw new Refused(response.status, value.error ?? `status ${response.status}`);
  return value;
}

/** Reads server-sent events until they end or `signal` says so. An EventSource could send no token. */
export async function events(path, signal, heard) {
  const response = await fetch(path, { headers: headers(), signal });
  if (!response.ok) throw new Refused(response.status, `status ${response.status}`);
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
