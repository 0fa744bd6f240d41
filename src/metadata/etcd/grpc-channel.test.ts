// A connection to etcd that is given up at the very moment at which it is made.

import assert from "node:assert/strict";
import type { AddressInfo } from "node:net";
import { createServer } from "node:net";
import { test } from "node:test";
import type { Clock } from "#host";
import { GrpcChannel } from "./grpc-channel.ts";

const spinMs = 20;

function spin(): void {
  const endMs = performance.now() + spinMs;
  while (performance.now() < endMs);
}

test("a connection that stands in the turn in which it was given up is rejected, and ends nothing else", async () => {
  const server = createServer().listen(0, "127.0.0.1");
  await new Promise((resolve) => server.once("listening", resolve));
  const { port } = server.address() as AddressInfo;
  const clock: Clock = {
    monotonicMs: () => performance.now(),
    wallMs: () => 0,
    setTimer: (_delayMs, callback) => {
      const timer = setTimeout(callback, 1);
      return { cancel: () => clearTimeout(timer) };
    },
  };
  const connecting = GrpcChannel.connect({ host: "127.0.0.1", port, tls: null, connectMs: 1 }, { clock });
  // The kernel makes the connection, and the timer is due, before either is heard of: the timer comes first.
  spin();
  await assert.rejects(connecting, /no connection within/);
  // What comes after that, comes within this.
  await new Promise((resolve) => setTimeout(resolve, spinMs));
  server.close();
});
