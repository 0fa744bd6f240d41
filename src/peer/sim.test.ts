// Links on the simulated network: time, delays and faults from a seed.

import assert from "node:assert/strict";
import { test } from "node:test";
import { isTorusError, testifyWhole } from "#model";
import { MemoryStore } from "#storage";
import { SimClock } from "../sim/clock.ts";
import { SimNetwork, simNetworkDefaults } from "../sim/network.ts";
import { SeededRandom } from "../sim/random.ts";
import { sampleBlock } from "../storage/record.fixture.ts";
import { storeSuite } from "../storage/store-suite.ts";
import type { PeerServerOptions } from "./index.ts";
import { PeerPool, protocolVersionMax } from "./index.ts";
import { loopbackCluster, metricOf, openLoopback, silentLog } from "./loopback.fixture.ts";

function createWorld(seed: number) {
  const clock = new SimClock();
  const network = new SimNetwork(simNetworkDefaults, { clock, random: new SeededRandom(seed) });
  const host = { network: network.machine("p1"), clock, address: { host: "p1", port: 4321 } };
  return { clock, network, host };
}

let seed = 0;
storeSuite("memory over the simulated network", async () => {
  const { clock, host } = createWorld(++seed);
  const stop = clock.runFreely();
  const memory = new MemoryStore({ peer: "p1", sizeBytes: 32 * 2 ** 20 });
  let loopback = await openLoopback(memory, host);
  return {
    store: loopback.client(),
    reopen: async (options) => {
      await loopback.close();
      memory.restart(options);
      loopback = await openLoopback(memory, host, { incarnation: memory.incarnation });
      return loopback.client();
    },
    corrupt: (ref, offset) => memory.corrupt(ref, offset),
    close: async () => {
      await loopback.close();
      stop();
    },
  };
});

const ref = { type: 0, volume: 1, epoch: 1, index: 1 };
const capacity = 1 << 20;

/** A store whose answers a test gives by hand. */
class HeldStore extends MemoryStore {
  readonly waiting: (() => void)[] = [];
  holding = true;

  override async read(...args: Parameters<MemoryStore["read"]>): Promise<Uint8Array> {
    if (this.holding) await new Promise<void>((resolve) => this.waiting.push(resolve));
    return super.read(...args);
  }

  release(): void {
    for (const resolve of this.waiting.splice(0)) resolve();
  }
}

async function openWorld(options: Partial<PeerServerOptions> = {}, seedOf = 1) {
  const world = createWorld(seedOf);
  const memory = new HeldStore({ peer: "p1", sizeBytes: 32 * 2 ** 20 });
  const block = sampleBlock(ref, 4);
  await memory.append(ref, 0, block.bytes, capacity);
  const loopback = await openLoopback(memory, world.host, options);
  const connect = world.network.machine("c1").connect;
  const pool = new PeerPool(
    { clusterId: loopbackCluster },
    {
      addressOf: (peer) => (peer === "p1" ? "p1:4321" : null),
      connect,
      clock: world.clock,
      log: silentLog,
      metrics: loopback.clientMetrics,
    },
  );
  return { ...world, memory, block, loopback, pool, client: pool.storeOf("p1") };
}

function rejection(promise: Promise<unknown>): Promise<Error> {
  return promise.then(
    () => assert.fail("it resolved"),
    (error: Error) => error,
  );
}

test("link: connects when used, tells who answered, and is shared", async () => {
  const { clock, pool, client } = await openWorld({ incarnation: 5 });
  assert.deepEqual([client.connected, client.incarnation], [false, null]);
  const identity = await clock.run(client.greet());
  assert.deepEqual(identity, {
    peer: "p1",
    clusterId: loopbackCluster,
    incarnation: 5,
    version: protocolVersionMax,
  });
  assert.deepEqual([client.connected, client.incarnation], [true, 5]);
  assert.equal(pool.storeOf("p1"), client);
  await pool.close();
  assert.throws(
    () => pool.storeOf("p1"),
    (error) => isTorusError(error, "closed"),
  );
});

