// What peers are asked to look at: asked once, answered once, gone with the peer.

import assert from "node:assert/strict";
import { it } from "node:test";
import { isTorusError } from "#model";
import type { RingDescription } from "#ring";
import { openFixture } from "./cluster.fixture.ts";

const ring: RingDescription = { version: 1, type: "rendezvous", replicas: 1, members: [] };
const record = { peer: "a", address: "n1:1", sizeBytes: 1, labels: {}, protocolVersion: 1 };
const answer = {
  beganMs: 2,
  updatedMs: 3,
  done: 0.5,
  found: 1,
  repaired: 0,
  unrepairable: 1,
  ended: false,
};
const last = { ...answer, done: 1, repaired: 1, unrepairable: 0, ended: true };

async function openWithPeer() {
  const fixture = openFixture();
  await fixture.cluster.init({ blockBytes: 2 ** 20, ring });
  await fixture.cluster.peers.register(record);
  return { ...fixture, scrubs: fixture.cluster.scrubs };
}

it("scrub requests: one that has not ended goes on, whoever asks again", async () => {
  const { scrubs } = await openWithPeer();
  assert.equal(await scrubs.of("a"), null);
  const first = { token: "t1", askedMs: 1, answer: null };
  assert.deepEqual(await scrubs.ask("a", "t1", 1), first);
  assert.deepEqual(await scrubs.ask("a", "t2", 5), first);
  await scrubs.answer("a", "t1", answer);
  assert.deepEqual(await scrubs.ask("a", "t3", 5), { ...first, answer });
  await scrubs.answer("a", "t1", last);
  assert.deepEqual(await scrubs.list(), new Map([["a", { ...first, answer: last }]]));
  assert.deepEqual(await scrubs.ask("a", "t4", 9), { token: "t4", askedMs: 9, answer: null });
});

it("scrub requests: an answer to another one, or after the last, has no effect", async () => {
  const { scrubs } = await openWithPeer();
  await scrubs.answer("a", "t1", answer);
  assert.equal(await scrubs.of("a"), null);
  await scrubs.ask("a", "t1", 1);
  await scrubs.answer("a", "t0", last);
  assert.equal((await scrubs.of("a"))?.answer, null);
  await scrubs.answer("a", "t1", last);
  await scrubs.answer("a", "t1", answer);
  assert.deepEqual((await scrubs.of("a"))?.answer, last);
});

it("scrub requests: one whose answer was lost is asked once", async () => {
  const { scrubs, faults, clock } = await openWithPeer();
  for (const outcome of ["happened", "did not happen", "happens late"] as const) {
    faults.failNext(outcome);
    const { token } = await clock.run(scrubs.ask("a", `token-${outcome.replaceAll(" ", "-")}`, 1));
    await faults.settleLate();
    assert.deepEqual(await scrubs.of("a"), { token, askedMs: 1, answer: null });
    await scrubs.answer("a", token, last);
  }
});

it("scrub requests: only of a peer that registered; gone when it is forgotten, and when all is wiped", async () => {
  const { scrubs, cluster } = await openWithPeer();
  await assert.rejects(scrubs.ask("b", "t1", 1), (error) => isTorusError(error, "not-found"));
  await scrubs.ask("a", "t1", 1);
  await cluster.peers.forget("a");
  assert.equal(await scrubs.of("a"), null);
  await cluster.peers.register(record);
  await scrubs.ask("a", "t2", 1);
  await cluster.wipe();
  assert.deepEqual(await scrubs.list(), new Map());
});
