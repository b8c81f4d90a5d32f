// A WebSocket that sends back what it gets (RFC 6455), without a library: no package has to travel.

import { createHash } from "node:crypto";
import type { IncomingMessage } from "node:http";
import type { Duplex } from "node:stream";
import type { Streams } from "./streams.js";

const GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
const MOST = 1024 * 1024;

const CONTINUATION = 0;
const TEXT = 1;
const BINARY = 2;
const CLOSE = 8;
const PING = 9;
const PONG = 10;

const GOING_AWAY = 1001;
const PROTOCOL_ERROR = 1002;
const TOO_LARGE = 1009;

interface Frame {
  fin: boolean;
  opcode: number;
  payload: Buffer;
  length: number;
}

export function upgrade(
  request: IncomingMessage,
  socket: Duplex,
  head: Buffer,
  streams: Streams,
): void {
  const key = request.headers["sec-websocket-key"];
  const path = new URL(request.url ?? "/", "http://service").pathname;
  const wanted = request.headers.upgrade?.toLowerCase() === "websocket";
  if (path !== "/ws" || !wanted || key === undefined) {
    socket.end("HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-length: 0\r\n\r\n");
    return;
  }
  const accept = createHash("sha1").update(key + GUID).digest("base64");
  socket.write(
    "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\n" +
      `sec-websocket-accept: ${accept}\r\n\r\n`,
  );
  talk(socket, head, streams);
}

function talk(socket: Duplex, head: Buffer, streams: Streams): void {
  let waiting = head;
  let kind = TEXT;
  let parts: Buffer[] = [];
  let size = 0;

  const close = (code: number): void => {
    const reason = Buffer.alloc(2);
    reason.writeUInt16BE(code);
    socket.end(frame(CLOSE, reason));
  };
  const remove = streams.add(() => close(GOING_AWAY));

  const take = (next: Frame): void => {
    switch (next.opcode) {
      case PING:
        socket.write(frame(PONG, next.payload));
        return;
      case PONG:
        return;
      case CLOSE:
        socket.end(frame(CLOSE, next.payload.subarray(0, 2)));
        return;
      case TEXT:
      case BINARY:
      case CONTINUATION: {
        if ((next.opcode === CONTINUATION) !== parts.length > 0) return close(PROTOCOL_ERROR);
        if (next.opcode !== CONTINUATION) kind = next.opcode;
        size += next.payload.length;
        if (size > MOST) return close(TOO_LARGE);
        parts.push(next.payload);
        if (next.fin) {
          // No faster than it is taken: what is not read yet waits at the sender.
          if (!socket.write(frame(kind, Buffer.concat(parts)))) {
            socket.pause();
            socket.once("drain", () => socket.resume());
          }
          parts = [];
          size = 0;
        }
        return;
      }
      default:
        close(PROTOCOL_ERROR);
    }
  };

  const read = (bytes: Buffer): void => {
    waiting = waiting.length === 0 ? bytes : Buffer.concat([waiting, bytes]);
    while (!socket.writableEnded) {
      const next = parse(waiting);
      if (next === undefined) break;
      if (typeof next === "number") return close(next);
      waiting = waiting.subarray(next.length);
      take(next);
    }
  };
  socket.on("data", read);
  socket.on("close", remove);
  socket.on("error", () => socket.destroy());
  socket.on("end", () => socket.end());
  read(Buffer.alloc(0));
}

// The first frame of these bytes; a code to close with if it is none; nothing if more must come.
function parse(bytes: Buffer): Frame | number | undefined {
  const [first, second] = bytes;
  if (first === undefined || second === undefined) return undefined;
  // Clients mask what they send, and nobody agreed on an extension.
  if ((second & 0x80) === 0 || (first & 0x70) !== 0) return PROTOCOL_ERROR;
  let length = second & 0x7f;
  let at = 2;
  if (length === 126) {
    if (bytes.length < 4) return undefined;
    length = bytes.readUInt16BE(2);
    at = 4;
  } else if (length === 127) {
    if (bytes.length < 10) return undefined;
    const long = bytes.readBigUInt64BE(2);
    if (long > BigInt(MOST)) return TOO_LARGE;
    length = Number(long);
    at = 10;
  }
  const opcode = first & 0x0f;
  const fin = (first & 0x80) !== 0;
  if (length > MOST) return TOO_LARGE;
  if (opcode >= CLOSE && (length > 125 || !fin)) return PROTOCOL_ERROR;
  if (bytes.length < at + 4 + length) return undefined;
  const mask = bytes.subarray(at, at + 4);
  const payload = Buffer.from(bytes.subarray(at + 4, at + 4 + length));
  for (let n = 0; n < payload.length; n++) payload[n]! ^= mask[n & 3]!;
  return { fin, opcode, payload, length: at + 4 + length };
}

function frame(opcode: number, payload: Buffer): Buffer {
  let head: Buffer;
  if (payload.length < 126) {
    head = Buffer.from([0x80 | opcode, payload.length]);
  } else if (payload.length < 65536) {
    head = Buffer.alloc(4);
    head.writeUInt16BE(payload.length, 2);
    head[1] = 126;
  } else {
    head = Buffer.alloc(10);
    head.writeBigUInt64BE(BigInt(payload.length), 2);
    head[1] = 127;
  }
  head[0] = 0x80 | opcode;
  return Buffer.concat([head, payload]);
}
