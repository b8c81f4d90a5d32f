// A service: it listens at the port in PORT, on loopback, where its host calls it.
const http = require("node:http");

const server = http.createServer((request, response) => {
  if (request.url === "/health") return response.end("ok\n");
  response.end(`hello from the instance at port ${process.env.PORT}, you asked for ${request.url}\n`);
});
server.listen(process.env.PORT, "127.0.0.1");

// What was begun is finished, and nothing new taken.
process.on("SIGTERM", () => server.close());
