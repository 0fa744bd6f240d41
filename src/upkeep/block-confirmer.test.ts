// BlockConfirmer: what a peer vouches for when another is about to delete.

import assert from "node:assert/strict";
import { test } from "node:test";
import { sleep } from "#host";
import type { BlockRef } from "#model";
import { crc32 } from "#model";
import type { RingDescription } from "#ring";
import { createRing } from "#ring";
import { MemoryStore } from "#storage";
import { SimClock } from "../sim/clock.ts";
import { BlockConfirmer } from "./block-confirmer.ts";
import { noGuard } from "./latency-guard.ts";
import type { OwnStore } from "./own-store.ts";
import { Pacer } from "./pacer.ts";

const ref = (index: number): BlockRef => ({ type: 1, volume: 1, epoch: 1, index });
const bytes = new Uint8Array(4096).fill(3);

/** Counts how often its copies are read back. */
class MemoryOwnStore extends MemoryStore implements OwnStore {
  verified = 0;

  override verify(block: BlockRef): Promise<boolean | null> {
    this.verified += 1;
    return super.verify(block);
  }
}

function bench() {
  const clock = new SimClock();
  const store = new MemoryOwnStore({ peer: "a", sizeBytes: 2 ** 24 });
  const members = [{ peer: "a", weight: 1, labels: {} }];
  let description: RingDescription = { version: 3, type: "single", replicas: 1, members };
  const pacer = new Pacer({ bytesPerSecond: 2 ** 30 }, { clock, guard: noGuard });
  const confirmer = new BlockConfirmer(
    { verifiedForMs: 10_000 },
    { store, pacer, ring: () => createRing(description), clock },
  );
  const ask = async (version: number, ...refs: BlockRef[]) => {
    const report = await clock.run(confirmer.confirm(version, refs));
    return report.blocks.map(({ verdict }) => verdict);
  };
  const setRing = (change: Partial<RingDescription>): void => {
    description = { ...description, ...change };
  };
  return { clock, store, setRing, ask, confirmer };
}

test("confirm: sealed blocks of its own, by the ring it is at, and nothing else", async () => {
  const { store, setRing, ask } = bench();
  await store.put(ref(1), bytes, crc32(bytes), "repair");
  assert.deepEqual(await ask(3, ref(1), ref(2)), ["confirmed", "lacking"]);
  assert.deepEqual(await ask(2, ref(1)), ["lacking"], "the asker is behind");
  assert.deepEqual(await ask(4, ref(1)), ["lacking"], "the asker is ahead");
  setRing({ version: 4, members: [{ peer: "b", weight: 1, labels: {} }] });
  assert.deepEqual(await ask(4, ref(1)), ["lacking"], "not its own any more");
});

test("confirm: the ring that counts is the one in force when the answer is given", async () => {
  const { clock, store, setRing, confirmer } = bench();
  await store.put(ref(1), bytes, crc32(bytes), "repair");
  const asked = confirmer.confirm(3, [ref(1)]);
  setRing({ version: 4 });
  const report = await clock.run(asked);
  assert.deepEqual([report.ringVersion, report.blocks[0].verdict], [4, "lacking"]);
});

test("confirm: a copy is read back; that is remembered for a while, until any copy fails", async () => {
  const { clock, store, ask } = bench();
  for (const index of [1, 2]) await store.put(ref(index), bytes, crc32(bytes), "repair");
  await ask(3, ref(1));
  await ask(3, ref(1));
  assert.equal(store.verified, 1);
  await clock.advance(10_001);
  await ask(3, ref(1));
  assert.equal(store.verified, 2);
  store.corrupt(ref(2), 5);
  assert.deepEqual(await ask(3, ref(2), ref(1)), ["lacking", "confirmed"]);
  assert.equal(store.verified, 4, "what was remembered was forgotten and read again");
});

test("confirm: what there is no time to read back is for later", async () => {
  const { clock, store, ask } = bench();
  const refs = Array.from({ length: 10 }, (_, i) => ref(i + 1));
  for (const each of refs) await store.put(each, bytes, crc32(bytes), "repair");
  const verify = store.verify.bind(store);
  store.verify = async (block) => {
    await sleep(clock, 300);
    return verify(block);
  };
  const count = (verdicts: string[], verdict: string) => verdicts.filter((each) => each === verdict).length;
  const first = await ask(3, ...refs);
  assert.deepEqual([count(first, "confirmed"), count(first, "later")], [5, 5]);
  const second = await ask(3, ...refs);
  assert.ok(count(second, "confirmed") > 5);
});
