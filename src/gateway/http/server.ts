// The HTTP server of a daemon: GET /metrics and GET /healthz, nothing else. Health answers 200 while the daemon does what
// it is there for and 503 otherwise, with the reasons as JSON.

import type { IncomingMessage, Server, ServerResponse } from "node:http";
import type { Log } from "#host";
import { messageOf, TorusError } from "#model";
import type { LabelledSample } from "./metrics-text-codec.ts";
import { encodeMetrics, metricsContentType } from "./metrics-text-codec.ts";

export interface HttpAddress {
  readonly host: string;
  readonly port: number;
}

/** `Metrics` of #host is one; a daemon with several threads gathers from all. */
export interface MetricsSource {
  collect(): readonly LabelledSample[] | Promise<readonly LabelledSample[]>;
}

export interface HealthReport {
  readonly healthy: boolean;
  /** For people and scripts; stands beside `status` in the answer. */
  readonly [detail: string]: unknown;
}

export interface HttpDeps {
  readonly metrics: MetricsSource;
  readonly log: Log;
  /** Without it the daemon is healthy as long as it answers. */
  readonly health?: () => HealthReport | Promise<HealthReport>;
}

export interface HttpServing {
  /** With the real port. */
  readonly address: HttpAddress;
  close(): Promise<void>;
}

const connectionsMax = 64;

/** Rejects with `busy` when the address is taken, `invalid-argument` when it is not one of this machine. */
export async function serveHttp(address: HttpAddress, deps: HttpDeps): Promise<HttpServing> {
  // Only here: a daemon that serves no metrics does without its memory.
  const { createServer } = await import("node:http");
  const server = createServer((request, response) => {
    answer(request, response, deps).catch((error) => {
      deps.log.warn("An HTTP request failed.", { path: request.url ?? "", reason: messageOf(error) });
      if (!response.headersSent) send(response, 500, "text/plain; charset=utf-8", `${messageOf(error)}\n`);
      else response.destroy();
    });
  });
  server.maxConnections = connectionsMax;
  await listen(server, address);
  const { port } = server.address() as { port: number };
  return { address: { host: address.host, port }, close: () => close(server) };
}

async function answer(request: IncomingMessage, response: ServerResponse, deps: HttpDeps): Promise<void> {
  const path = (request.url ?? "").split("?", 1)[0];
  if (path !== "/metrics" && path !== "/healthz") {
    send(response, 404, "text/plain; charset=utf-8", "There are /metrics and /healthz here.\n");
    return;
  }
  if (request.method !== "GET" && request.method !== "HEAD") {
    response.setHeader("Allow", "GET, HEAD");
    send(response, 405, "text/plain; charset=utf-8", "Only GET and HEAD are answered here.\n");
    return;
  }
  if (path === "/metrics") {
    send(response, 200, metricsContentType, encodeMetrics(await deps.metrics.collect()));
    return;
  }
  const { healthy, ...details } = (await deps.health?.()) ?? { healthy: true };
  const body = { status: healthy ? "ok" : "failing", ...details };
  send(response, healthy ? 200 : 503, "application/json", `${JSON.stringify(body)}\n`);
}

function send(response: ServerResponse, status: number, type: string, body: string): void {
  response.writeHead(status, { "Content-Type": type, "Content-Length": Buffer.byteLength(body) });
  response.end(response.req.method === "HEAD" ? undefined : body);
}

function listen(server: Server, { host, port }: HttpAddress): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once("error", (error: NodeJS.ErrnoException) => reject(listenFailure(host, port, error)));
    server.listen({ host, port, exclusive: true }, resolve);
  });
}

function listenFailure(host: string, port: number, cause: NodeJS.ErrnoException): TorusError {
  const place = `${host}:${port}`;
  if (cause.code === "EADDRINUSE") {
    return new TorusError(
      "busy",
      `the HTTP address ${place} is in use: stop what uses it, or give another`,
      {},
      { cause },
    );
  }
  return new TorusError("invalid-argument", `cannot serve HTTP at ${place}: ${cause.message}`, {}, { cause });
}

function close(server: Server): Promise<void> {
  return new Promise((resolve) => {
    server.close(() => resolve());
    server.closeAllConnections();
  });
}
