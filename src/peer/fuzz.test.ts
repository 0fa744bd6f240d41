// Whatever comes over the wire, from broken, hostile or newer programs: the server lives, gives back all memory, and goes on
// serving others; the client ends the link with a clear error. Cases are made from seeds and run without sockets.

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import type { Connection, ConnectionHandlers } from "#host";
import { Metrics } from "#host";
import { isTorusError } from "#model";
import { MemoryStore } from "#storage";
import { SimClock } from "../sim/clock.ts";
import { SeededRandom } from "../sim/random.ts";
import { createHello } from "./greeting.ts";
import { PeerClient, PeerServer } from "./index.ts";
import { loopbackCluster, metricOf, silentLog } from "./loopback.fixture.ts";
import { answerFrame, requestFrame, requests, sampleExchanges } from "./wire/frame-sample.fixture.ts";
import { encodeHandshake } from "./wire/handshake-codec.ts";

/** The near end of a connection whose other end is a test: keeps what was sent. */
class FakeConnection implements Connection {
  readonly remote = "fuzz";
  readonly sent: Uint8Array[] = [];
  unsentBytes = 0;
  ended = false;
  paused = false;

  write(bytes: Uint8Array): void {
    if (!this.ended) this.sent.push(bytes);
  }

  writeCopy(bytes: Uint8Array): void {
    this.write(bytes.slice());
  }

  pause(): void {
    this.paused = true;
  }

  resume(): void {
    this.paused = false;
  }

  close(): void {
    this.ended = true;
  }

  destroy(): void {
    this.ended = true;
  }
}

const settle = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

async function openServer() {
  const metrics = new Metrics();
  const store = new MemoryStore({ peer: "p1", sizeBytes: 2 ** 20 });
  let accept: ((connection: Connection) => ConnectionHandlers) | null = null;
  const address = { host: "fuzz", port: 1 };
  const server = new PeerServer(
    { clusterId: loopbackCluster, incarnation: 1, address, requestBytesMax: 4 * 2 ** 20 },
    {
      store,
      witness: store,
      listen: async (_address, accepting) => {
        accept = accepting;
        return { address, close: async () => {} };
      },
      clock: new SimClock(),
      log: silentLog,
      metrics,
    },
  );
  await server.start();
  const open = (): { connection: FakeConnection; handlers: ConnectionHandlers } => {
    const connection = new FakeConnection();
    assert.ok(accept !== null);
    return { connection, handlers: accept(connection) };
  };
  return { server, metrics, store, open };
}

/** Feeds `stream` in random pieces, as far as the connection reads. */
async function feed(
  stream: Uint8Array,
  random: SeededRandom,
  end: { connection: FakeConnection; handlers: ConnectionHandlers },
): Promise<void> {
  for (let at = 0; at < stream.length && !end.connection.ended; ) {
    const length = Math.min(
      stream.length - at,
      random.oneIn(3) ? random.between(1, 40) : random.between(1, 4000),
    );
    end.handlers.received(stream.slice(at, at + length));
    at += length;
    for (let i = 0; end.connection.paused && i < 100; i++) await settle();
  }
}

/** One to four random injuries: bits, bytes, pieces cut out, doubled or put in. */
function injure(stream: Uint8Array, random: SeededRandom): Uint8Array {
  let bytes = Buffer.from(stream);
  for (let i = random.between(1, 4); i > 0; i--) {
    if (bytes.length === 0) return random.bytes(10);
    const at = random.between(0, bytes.length - 1);
    const to = Math.min(bytes.length, at + random.between(1, 64));
    switch (random.between(0, 5)) {
      case 0:
        bytes[at] ^= 1 << random.between(0, 7);
        break;
      case 1:
        bytes[at] = [0, 1, 0x7f, 0x80, 0xff][random.between(0, 4)];
        break;
      case 2:
        bytes = Buffer.concat([bytes.subarray(0, at), bytes.subarray(to)]);
        break;
      case 3:
        bytes = Buffer.concat([bytes.subarray(0, to), bytes.subarray(at)]);
        break;
      case 4:
        bytes = Buffer.concat([
          bytes.subarray(0, at),
          random.bytes(random.between(1, 64)),
          bytes.subarray(at),
        ]);
        break;
      default:
        bytes = bytes.subarray(0, at);
    }
  }
  return bytes;
}

const hello = encodeHandshake(createHello(loopbackCluster, "p1"));

