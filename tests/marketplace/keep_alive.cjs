// Loaded into a node before it starts: its HTTP server never closes a connection for being idle.
//
// By default it does so after five seconds. A client that sends its next request in that moment fails,
// with or without dappscope in between; on a busy machine tests pause for as long.

const http = require("node:http");
const { syncBuiltinESMExports } = require("node:module");

const { createServer } = http;

http.createServer = (...options) => {
  const server = createServer(...options);
  server.keepAliveTimeout = 0;
  return server;
};
syncBuiltinESMExports();
