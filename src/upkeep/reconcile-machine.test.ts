// What is done about one block: whose say it is where it lies, who sends, who may delete.

import assert from "node:assert/strict";
import { test } from "node:test";
import type { ClusterSnapshot, HeadRecord, VolumeState } from "#metadata";
import type { BlockRef, BlockStatus, Confirmation, PeerId } from "#model";
import { createRing } from "#ring";
import type { BlockCase } from "./reconcile-machine.ts";
import { decideBlock, desiredPeers, judgeConfirmations, placesOf, standingOf } from "./reconcile-machine.ts";

const data = (epoch: number, index: number): BlockRef => ({ type: 0, volume: 1, epoch, index });
const inode = (epoch: number, index: number): BlockRef => ({ type: 1, volume: 1, epoch, index });

function snapshotOf(head: Partial<HeadRecord> | null): ClusterSnapshot {
  const volume = { head } as VolumeState;
  return {
    volumes: new Map([[1, volume]]),
    tombstones: new Map([[2, {}]]),
  } as unknown as ClusterSnapshot;
}

test("reconcile: what a log may still need stays where its logmap says", () => {
  const root = { ref: inode(5, 4), offset: 0, length: 1, checksum: 0 };
  const snapshot = snapshotOf({ epoch: 5, replayFrom: 10, root });
  const standings: [BlockRef, string][] = [
    [data(5, 9), "placed"],
    [data(5, 10), "log"],
    [data(5, 11), "log"],
    [data(4, 99), "placed"],
    [data(6, 1), "log"],
    [inode(5, 4), "placed"],
    [inode(5, 5), "log"],
    [inode(4, 77), "placed"],
    [inode(6, 1), "log"],
    [{ ...data(5, 1), type: 7 }, "log"],
    [{ ...data(1, 1), volume: 2 }, "deleted"],
    [{ ...data(1, 1), volume: 3 }, "unknown"],
  ];
  for (const [ref, expected] of standings)
    assert.equal(standingOf(ref, snapshot), expected, JSON.stringify(ref));
  assert.equal(standingOf(data(1, 1), snapshotOf(null)), "log");
  assert.equal(standingOf(inode(5, 1), snapshotOf({ epoch: 5, replayFrom: 1, root: null })), "log");
});

test("reconcile: of a union the new part says where blocks belong, the old where they may still be", () => {
  const members = (...peers: string[]) => peers.map((peer) => ({ peer, weight: 1, labels: {} }));
  const old = { version: 1, type: "mod", replicas: 1, members: members("a", "b") } as const;
  const next = { version: 2, type: "mod", replicas: 1, members: members("c") } as const;
  const union = createRing({
    version: 2,
    type: "union",
    replicas: 1,
    members: members("c", "a", "b"),
    parts: { old, new: next },
  });
  assert.deepEqual(desiredPeers(union, data(1, 1)), ["c"]);
  const [first, second] = placesOf(union, data(1, 1), desiredPeers(union, data(1, 1)));
  assert.equal(first, "c");
  assert.equal(second, createRing(old).permutation(data(1, 1))[0]);
});

function status(state: BlockStatus["state"], held = 4096, checksum = 9): BlockStatus {
  return { ref: data(1, 1), state, held, durable: held, checksum, cut: false, damaged: false };
}

function decide(answers: Record<PeerId, BlockStatus | null>, more: Partial<BlockCase> = {}) {
  return decideBlock({
    self: "b",
    own: status("sealed"),
    desired: ["a", "b", "c"],
    places: ["a", "b", "c", "d"],
    answerOf: (peer) => answers[peer] ?? null,
    isImpatient: false,
    ...more,
  });
}

test("reconcile: the first holder that answers sends what others lack", () => {
  const lacks = status("absent", 0);
  assert.deepEqual(decide({ a: status("sealed"), c: lacks }).sendTo, []);
  assert.deepEqual(decide({ a: status("sealed"), c: lacks }).lacking, ["c"]);
  assert.deepEqual(decide({ a: null, c: lacks }).sendTo, ["c"]);
  assert.deepEqual(decide({ a: lacks, c: lacks }).sendTo, ["a", "c"]);
  assert.deepEqual(decide({ a: status("sealed"), c: lacks }, { isImpatient: true }).sendTo, ["c"]);
  // Where no ring wants it: only if nobody else can.
  const stray = { self: "z", desired: ["a"], places: ["a", "d"] };
  assert.deepEqual(decide({ a: lacks, d: status("sealed") }, stray).sendTo, []);
  assert.deepEqual(decide({ a: lacks, d: null }, stray).sendTo, ["a"]);
});

test("reconcile: an open copy counts as none, and is no source [C4]", () => {
  const open = status("open", 8192, 1);
  assert.deepEqual(decide({ a: status("sealed"), c: open }).lacking, ["c"]);
  assert.deepEqual(decide({ a: open, c: status("sealed") }).sendTo, ["a"]);
  const own = decide({ a: status("sealed"), c: status("absent", 0) }, { own: open });
  assert.deepEqual([own.sendTo, own.lacking], [[], ["b", "c"]]);
});

test("reconcile: copies that differ are touched by nobody", () => {
  const decision = decide({ a: status("sealed", 4096, 8), c: status("absent", 0) });
  assert.deepEqual([decision.differing, decision.sendTo], [["a"], []]);
});

test("reconcile: a copy goes only when every desired peer confirms the same block", () => {
  const yes: Confirmation = { verdict: "confirmed", length: 4096, checksum: 9 };
  const no: Confirmation = { verdict: "lacking", length: 0, checksum: 0 };
  const judge = (own: BlockStatus, answers: Record<PeerId, Confirmation | null>) =>
    judgeConfirmations(own, ["a", "c"], (peer) => answers[peer] ?? null);
  assert.equal(judge(status("sealed"), { a: yes, c: yes }), "remove");
  assert.equal(judge(status("sealed"), { a: yes, c: no }), "stay");
  assert.equal(judge(status("sealed"), { a: yes, c: { ...no, verdict: "later" } }), "stay");
  assert.equal(judge(status("sealed"), { a: yes, c: null }), "stay");
  assert.equal(judge(status("sealed"), { a: yes, c: { ...yes, checksum: 8 } }), "differ");
  assert.equal(judge(status("sealed", 4096, 8), { a: yes, c: yes }), "differ");
  assert.equal(judge(status("open", 100, 1), { a: yes, c: yes }), "remove");
  assert.equal(
    judgeConfirmations(status("sealed"), [], () => yes),
    "stay",
  );
});
