// Links over real sockets: what only they can show. Time and faults are in sim.test.ts.

import assert from "node:assert/strict";
import { createServer as createHttpServer } from "node:http";
import type { AddressInfo, Server } from "node:net";
import { connect as connectSocket, createServer } from "node:net";
import { test } from "node:test";
import type { Connect } from "#host";
import { Metrics } from "#host";
import { systemClock, systemNetwork } from "#host/node";
import type { BlockRef, TakeMemory, TorusError } from "#model";
import { crc32, isTorusError } from "#model";
import { MemoryStore } from "#storage";
import { sampleBlock } from "../storage/record.fixture.ts";
import { storeSuite } from "../storage/store-suite.ts";
import { createHello } from "./greeting.ts";
import { PeerClient } from "./index.ts";
import { loopbackCluster, metricOf, openLoopback, silentLog } from "./loopback.fixture.ts";
import { operations } from "./wire/frame-codec.ts";
import { requestFrame } from "./wire/frame-sample.fixture.ts";
import { encodeHandshake } from "./wire/handshake-codec.ts";

const host = { network: systemNetwork, clock: systemClock, address: { host: "127.0.0.1", port: 0 } };
const ref = { type: 0, volume: 1, epoch: 1, index: 1 };
const capacity = 8 << 20;

const openMemory = (): MemoryStore => new MemoryStore({ peer: "p1", sizeBytes: 128 * 2 ** 20 });

storeSuite("memory over TCP", async () => {
  const memory = openMemory();
  let loopback = await openLoopback(memory, host);
  return {
    store: loopback.client(),
    reopen: async (options) => {
      await loopback.close();
      memory.restart(options);
      loopback = await openLoopback(memory, host, { incarnation: memory.incarnation });
      return loopback.client();
    },
    corrupt: (place, offset) => memory.corrupt(place, offset),
    close: () => loopback.close(),
  };
});

test("TCP: a peer confirms what its confirmer does, and nothing without one", async () => {
  const asked: unknown[] = [];
  const report = { ringVersion: 7, blocks: [{ verdict: "confirmed", length: 4096, checksum: 9 } as const] };
  const confirmer = {
    confirm: async (...args: unknown[]) => {
      asked.push(args);
      return report;
    },
  };
  const loopback = await openLoopback(openMemory(), host, { confirmer });
  assert.deepEqual(await loopback.client().confirm(7, [ref]), report);
  assert.deepEqual(asked, [[7, [ref]]]);
  await assert.rejects(loopback.client().confirm(7, Array(2000).fill(ref)), (error) =>
    isTorusError(error, "limit"),
  );
  await loopback.close();
  const without = await openLoopback(openMemory(), host);
  await assert.rejects(without.client().confirm(7, [ref]), (error) => isTorusError(error, "unsupported"));
  await without.close();
});

test("TCP: large and small requests at once arrive whole", async () => {
  const memory = openMemory();
  const loopback = await openLoopback(memory, host);
  const client = loopback.client();
  const block = sampleBlock(ref, 16, 255);
  const whole = { ...ref, index: 2 };
  await Promise.all([
    ...Array.from({ length: 16 }, (_, i) =>
      client.append(
        ref,
        block.offsets[i],
        block.bytes.subarray(block.offsets[i], block.offsets[i + 1]),
        16 << 20,
      ),
    ),
    client.put(whole, block.bytes, block.checksum, "repair"),
  ]);
  const reads = await Promise.all(
    Array.from({ length: 200 }, (_, i) =>
      client.read(i % 2 ? ref : whole, i * 4096, 1 + ((i * 977) % 300_000)),
    ),
  );
  reads.forEach((bytes, i) => {
    const expected = block.bytes.subarray(i * 4096, i * 4096 + 1 + ((i * 977) % 300_000));
    assert.equal(Buffer.compare(bytes, expected), 0, `read ${i}`);
  });
  assert.equal(crc32(await client.read(whole, 0, block.bytes.length)), block.checksum);
  await loopback.close();
});