describe("the server", () => {
  test("answers every well-formed request, whatever it asks", async () => {
    const { metrics, open } = await openServer();
    const property = fc.asyncProperty(
      fc.array(requests, { maxLength: 20 }),
      fc.integer(),
      async (list, seed) => {
        const end = open();
        const stream = Buffer.concat([hello, ...list.map((request, i) => requestFrame(request, i + 1))]);
        await feed(stream, new SeededRandom(seed), end);
        await settle();
        assert.equal(end.connection.ended, false);
        const answers = Buffer.concat(end.connection.sent);
        assert.equal(countFrames(answers.subarray(16 + answers.readUInt16LE(10))), list.length);
        end.handlers.closed(null);
        assert.equal(metricOf(metrics, "torus_peer_server_request_bytes"), 0);
      },
    );
    await fc.assert(property, { numRuns: 300 });
  });

  test("lives through thousands of injured streams, gives back their memory and serves others", async () => {
    const { server, metrics, store, open } = await openServer();
    const good = open();
    good.handlers.received(hello);
    const samples = Object.values(sampleExchanges).map(({ request }, i) => requestFrame(request, i + 1));
    for (let seed = 1; seed <= 4000; seed++) {
      const random = new SeededRandom(seed);
      const frames = Array.from(
        { length: random.between(0, 8) },
        () => samples[random.between(0, samples.length - 1)],
      );
      const injured = random.oneIn(3) ? injure(hello, random) : hello;
      const stream = Buffer.concat([injured, injure(Buffer.concat(frames), random)]);
      const end = open();
      await feed(stream, random, end);
      if (seed % 16 === 0) await settle();
      end.handlers.closed(null);
      assert.ok(metricOf(metrics, "torus_peer_server_request_bytes") <= 72 * 2 ** 20, `seed ${seed}`);
    }
    await settle();
    assert.equal(metricOf(metrics, "torus_peer_server_request_bytes"), 0);
    assert.equal(server.connections, 1);
    assert.ok(metricOf(metrics, "torus_peer_server_broken_total") > 1000);
    good.connection.sent.length = 0;
    good.handlers.received(Uint8Array.from(requestFrame(sampleExchanges.usage.request, 5)));
    await settle();
    assert.equal(countFrames(Buffer.concat(good.connection.sent)), 1);
    await store.usage();
  });

  test("closes a connection at the first byte that is none of ours", async () => {
    const { open } = await openServer();
    const end = open();
    end.handlers.received(Uint8Array.of(0x54, 0x4f));
    assert.equal(end.connection.ended, false);
    end.handlers.received(Uint8Array.of(0x53));
    assert.equal(end.connection.ended, true);
  });
});

describe("the client", () => {
  const welcome = encodeHandshake({
    kind: "welcome",
    version: 1,
    incarnation: 1,
    clusterId: loopbackCluster,
    peer: "p1",
  });

  test("lives through thousands of injured answers: each request settles, none with another's answer", async () => {
    let refused = 0;
    for (let seed = 1; seed <= 2000; seed++) {
      const random = new SeededRandom(seed);
      const clock = new SimClock();
      const connection = new FakeConnection();
      let handlers: ConnectionHandlers | null = null;
      const client = new PeerClient(
        { clusterId: loopbackCluster, peer: "p1" },
        {
          addressOf: () => "fuzz:1",
          connect: (_address, given) => {
            handlers = given;
            return connection;
          },
          clock,
          log: silentLog,
          metrics: new Metrics(),
        },
      );
      const usage = client.usage().catch((error: Error) => error);
      const statuses = client.stat([]).catch((error: Error) => error);
      assert.ok(handlers !== null);
      const end = { connection, handlers: handlers as ConnectionHandlers };
      end.handlers.connected();
      const answers = Buffer.concat([
        answerFrame(sampleExchanges.usage.request, sampleExchanges.usage.answer, 1),
        answerFrame({ operation: 6, refs: [] }, [], 2),
      ]);
      const injured = random.oneIn(3)
        ? Buffer.concat([injure(welcome, random), answers])
        : Buffer.concat([welcome, injure(answers, random)]);
      await feed(injured, random, end);
      end.handlers.closed(null);
      for (const result of await Promise.all([usage, statuses])) {
        if (isTorusError(result)) refused += 1;
        else assert.ok(!(result instanceof Error), `seed ${seed}: ${result}`);
      }
      const settled = await usage;
      if (!(settled instanceof Error))
        assert.deepEqual(settled, sampleExchanges.usage.answer, `seed ${seed}`);
      await client.close();
    }
    assert.ok(refused > 500);
  });
});

function countFrames(bytes: Buffer): number {
  let count = 0;
  for (let at = 0; at < bytes.length; at += 20 + bytes.readUInt32LE(at + 4)) count += 1;
  return count;
}
