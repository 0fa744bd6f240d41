// The server over real sockets: listening, garbage, limits, closing.

import assert from "node:assert/strict";
import { existsSync, renameSync, statSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { test } from "node:test";
import { Metrics } from "#host";
import { rereading } from "#host/node";
import { isTorusError } from "#model";
import { negotiationMsMax } from "./limits.ts";
import { command, option } from "./nbd-codec.ts";
import { NbdServer } from "./server.ts";
import { RawClient } from "./server-suite-client.ts";
import {
  CountingExports,
  directory,
  freshPath,
  GatedDevice,
  ManualClock,
  memory,
  sampleOf,
  silent,
  until,
  withServer,
} from "./server-suite-setup.ts";

test("garbage costs its connection only, and is counted", async () => {
  const device = memory();
  await withServer([device], async ({ address, metrics }) => {
    const good = await RawClient.enter(address, "vol");
    for (const garbage of [
      "GET / HTTP/1.1\r\nHost: x\r\n\r\n",
      "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
      "\0\0\0\x03nonsense nonsense",
    ]) {
      const bad = await RawClient.open(address);
      bad.write(Buffer.from(garbage, "latin1"));
      await bad.closed;
      bad.destroy();
    }
    const late = await RawClient.enter(address, "vol");
    late.write(Buffer.alloc(100, "x"));
    await late.closed;
    late.destroy();
    assert.equal(sampleOf(metrics, "torus_nbd_garbage_total"), 4);
    good.send({ type: command.flush, cookieLow: 1 });
    assert.deepEqual(await good.simpleReply(), { errno: 0, cookie: 1 });
    good.destroy();
  });
});

test("a client that dawdles in the negotiation is dropped", async () => {
  await withServer([memory()], async ({ address, clock, server }) => {
    const client = await RawClient.open(address);
    await client.greet();
    await client.option(option.list);
    clock.advance(negotiationMsMax - 1);
    await client.option(option.list);
    clock.advance(1);
    await client.closed;
    await until(() => server.connectionCount === 0, "dropped");
    client.destroy();
  });
});

test("a client that serves itself is not hurried", async () => {
  await withServer([memory()], async ({ address, clock }) => {
    const client = await RawClient.enter(address, "vol");
    clock.advance(negotiationMsMax * 100);
    client.send({ type: command.flush, cookieLow: 1 });
    assert.equal((await client.simpleReply()).cookie, 1);
    client.destroy();
  });
});

test("there are only so many connections", async () => {
  await withServer(
    [memory()],
    async ({ address, metrics }) => {
      const clients = [await RawClient.enter(address, "vol"), await RawClient.enter(address, "vol")];
      const third = await RawClient.open(address);
      await third.closed;
      assert.equal(sampleOf(metrics, "torus_nbd_connections_refused_total"), 1);
      for (const client of [...clients, third]) client.destroy();
    },
    { connectionsMax: 2 },
  );
});

test("close answers what is in flight, closes the connections and removes the socket", async () => {
  const device = new GatedDevice({ name: "vol", sizeBytes: 1 << 20 });
  const address = freshPath();
  const exports = new CountingExports([device]);
  const deps = { exports, clock: new ManualClock(), log: silent, metrics: new Metrics(), reread: rereading };
  const server = new NbdServer({ listen: [address] }, deps);
  await server.open();
  const busy = await RawClient.enter(address, "vol");
  const idle = await RawClient.open(address);
  await idle.greet();
  busy.send({ type: command.write, offset: 0, cookieLow: 9 }, Buffer.alloc(512));
  await until(() => device.waiting.length === 1, "the write is in flight");
  const closed = server.close();
  await idle.closed;
  assert.equal(existsSync(address.path), false);
  device.release();
  assert.deepEqual(await busy.simpleReply(), { errno: 0, cookie: 9 });
  await busy.closed;
  busy.destroy();
  idle.destroy();
  await closed;
  assert.equal(exports.count(device), 0);
});

test("close while it opens leaves nothing behind", async () => {
  const address = freshPath();
  const deps = {
    exports: new CountingExports([]),
    clock: new ManualClock(),
    log: silent,
    metrics: new Metrics(),
    reread: rereading,
  };
  const server = new NbdServer({ listen: [address, { kind: "tcp", host: "127.0.0.1", port: 0 }] }, deps);
  const opened = server.open();
  await server.close();
  await opened;
  assert.equal(existsSync(address.path), false);
  await assert.rejects(RawClient.open(server.addresses[1]));
});

test("close does not wait for ever for a device that never answers its client", async () => {
  const device = new GatedDevice({ name: "vol", sizeBytes: 1 << 20 });
  const address = freshPath();
  const clock = new ManualClock();
  const deps = {
    exports: new CountingExports([device]),
    clock,
    log: silent,
    metrics: new Metrics(),
    reread: rereading,
  };
  const server = new NbdServer({ listen: [address] }, deps);
  await server.open();
  const client = await RawClient.enter(address, "vol");
  client.send({ type: command.write, offset: 0 }, Buffer.alloc(512));
  await until(() => device.waiting.length === 1, "the write is in flight");
  const closed = server.close();
  clock.advance(60_000);
  await client.closed;
  device.release();
  await closed;
  client.destroy();
});

test("a unix socket: private, replaced when dead, refused when live, never a file", async () => {
  const address = freshPath();
  const deps = {
    exports: new CountingExports([memory()]),
    clock: new ManualClock(),
    log: silent,
    metrics: new Metrics(),
    reread: rereading,
  };
  const first = new NbdServer({ listen: [address] }, deps);
  await first.open();
  assert.equal(statSync(address.path).mode & 0o777, 0o600);
  const second = new NbdServer({ listen: [address] }, deps);
  await assert.rejects(
    second.open(),
    (error) => isTorusError(error, "busy") && error.message.includes(address.path),
  );
  await first.close();
  assert.equal(existsSync(address.path), false);

  // A socket whose process is gone: bound elsewhere, moved here, then closed.
  const dead = createServer();
  await new Promise<void>((resolve) => dead.listen(`${address.path}.tmp`, resolve));
  renameSync(`${address.path}.tmp`, address.path);
  await new Promise((resolve) => dead.close(resolve));
  assert.equal(existsSync(address.path), true);
  const third = new NbdServer({ listen: [address] }, deps);
  await third.open();
  (await RawClient.enter(address, "vol")).destroy();
  await third.close();

  writeFileSync(address.path, "precious");
  const fourth = new NbdServer({ listen: [address] }, deps);
  await assert.rejects(fourth.open(), (error) => isTorusError(error, "invalid-argument"));
  assert.equal(existsSync(address.path), true);
});

test("a port in use and an address that is not ours are refused by name, and nothing stays open", async () => {
  const taken = createServer();
  await new Promise<void>((resolve) => taken.listen(0, "127.0.0.1", resolve));
  const { port } = taken.address() as { port: number };
  const deps = {
    exports: new CountingExports([memory()]),
    clock: new ManualClock(),
    log: silent,
    metrics: new Metrics(),
    reread: rereading,
  };
  const unix = freshPath();
  const server = new NbdServer({ listen: [unix, { kind: "tcp", host: "127.0.0.1", port }] }, deps);
  await assert.rejects(
    server.open(),
    (error) => isTorusError(error, "busy") && error.message.includes(`127.0.0.1:${port}`),
  );
  assert.equal(existsSync(unix.path), false);
  const foreign = new NbdServer({ listen: [{ kind: "tcp", host: "192.0.2.1", port: 0 }] }, deps);
  await assert.rejects(foreign.open(), (error) => isTorusError(error, "invalid-argument"));
  const nowhere = new NbdServer({ listen: [{ kind: "unix", path: join(directory, "no", "such") }] }, deps);
  await assert.rejects(nowhere.open(), (error) => isTorusError(error, "invalid-argument"));
  await new Promise((resolve) => taken.close(resolve));
});

test("TCP and a port of the system's choice", async () => {
  const device = memory();
  const deps = {
    exports: new CountingExports([device]),
    clock: new ManualClock(),
    log: silent,
    metrics: new Metrics(),
    reread: rereading,
  };
  const server = new NbdServer({ listen: [{ kind: "tcp", host: "127.0.0.1", port: 0 }] }, deps);
  await server.open();
  const [address] = server.addresses;
  assert.ok(address.kind === "tcp" && address.port > 0);
  const client = await RawClient.enter(address, "vol");
  client.destroy();
  await server.close();
});