test("link: requests have a deadline, also while they wait for the window", async () => {
  const { clock, client, memory } = await openWorld();
  const before = clock.monotonicMs();
  const reads = Array.from({ length: 600 }, () => rejection(client.read(ref, 0, 1)));
  const errors = await clock.run(Promise.all(reads));
  assert.ok(errors.every((error) => isTorusError(error, "timeout")));
  assert.ok(clock.monotonicMs() - before <= 5600);
  assert.equal(memory.waiting.length, 512, "beyond the window nothing was sent");
  assert.equal(client.connected, true, "a slow store is not a dead peer: it answers pings");
});

test("link: late answers settle nothing and are counted", async () => {
  const { clock, client, memory, loopback } = await openWorld();
  const error = await clock.run(rejection(client.read(ref, 0, 1)));
  assert.ok(isTorusError(error, "timeout"));
  const usage = client.usage();
  memory.release();
  assert.equal((await clock.run(usage)).blocks, 1);
  await clock.advance(100);
  assert.equal(metricOf(loopback.clientMetrics, "torus_peer_client_late_answers_total"), 1);
});

test("link: a silent network drops the connection and rejects what is under way, at once and all", async () => {
  const { clock, network, client } = await openWorld();
  await clock.run(client.greet());
  const lost: string[] = [];
  client.onDisconnect((error) => lost.push(error.code));
  network.part("c1", "p1");
  const before = clock.monotonicMs();
  const errors = await clock.run(Promise.all([rejection(client.read(ref, 0, 1)), rejection(client.usage())]));
  assert.ok(errors.every((error) => isTorusError(error, "unavailable")));
  assert.match(errors[0].message, /peer p1 at p1:4321 was silent/);
  assert.ok(clock.monotonicMs() - before < 3600);
  assert.deepEqual([lost, client.connected], [["unavailable"], false]);
  network.heal("c1", "p1");
  await clock.advance(1000);
  assert.equal((await clock.run(client.usage())).blocks, 1, "the next use connects again");
});

test("link: an idle link is not dropped, a watched one is checked and comes back by itself", async () => {
  const { clock, network, client } = await openWorld();
  await clock.run(client.greet());
  network.part("c1", "p1");
  await clock.advance(60_000);
  assert.equal(client.connected, true, "nothing was due");
  const unwatch = client.watch();
  await clock.advance(5000);
  assert.equal(client.connected, false);
  network.heal("c1", "p1");
  await clock.advance(4000);
  assert.equal(client.connected, true);
  unwatch();
  await client.close();
});

test("link: a peer that restarts is another incarnation; what it was asked before is rejected", async () => {
  const { clock, network, client, memory, host, loopback } = await openWorld({ incarnation: 1 });
  const read = rejection(client.read(ref, 0, 1));
  await clock.advance(100);
  network.crash("p1");
  const error = await clock.run(read);
  assert.ok(isTorusError(error, "unavailable"));
  memory.restart({ loseUnsynced: false });
  memory.holding = false;
  await openLoopback(memory, host, { incarnation: 2 });
  memory.release();
  await clock.advance(1000);
  assert.equal((await clock.run(client.read(ref, 0, 1))).length, 1);
  assert.equal(client.incarnation, 2);
  assert.equal(metricOf(loopback.clientMetrics, "torus_peer_client_late_answers_total"), 0);
});

test("link: a peer whose incarnation went back is refused", async () => {
  const { clock, network, client, memory, host } = await openWorld({ incarnation: 7 });
  await clock.run(client.greet());
  network.crash("p1");
  await openLoopback(memory, host, { incarnation: 6 });
  await clock.advance(2000);
  const error = await clock.run(rejection(client.usage()));
  assert.ok(isTorusError(error, "protocol"));
  assert.match(error.message, /went back from 7 to 6/);
});

