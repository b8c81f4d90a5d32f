// A small HTTP API: started with a port in PORT, stopped with SIGTERM.
//
// On SIGTERM it takes no new connection, lets every request that it has begun come to its end,
// says goodbye to those who listen to it, and exits with 0.

import { createServer } from "node:http";
import { handle } from "./routes.js";
import { Streams } from "./streams.js";
import { upgrade } from "./websocket.js";

// Whoever still talks to it then has had its time: the host kills what is left.
const LONGEST_GOODBYE_MS = 8_000;

const port = Number(process.env.PORT ?? 3000);
const host = process.env.HOST ?? "127.0.0.1";
const streams = new Streams();

const server = createServer((request, response) => {
  if (streams.ending) response.setHeader("connection", "close");
  handle(request, response, streams).catch((error: unknown) => {
    console.error("request failed:", error);
    if (!response.headersSent) response.writeHead(500, { "content-type": "application/json" });
    response.end(JSON.stringify({ error: "the request failed" }));
  });
});
server.on("upgrade", (request, socket, head) => upgrade(request, socket, head, streams));

// A gateway keeps its connections longer than Node's five seconds: it must not meet one that is
// being closed from here.
server.keepAliveTimeout = 65_000;
// An upload may take its time.
server.requestTimeout = 0;

server.listen(port, host, () => {
  const at = server.address();
  console.log(`listening on ${host}:${typeof at === "object" && at !== null ? at.port : port}`);
});
server.on("error", (error) => {
  console.error(error.message);
  process.exit(1);
});

function stop(signal: string): void {
  if (streams.ending) return;
  console.log(`${signal}: finishing what has begun`);
  server.close(() => {
    console.log("stopped");
    process.exit(0);
  });
  streams.end();
  // A connection becomes idle when its request has ended, and nothing more may begin on it.
  setInterval(() => server.closeIdleConnections(), 50).unref();
  setTimeout(() => process.exit(0), LONGEST_GOODBYE_MS).unref();
}
process.on("SIGTERM", () => stop("SIGTERM"));
process.on("SIGINT", () => stop("SIGINT"));
