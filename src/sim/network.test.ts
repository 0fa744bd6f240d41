// The simulated network behaves as the seam promises, and breaks as a real one can.

import assert from "node:assert/strict";
import { test } from "node:test";
import type { Connection, ConnectionHandlers } from "#host";
import { AssertionFailure } from "#model";
import { SimClock } from "./clock.ts";
import { SimNetwork, simNetworkDefaults } from "./network.ts";
import { SeededRandom } from "./random.ts";

/** Connects machine a to machine b; each end notes what happens to it. */
async function openPair(seed: number) {
  const clock = new SimClock();
  const network = new SimNetwork(simNetworkDefaults, { clock, random: new SeededRandom(seed) });
  const notes = { near: [] as string[], far: [] as string[], received: [] as Uint8Array[] };
  const handlersOf = (list: string[]): ConnectionHandlers => ({
    connected: () => list.push("connected"),
    received: (chunk) => {
      if (list === notes.far) notes.received.push(chunk.slice());
    },
    drained: () => list.push("drained"),
    closed: (reason) => list.push(`closed ${reason === null ? "in order" : reason.message}`),
  });
  let far: Connection | null = null;
  await network.machine("b").listen({ host: "b", port: 1 }, (connection) => {
    far = connection;
    return handlersOf(notes.far);
  });
  const near = network.machine("a").connect({ host: "b", port: 1 }, handlersOf(notes.near));
  await clock.advance(20);
  assert.ok(far !== null);
  return { clock, network, notes, near, far: far as Connection };
}

test("bytes arrive whole and in order, in the same pieces for the same seed", async () => {
  const runs: string[] = [];
  for (const seed of [1, 1, 2]) {
    const { clock, near, notes } = await openPair(seed);
    const bytes = new SeededRandom(9).bytes(200_000);
    for (let at = 0; at < bytes.length; at += 30_000) near.write(bytes.subarray(at, at + 30_000));
    await clock.advance(100);
    assert.equal(Buffer.compare(Buffer.concat(notes.received), bytes), 0);
    runs.push(`${notes.received.map((chunk) => chunk.length)}`);
  }
  assert.equal(runs[0], runs[1]);
  assert.notEqual(runs[0], runs[2]);
});

test("what was received is spoilt when the receiver returns, and goes where it wants it", async () => {
  const { clock, network } = await openPair(6);
  const kept: Uint8Array[] = [];
  const room = new Uint8Array(10);
  await network.machine("c").listen({ host: "c", port: 1 }, () => ({
    connected() {},
    received: (chunk) => kept.push(chunk),
    room: () => (kept.length === 0 ? room : null),
    drained() {},
    closed() {},
  }));
  const near = network.machine("a").connect(
    { host: "c", port: 1 },
    {
      connected: () => near.write(new Uint8Array(50).fill(7)),
      received() {},
      drained() {},
      closed() {},
    },
  );
  await clock.advance(100);
  assert.equal(kept[0].buffer, room.buffer);
  const bytes = kept.flatMap((chunk) => [...chunk]);
  const first = kept[0].length;
  assert.deepEqual(bytes, [...Array(first).fill(7), ...Array(50 - first).fill(0xdb)]);
});

test("a receiver that is paused holds the sender up, and gets all when it reads on", async () => {
  const { clock, near, far, notes } = await openPair(3);
  far.pause();
  near.write(new Uint8Array(300_000));
  near.write(new Uint8Array(300_000));
  near.write(new Uint8Array(300_000));
  await clock.advance(1000);
  assert.equal(notes.received.length, 0);
  assert.ok(near.unsentBytes > 0);
  far.resume();
  await clock.advance(1000);
  assert.equal(Buffer.concat(notes.received).length, 900_000);
  assert.equal(near.unsentBytes, 0);
  assert.equal(notes.near.at(-1), "drained");
});

test("a partition holds bytes back, healing lets them through, a reset breaks both ends", async () => {
  const { clock, network, near, notes } = await openPair(4);
  network.part("a", "b");
  near.write(Uint8Array.of(1, 2, 3));
  await clock.advance(60_000);
  assert.equal(notes.received.length, 0);
  network.heal("a", "b");
  await clock.advance(100);
  assert.equal(Buffer.concat(notes.received).length, 3);
  network.reset("a", "b");
  await clock.advance(10);
  assert.equal(notes.near.at(-1), "closed read ECONNRESET");
  assert.equal(notes.far.at(-1), "closed read ECONNRESET");
});

test("closing sends what was written first; a crash resets, a loss of power is silent", async () => {
  const closing = await openPair(5);
  closing.near.write(new Uint8Array(5000));
  closing.near.close();
  await closing.clock.advance(100);
  assert.equal(Buffer.concat(closing.notes.received).length, 5000);
  assert.equal(closing.notes.far.at(-1), "closed in order");
  for (const silent of [false, true]) {
    const { clock, network, notes } = await openPair(6);
    network.crash("b", { silent });
    await clock.advance(1000);
    assert.equal(notes.near.at(-1), silent ? "connected" : "closed read ECONNRESET");
    assert.deepEqual(notes.far, [], "the dead hear nothing");
  }
});

test("what a process had sent when it was killed is lost, or arrives after a partition, before its end", async () => {
  const seen = new Set<string>();
  for (let seed = 1; seed <= 12; seed++) {
    const { clock, network, near, notes } = await openPair(seed);
    network.part("a", "b");
    near.write(Uint8Array.of(1, 2, 3));
    await clock.advance(100);
    network.crash("a");
    await clock.advance(60_000);
    network.heal("a", "b");
    await clock.advance(1000);
    assert.equal(notes.far.at(-1), "closed read ECONNRESET");
    seen.add(`${Buffer.concat(notes.received).length} bytes`);
  }
  assert.deepEqual([...seen].sort(), ["0 bytes", "3 bytes"]);
});

test("bytes that change before they were sent are caught", async () => {
  const { clock, near, far } = await openPair(7);
  far.pause();
  const bytes = new Uint8Array(300_000);
  near.write(bytes);
  near.write(bytes);
  await clock.advance(100);
  bytes[0] = 1;
  far.resume();
  await assert.rejects(clock.advance(1000), AssertionFailure);
});