test("link: after a failure to connect requests fail at once until the next attempt is due", async () => {
  const { clock, network, client, loopback, memory, host } = await openWorld();
  network.crash("p1");
  const first = await clock.run(rejection(client.usage()));
  assert.match(first.message, /peer p1 at p1:4321 cannot be reached.*ECONNREFUSED/);
  const at = clock.monotonicMs();
  await clock.run(rejection(client.usage()));
  assert.equal(clock.monotonicMs(), at);
  for (let i = 0; i < 12; i++) {
    await clock.advance(1100);
    await clock.run(rejection(client.usage()));
  }
  await loopback.server.close();
  await openLoopback(memory, host);
  await clock.advance(1000);
  assert.equal((await clock.run(client.usage())).blocks, 1, "the pause between attempts is at most a second");
});

test("link: a peer without an address, and one that never answers, are unavailable", async () => {
  const { clock, network, client, pool } = await openWorld();
  const unknown = await clock.run(rejection(pool.storeOf("p9").usage()));
  assert.ok(isTorusError(unknown, "unavailable"));
  assert.match(unknown.message, /no address is known for peer p9/);
  network.part("c1", "p1");
  const at = clock.monotonicMs();
  const silent = await clock.run(rejection(client.usage()));
  assert.match(silent.message, /did not accept the connection within 2000 ms/);
  assert.ok(clock.monotonicMs() - at < 2600);
});

test("link: closing rejects what is under way and what waits", async () => {
  const { clock, client } = await openWorld();
  const reads = Array.from({ length: 520 }, () => rejection(client.read(ref, 0, 1)));
  await clock.advance(50);
  await client.close();
  const errors = await clock.run(Promise.all(reads));
  assert.ok(errors.every((error) => isTorusError(error, "closed")));
});

test("link: a poisoned store drops every connection and is not served again", async () => {
  const { clock, client, memory, loopback } = await openWorld();
  const other = loopback.client();
  await clock.run(Promise.all([client.greet(), other.greet()]));
  memory.poison();
  const error = await clock.run(rejection(client.sync([ref])));
  assert.ok(isTorusError(error, "unavailable"));
  await clock.advance(100);
  assert.deepEqual([client.connected, other.connected, loopback.server.connections], [false, false, 0]);
  const refused = await clock.run(rejection(client.usage()));
  assert.ok(isTorusError(refused, "poisoned"), refused.message);
});

test("server: requests beyond it are not read until there is room", async () => {
  const { clock, client, memory } = await openWorld({ windowRequests: 16 });
  const reads = Array.from({ length: 100 }, (_, i) => client.read(ref, i, 1));
  await clock.advance(500);
  assert.equal(memory.waiting.length, 16);
  memory.release();
  await clock.advance(500);
  assert.equal(memory.waiting.length, 16);
  memory.holding = false;
  memory.release();
  const answers = await clock.run(Promise.all(reads));
  assert.equal(answers.length, 100);
});

test("server: a client that takes no answers is not read, and its share of memory is bounded", async () => {
  const { clock, network, memory, loopback } = await openWorld({ windowBytes: 100_000 });
  memory.holding = false;
  const { requestFrame } = await import("./wire/frame-sample.fixture.ts");
  const { createHello } = await import("./greeting.ts");
  const { encodeHandshake } = await import("./wire/handshake-codec.ts");
  const connection = network.machine("slow").connect(loopback.address, {
    connected() {
      connection.write(encodeHandshake(createHello(loopbackCluster, "p1")));
    },
    received() {
      connection.pause();
      for (let i = 0; i < 2000; i++) {
        connection.write(requestFrame({ operation: 3, ref, offset: 0, length: 4 * 8192 }, i + 1));
      }
    },
    drained() {},
    closed() {},
  });
  await clock.advance(10_000);
  const sent = metricOf(loopback.serverMetrics, "torus_peer_server_sent_bytes_total");
  assert.ok(sent < 256 * 1024 + 100_000 + 5 * 32_768, `${sent} bytes were answered`);
  await clock.advance(30_000);
  const served = metricOf(loopback.serverMetrics, "torus_peer_server_requests_total");
  assert.ok(served > 0 && served < 100, `dropped after ${served} requests, since it takes nothing`);
  assert.equal(loopback.server.connections, 0);
});

