// What is answered under which path.

import type { IncomingMessage, ServerResponse } from "node:http";
import { pipeline } from "node:stream/promises";
import { setTimeout as pause } from "node:timers/promises";
import type { Streams } from "./streams.js";

const LONGEST_PAUSE_MS = 60_000;
const MOST_BYTES = 64 * 1024 ** 3;

// The byte at position n of an answer is n modulo 256, whoever cuts it.
const PATTERN = Buffer.from(Array.from({ length: 64 * 1024 }, (_, at) => at & 0xff));

export async function handle(
  request: IncomingMessage,
  response: ServerResponse,
  streams: Streams,
): Promise<void> {
  const url = new URL(request.url ?? "/", "http://service");
  switch (url.pathname) {
    case "/":
      return json(response, 200, {
        service: "ts-api",
        paths: ["/health", "/echo", "/events", "/ws", "/slow?ms=", "/bytes?n=", "/whoami"],
      });
    case "/health":
      return json(response, streams.ending ? 503 : 200, { ok: !streams.ending });
    case "/whoami":
      return json(response, 200, whoami());
    case "/echo":
      return echo(request, response);
    case "/events":
      return events(url, response, streams);
    case "/slow": {
      const ms = number(url, "ms", 1000, LONGEST_PAUSE_MS);
      await pause(ms);
      return json(response, 200, { sleptMs: ms });
    }
    case "/bytes":
      return bytes(request, url, response);
    default:
      return json(response, 404, { error: "not found" });
  }
}

function json(response: ServerResponse, status: number, body: unknown): void {
  const text = JSON.stringify(body) + "\n";
  response.writeHead(status, {
    "content-type": "application/json; charset=utf-8",
    "content-length": Buffer.byteLength(text),
  });
  response.end(text);
}

// The number in the query, between 0 and `most`.
function number(url: URL, name: string, otherwise: number, most: number): number {
  const asked = Number(url.searchParams.get(name) ?? otherwise);
  return Number.isFinite(asked) ? Math.min(Math.max(0, Math.floor(asked)), most) : otherwise;
}

// Which instance answers.
function whoami(): Record<string, unknown> {
  return {
    pid: process.pid,
    port: Number(process.env.PORT ?? 0),
    greeting: process.env.GREETING ?? null,
    node: process.version,
  };
}

// What comes goes back, while it comes.
async function echo(request: IncomingMessage, response: ServerResponse): Promise<void> {
  response.setHeader("content-type", request.headers["content-type"] ?? "application/octet-stream");
  response.setHeader("x-echo-method", request.method ?? "");
  const length = request.headers["content-length"];
  if (length !== undefined) response.setHeader("content-length", length);
  response.flushHeaders();
  await send(request, response);
}

// A number every `every` milliseconds, `n` of them or without end.
async function events(url: URL, response: ServerResponse, streams: Streams): Promise<void> {
  const every = number(url, "every", 1000, LONGEST_PAUSE_MS);
  const most = number(url, "n", Number.MAX_SAFE_INTEGER, Number.MAX_SAFE_INTEGER);
  response.writeHead(200, { "content-type": "text/event-stream", "cache-control": "no-cache" });
  const gone = new AbortController();
  response.on("close", () => gone.abort());
  const remove = streams.add(() => {
    response.end("event: bye\ndata: {}\n\n");
    gone.abort();
  });
  try {
    for (let n = 1; n <= most && !gone.signal.aborted; n++) {
      response.write(`id: ${n}\ndata: ${JSON.stringify({ n, at: new Date().toISOString() })}\n\n`);
      if (n < most) await pause(every, undefined, { signal: gone.signal });
    }
  } catch {
    // It was aborted while it paused.
  } finally {
    remove();
    response.end();
  }
}

// `n` bytes.
async function bytes(request: IncomingMessage, url: URL, response: ServerResponse): Promise<void> {
  let left = number(url, "n", 1024, MOST_BYTES);
  response.writeHead(200, {
    "content-type": "application/octet-stream",
    "content-length": left,
  });
  if (request.method === "HEAD") left = 0;
  const pieces = function* (): Generator<Buffer> {
    while (left > 0) {
      const piece = left < PATTERN.length ? PATTERN.subarray(0, left) : PATTERN;
      left -= piece.length;
      yield piece;
    }
  };
  await send(pieces(), response);
}

// All of it, no faster than it is taken.
async function send(from: Iterable<Buffer> | IncomingMessage, to: ServerResponse): Promise<void> {
  try {
    await pipeline(from, to);
  } catch {
    // Whoever asked has gone.
    to.destroy();
  }
}