test("TCP: what is read into memory that is used again arrives as it was", async () => {
  const memory = openMemory();
  const takes: number[] = [];
  const store = new Proxy(memory, {
    get: (target, key) => {
      if (key !== "read") {
        const value = Reflect.get(target, key, target);
        return typeof value === "function" ? value.bind(target) : value;
      }
      // Content by place: no two reads are alike.
      return async (_ref: BlockRef, offset: number, length: number, take: TakeMemory) => {
        takes.push(length);
        // One after the other in one turn: the answers before have been written and have not left.
        for (let i = takes.length * 10; i > 0; i--) await null;
        const bytes = take(length);
        for (let i = 0; i < length; i++) bytes[i] = (offset + i) % 251;
        return bytes;
      };
    },
  });
  const loopback = await openLoopback(store, host);
  const client = openClient(`127.0.0.1:${portOf(loopback.address)}`, systemNetwork.connect);
  const reads = Array.from({ length: 60 }, (_, i) => ({
    offset: i * 7,
    length: i % 2 === 0 ? 4096 : 300_000,
  }));
  const answers = await Promise.all(reads.map(({ offset, length }) => client.read(ref, offset, length)));
  for (const [i, { offset, length }] of reads.entries()) {
    assert.equal(answers[i].length, length);
    assert.ok(
      answers[i].every((byte, at) => byte === (offset + at) % 251),
      `read ${i}`,
    );
  }
  assert.equal(takes.length, reads.length);
  await client.close();
  await loopback.close();
});

test("TCP: what is asked in one turn leaves in one write, and so do the answers", async () => {
  const loopback = await openLoopback(openMemory(), host);
  let chunks = 0;
  const connect: Connect = (address, handlers) =>
    systemNetwork.connect(address, {
      connected: () => handlers.connected(),
      received: (chunk) => {
        chunks += 1;
        handlers.received(chunk);
      },
      room: () => handlers.room?.() ?? null,
      drained: () => handlers.drained(),
      closed: (reason) => handlers.closed(reason),
    });
  const client = openClient(`127.0.0.1:${portOf(loopback.address)}`, connect);
  await client.greet();
  chunks = 0;
  await Promise.all(Array.from({ length: 200 }, () => client.usage()));
  assert.ok(chunks <= 3, `${chunks} chunks for 200 answers`);
  await client.close();
  await loopback.close();
});

