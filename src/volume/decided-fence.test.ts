// Fences that say what they were decided by: a peer that only looked later is convinced by reading again; one that knows better is not [C7].

import assert from "node:assert/strict";
import { test } from "node:test";
import type { BlockStore, FenceBasis, FenceReport, MetadataView } from "#model";
import { isTorusError, judgeView, metadataBehindSeen, metadataBehindServed, TorusError } from "#model";
import { FenceDecision } from "./decided-fence.ts";

const view: MetadataView = {
  clusterId: "c",
  identity: "m",
  generation: 0,
  revision: 5,
  ringVersion: 1,
  lastVolumeId: 1,
};
const at = (revision: number): FenceBasis => ({ view: { ...view, revision }, headEpoch: 1 });
const order = { volume: 1, epoch: 2, logEpoch: 1, fromIndex: 1 };
const report: FenceReport = { epoch: 2, blocks: [], durableIndex: 0, durableOffset: 0, cutEpoch: 0 };

/** A peer that has seen the metadata at each of `seen`, one after another, whenever it is asked. */
function peer(seen: readonly number[]): { store: BlockStore; told: number[] } {
  const told: number[] = [];
  const store = {
    fence: async (...asked: Parameters<BlockStore["fence"]>) => {
      const basis = asked[4];
      assert.ok(basis !== null);
      const known = at(seen[Math.min(told.length, seen.length - 1)]).view;
      told.push(basis.view.revision);
      const reason = judgeView(known, basis.view);
      if (reason !== "") throw metadataBehindSeen(reason, known);
      return report;
    },
  } as unknown as BlockStore;
  return { store, told };
}

const isBehind = (error: unknown): boolean => isTorusError(error, "metadata-behind");

test("a peer that has looked since is told what there is now", async () => {
  let revision = 5;
  const decision = new FenceDecision(at(5), async () => at((revision += 2)));
  const { store, told } = peer([6, 8, 8]);
  assert.equal(await decision.fence(order, store), report);
  assert.deepEqual(told, [5, 7, 9]);
});

test("what was read anew counts for every peer, and is read once for those that ask at the same time", async () => {
  let reads = 0;
  const decision = new FenceDecision(at(5), async () => {
    reads += 1;
    return at(9);
  });
  const peers = [peer([7]), peer([8]), peer([9])];
  await Promise.all(peers.map(({ store }) => decision.fence(order, store)));
  assert.ok(reads <= 2, `${reads} reads`);
  const late = peer([9]);
  await decision.fence(order, late.store);
  assert.deepEqual(late.told, [9]);
});

test("a peer that has seen more than is there now is right", async () => {
  const decision = new FenceDecision(at(5), async () => at(6));
  const { store, told } = peer([7]);
  await assert.rejects(decision.fence(order, store), (error) => {
    return isBehind(error) && (error as TorusError).details["decidedGeneration"] === 0;
  });
  assert.deepEqual(told, [5]);
  const served = {
    fence: () => Promise.reject(metadataBehindServed(1, 1, 2)),
  } as unknown as BlockStore;
  await assert.rejects(decision.fence(order, served), /served in epoch 2 already/);
});

test("what cannot be read anew, or is not the same any more, ends it", async () => {
  const lost = new TorusError("fenced", "the volume was taken over");
  const decision = new FenceDecision(at(5), () => Promise.reject(lost));
  await assert.rejects(decision.fence(order, peer([7]).store), (error) => error === lost);
  let revision = 5;
  const chasing = new FenceDecision(at(5), async () => at((revision += 1)));
  const always = peer(Array.from({ length: 100 }, (_, i) => 6 + i));
  const isUnclear = (error: unknown): boolean => isTorusError(error, "unavailable");
  await assert.rejects(chasing.fence(order, always.store), isUnclear, "not for ever, and no proof");
  assert.ok(always.told.length < 20);
});