test("server: all connections together stay within the server's memory, and all are served in the end", async () => {
  const { clock, memory, loopback } = await openWorld({ requestBytesMax: 40_000 });
  const clients = Array.from({ length: 6 }, () => loopback.client());
  const appends = clients.map(async (client, i) => {
    const place = { ...ref, index: i + 2 };
    const block = sampleBlock(place, 8);
    await client.append(place, 0, block.bytes, capacity);
    await client.seal(place, block.bytes.length, block.checksum);
  });
  let most = 0;
  const done = Promise.all(appends);
  const watch = (): void => {
    most = Math.max(most, metricOf(loopback.serverMetrics, "torus_peer_server_request_bytes"));
    clock.setTimer(1, watch);
  };
  watch();
  await clock.run(done);
  assert.ok(most <= 40_000 + 2 * 70_000, `${most} bytes at most`);
  assert.equal((await memory.usage()).blocks, 7);
});

test("server: connections beyond the limit are refused with the reason", async () => {
  const { clock, loopback } = await openWorld({ connectionsMax: 2 });
  const clients = [loopback.client(), loopback.client(), loopback.client()];
  await clock.run(Promise.all([clients[0].greet(), clients[1].greet()]));
  const error = await clock.run(rejection(clients[2].greet()));
  assert.ok(isTorusError(error, "unavailable"));
  assert.match(error.message, /has 2 connections, its limit/);
  await clients[0].close();
  await clock.advance(6000);
  await clock.run(clients[2].greet());
});

test("a peer tells what it remembers of the metadata and of its volumes, page by page", async () => {
  const { clock, memory, loopback } = await openWorld();
  const client = loopback.client();
  const view = {
    clusterId: loopbackCluster,
    identity: "etcd 1",
    generation: 1,
    revision: 9,
    ringVersion: 2,
    lastVolumeId: 8,
  };
  for (let volume = 2; volume <= 8; volume++) await memory.fence(volume, 10 * volume, 1, 1, null);
  memory.observe(view, "");
  memory.observe({ ...view, revision: 8 }, "");
  const whole = await clock.run(testifyWhole(client));
  assert.deepEqual(whole, await testifyWhole(memory));
  assert.match(whole.behind, /revision 8, and was at 9/);
  assert.equal(whole.volumes.length, 8);
  const page = await clock.run(client.testify(3, 2));
  assert.deepEqual(page, await memory.testify(3, 2));
  assert.equal(page.next, 5);
  const error = await clock.run(rejection(client.fence(2, 50, 1, 1, null)));
  assert.ok(isTorusError(error, "metadata-behind"), `${error}`);
});

test("handshake: a wrong cluster, a wrong peer: both sides say so", async () => {
  const { clock, loopback } = await openWorld();
  const cluster = await clock.run(rejection(loopback.client({ clusterId: "other" }).greet()));
  assert.ok(isTorusError(cluster, "protocol"));
  assert.match(cluster.message, /belongs to cluster cluster-1, not other/);
  const peer = await clock.run(rejection(loopback.client({ peer: "p2" }).greet()));
  assert.ok(isTorusError(peer, "protocol"));
  assert.match(peer.message, /peer p1 is at this address, not peer p2/);
  assert.equal((await clock.run(loopback.client({ peer: "" }).greet())).peer, "p1");
  assert.equal(metricOf(loopback.serverMetrics, "torus_peer_server_refused_total"), 2);
});