test("TCP: a client that reads slowly is slowed, and gets every answer", async () => {
  const memory = openMemory();
  await memory.append(ref, 0, sampleBlock(ref, 8).bytes, capacity);
  const loopback = await openLoopback(memory, host, { windowBytes: 2 ** 20 });
  const requested = 2000;
  const answerBytes = requested * (20 + 32_768);
  const socket = connectSocket(portOf(loopback.address), "127.0.0.1");
  socket.pause();
  socket.write(encodeHandshake(createHello(loopbackCluster, "p1")));
  const request = requestFrame({ operation: operations.read, ref, offset: 0, length: 32_768 }, 1);
  for (let i = 0; i < requested; i++) socket.write(request);
  const sent = (): number => metricOf(loopback.serverMetrics, "torus_peer_server_sent_bytes_total");
  let before = -1;
  while (sent() !== before || before === 0) {
    before = sent();
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  assert.ok(before < answerBytes / 2, `${before} bytes were answered to who reads nothing`);
  let received = 0;
  await new Promise<void>((resolve) => {
    socket.on("data", (chunk) => {
      received += chunk.length;
      if (received >= answerBytes) resolve();
    });
    socket.resume();
  });
  socket.destroy();
  await loopback.close();
});

test("TCP: a Unix socket serves as well", async () => {
  const path = `/tmp/torus-peer-test-${process.pid}.sock`;
  const loopback = await openLoopback(openMemory(), { ...host, address: { path } });
  assert.equal((await loopback.client().usage()).blocks, 0);
  await assert.rejects(openLoopback(openMemory(), { ...host, address: { path } }), (error) =>
    isTorusError(error, "busy"),
  );
  await loopback.close();
});

test("TCP: an address that is taken, and one that is not ours, cannot be listened on", async () => {
  const loopback = await openLoopback(openMemory(), host);
  const taken = { ...host, address: loopback.address };
  await assert.rejects(openLoopback(openMemory(), taken), (error) => isTorusError(error, "busy"));
  const foreign = { ...host, address: { host: "192.0.2.1", port: 1 } };
  await assert.rejects(openLoopback(openMemory(), foreign), (error) =>
    isTorusError(error, "invalid-argument"),
  );
  await loopback.close();
});

test("TCP: a server that stops frees its port; its client finds the next one there", async () => {
  const memory = openMemory();
  const first = await openLoopback(memory, host);
  const client = first.client();
  await client.append(ref, 0, sampleBlock(ref, 1).bytes, capacity);
  const lost = new Promise<TorusError>((resolve) => client.onDisconnect(resolve));
  await first.server.close();
  assert.equal((await lost).code, "unavailable");
  await assert.rejects(client.usage(), (error) => isTorusError(error, "unavailable"));
  const second = await openLoopback(memory, { ...host, address: first.address }, { incarnation: 2 });
  await retry(() => client.usage());
  assert.equal(client.incarnation, 2);
  await first.close();
  await second.close();
});

const cases: [string, () => Server, RegExp, string][] = [
  [
    "an HTTP server",
    () => createHttpServer((_request, response) => response.end("hello")),
    /does not begin as a Torus peer/,
    "protocol",
  ],
  ["a server that says nothing", () => createServer(() => {}), /did not greet within 300 ms/, "unavailable"],
  [
    "a server that closes at once",
    () => createServer((socket) => socket.destroy()),
    /did not greet: /,
    "unavailable",
  ],
  [
    "a server that talks first",
    () => createServer((socket) => socket.write("SSH-2.0-x\r\n")),
    /does not begin as a Torus peer/,
    "protocol",
  ],
  [
    "a server that sends garbage without end",
    () => createServer((socket) => flood(socket)),
    /does not begin as a Torus peer/,
    "protocol",
  ],
  [
    "a server that says half a greeting",
    () => createServer((socket) => socket.write("TORUS")),
    /did not greet within 300 ms/,
    "unavailable",
  ],
];
for (const [name, open, message, code] of cases) {
  test(`not a Torus peer: ${name} gives a clear error in time`, async () => {
    const server = open();
    server.on("connection", (socket) => socket.on("error", () => {}));
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const client = openClient(`127.0.0.1:${(server.address() as AddressInfo).port}`);
    await assert.rejects(client.usage(), (error) => {
      assert.ok(isTorusError(error));
      assert.match(error.message, message);
      assert.match(error.message, /peer p1 at 127\.0\.0\.1:/);
      assert.equal(error.code, code);
      return true;
    });
    await client.close();
    server.close();
  });
}

test("not a Torus peer: nobody there is told at once, with name and address", async () => {
  const client = openClient("127.0.0.1:1");
  await assert.rejects(client.usage(), /peer p1 at 127\.0\.0\.1:1 cannot be reached.*ECONNREFUSED/);
  await client.close();
  const named = openClient("localhost:1");
  await assert.rejects(named.usage(), /peer p1 at localhost:1 cannot be reached.*ECONNREFUSED/);
  await named.close();
  const wrong = openClient("nowhere");
  await assert.rejects(wrong.usage(), /"nowhere" is not an address/);
});

test("not a Torus peer: an HTTP client is closed and counted, others are served on", async () => {
  const loopback = await openLoopback(openMemory(), host);
  const client = loopback.client();
  await client.greet();
  const socket = connectSocket(portOf(loopback.address), "127.0.0.1", () =>
    socket.write("GET / HTTP/1.1\r\n\r\n"),
  );
  await new Promise((resolve) => socket.on("close", resolve).on("error", () => {}));
  assert.equal(metricOf(loopback.serverMetrics, "torus_peer_server_broken_total"), 1);
  assert.equal((await client.usage()).blocks, 0);
  await loopback.close();
});

function openClient(address: string, connect: Connect = systemNetwork.connect): PeerClient {
  return new PeerClient(
    { clusterId: loopbackCluster, peer: "p1", connectTimeoutMs: 300 },
    { addressOf: () => address, connect, clock: systemClock, log: silentLog, metrics: new Metrics() },
  );
}

function portOf(address: object): number {
  return (address as { port: number }).port;
}

function flood(socket: {
  write(bytes: Uint8Array): boolean;
  on(event: "drain", listener: () => void): unknown;
}): void {
  const chunk = new Uint8Array(65_536).fill(7);
  socket.on("drain", () => socket.write(chunk));
  socket.write(chunk);
}

async function retry<Result>(attempt: () => Promise<Result>): Promise<Result> {
  for (;;) {
    try {
      return await attempt();
    } catch (error) {
      if (!isTorusError(error, "unavailable")) throw error;
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }
}
