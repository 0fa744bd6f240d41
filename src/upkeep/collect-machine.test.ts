// What is dead, what never is, and every race of docs/counterexamples.md [C6] as an order of events.

import assert from "node:assert/strict";
import { it } from "node:test";
import type { ClusterSnapshot } from "#metadata";
import { blockRefKey } from "#model";
import type { CollectVerdict } from "./collect-machine.ts";
import { CollectMachine } from "./collect-machine.ts";
import type { SnapshotSketch } from "./snapshot.fixture.ts";
import { refOf, sketchSnapshot, statusOf } from "./snapshot.fixture.ts";

const graceMs = 1000;

interface PassSketch {
  readonly atMs: number;
  readonly here: readonly string[];
  readonly metadata: SnapshotSketch;
  readonly needed?: readonly string[];
}

function run(machine: CollectMachine, { atMs, here, metadata, needed = [] }: PassSketch): CollectVerdict {
  const pass = machine.begin(atMs);
  pass.listed(here.map((key) => statusOf(key)));
  pass.read(sketchSnapshot(metadata));
  for (const key of needed) pass.need(refOf(key));
  return machine.finish(pass, atMs);
}

/** The blocks that go when nothing changes for the grace period. */
function dead(sketch: Omit<PassSketch, "atMs">): string[] {
  const machine = new CollectMachine({ graceMs });
  assert.deepEqual(run(machine, { ...sketch, atMs: 0 }).due, []);
  return run(machine, { ...sketch, atMs: graceMs }).due.map(blockRefKey);
}

const head = { epoch: 3, replayFrom: 5, root: { index: 4 } };

it("dead blocks: of an epoch before head's: what no INode needs", () => {
  const here = ["7.2.0.1", "7.2.0.2", "7.2.1.1", "7.2.1.2"];
  const needed = ["7.2.0.2", "7.2.1.1"];
  assert.deepEqual(dead({ here, needed, metadata: { volumes: { 7: head } } }), ["7.2.0.1", "7.2.1.2"]);
});

it("dead blocks: of head's epoch: what lies before the replay position, or before head's root, and no INode needs", () => {
  const here = ["7.3.0.3", "7.3.0.4", "7.3.0.5", "7.3.0.6", "7.3.1.2", "7.3.1.3", "7.3.1.4", "7.3.1.5"];
  const needed = ["7.3.0.3", "7.3.1.2", "7.3.1.4"];
  assert.deepEqual(dead({ here, needed, metadata: { volumes: { 7: head } } }), ["7.3.0.4", "7.3.1.3"]);
});

it("dead blocks: INode blocks above head's root never: they are of a checkpoint under way, or shared by the next", () => {
  assert.deepEqual(dead({ here: ["7.3.1.5", "7.3.1.6"], metadata: { volumes: { 7: head } } }), []);
});

it("blocks that no rule frees: with a root of another epoch or volume (a restore, a clone), no INode block of head's epoch is dead", () => {
  const volumes = { 7: { ...head, root: { epoch: 2, index: 9 } }, 8: { ...head, root: { volume: 7 } } };
  assert.deepEqual(dead({ here: ["7.3.1.1", "8.3.1.1"], metadata: { volumes } }), []);
  const empty = { 7: { ...head, root: null } };
  assert.deepEqual(dead({ here: ["7.3.1.1"], metadata: { volumes: empty } }), []);
});

it("blocks that no rule frees: of an epoch after head's never: its writer has committed nothing yet", () => {
  assert.deepEqual(dead({ here: ["7.4.0.1", "7.4.1.1", "7.9.0.1"], metadata: { volumes: { 7: head } } }), []);
});

it("blocks that no rule frees: of a volume without a head never", () => {
  assert.deepEqual(dead({ here: ["7.1.0.1", "7.1.1.1"], metadata: { volumes: { 7: null } } }), []);
});

it("blocks that no rule frees: of a deleted volume all, but for what INodes of others need", () => {
  const metadata = { tombstones: { 7: 4 } };
  const here = ["7.3.0.1", "7.3.0.2", "7.3.1.1"];
  assert.deepEqual(dead({ here, needed: ["7.3.0.2"], metadata }), ["7.3.0.1", "7.3.1.1"]);
});

it("blocks that no rule frees: of a deleted volume none above the epoch of its tombstone: that is another history", () => {
  const machine = new CollectMachine({ graceMs });
  const verdict = run(machine, { atMs: 0, here: ["7.5.0.1"], metadata: { tombstones: { 7: 4 } } });
  assert.deepEqual(verdict.unknown, [7]);
  assert.deepEqual(dead({ here: ["7.5.0.1"], metadata: { tombstones: { 7: 4 } } }), []);
});

it("blocks that no rule frees: of a volume neither known nor deleted never: an alarm [C7]", () => {
  const machine = new CollectMachine({ graceMs });
  const metadata = { volumes: { 7: head } };
  for (const atMs of [0, graceMs, 100 * graceMs]) {
    const verdict = run(machine, { atMs, here: ["7.2.0.1", "8.1.0.1", "8.1.0.2", "9.1.1.1"], metadata });
    assert.deepEqual(verdict.unknown, [8, 9]);
    assert.ok(verdict.due.every(({ volume }) => volume === 7));
  }
});

it("blocks that no rule frees: of a type this Torus does not know never", () => {
  assert.deepEqual(dead({ here: ["7.2.5.1", "8.2.5.1"], metadata: { volumes: { 7: head } } }), []);
  assert.deepEqual(dead({ here: ["8.2.5.1"], metadata: { tombstones: { 8: 3 } } }), []);
});

it("blocks that no rule frees: of one volume are needed if an INode of any volume names them", () => {
  const metadata = { volumes: { 7: head, 8: { epoch: 1, replayFrom: 1, root: { index: 1 } } } };
  assert.deepEqual(dead({ here: ["7.2.0.1"], needed: ["8.1.1.1", "7.2.0.1"], metadata }), []);
});

const here = ["7.2.0.1"];
const metadata = { volumes: { 7: head } };

it("grace: a block goes in the first pass that begins the grace period after it was found dead", () => {
  const machine = new CollectMachine({ graceMs });
  const pass = machine.begin(0);
  pass.listed(here.map((key) => statusOf(key)));
  pass.read(sketchSnapshot(metadata));
  // The walk took long: what counts is when it was over.
  machine.finish(pass, 500);
  assert.deepEqual(run(machine, { atMs: 1499, here, metadata }).due, []);
  assert.deepEqual(run(machine, { atMs: 1500, here, metadata }).due.map(blockRefKey), here);
});

it("grace: a block that was needed in between starts again", () => {
  const machine = new CollectMachine({ graceMs });
  run(machine, { atMs: 0, here, metadata });
  run(machine, { atMs: 900, here, metadata, needed: here });
  assert.deepEqual(run(machine, { atMs: 1100, here, metadata }).due, []);
  assert.deepEqual(run(machine, { atMs: 2100, here, metadata }).due.map(blockRefKey), here);
});

it("grace: a pass that was not finished counts for nothing", () => {
  const machine = new CollectMachine({ graceMs });
  const failed = machine.begin(0);
  failed.listed(here.map((key) => statusOf(key)));
  failed.read(sketchSnapshot(metadata));
  assert.deepEqual(run(machine, { atMs: 1000, here, metadata }).due, []);
});

it("races [C6]: (a) a clone is made and its snapshot deleted while a pass reads: all INodes are of one revision", () => {
  // Whatever the revision, either the snapshot or the clone names the block; there is no reading one list before the other.
  const before = { volumes: { 7: head } };
  const after = { volumes: { 7: head, 8: { epoch: 1, replayFrom: 1, root: { volume: 7, epoch: 2 } } } };
  for (const metadata of [before, after])
    assert.deepEqual(dead({ here: ["7.2.0.1"], needed: ["7.2.0.1"], metadata }), []);
});

it("races [C6]: (b) a volume is created and writes after the own blocks were listed: it is not in the list", () => {
  const machine = new CollectMachine({ graceMs });
  const pass = machine.begin(0);
  pass.listed([statusOf("7.2.0.1")]);
  // 9.1.0.1 comes now; then the metadata is read.
  pass.read(sketchSnapshot({ volumes: { 7: head, 9: null } }));
  pass.need(refOf("9.1.0.1"));
  const verdict = machine.finish(pass, 0);
  assert.deepEqual(verdict.unknown, []);
  assert.equal(verdict.use.reclaimableBlocks, 1);
});

it("races [C6]: (b) the order cannot be turned around: blocks are not listed once the metadata was read", () => {
  const pass = new CollectMachine({ graceMs }).begin(0);
  pass.read(sketchSnapshot({}));
  assert.throws(() => pass.listed([statusOf("9.1.0.1")]), /before the metadata is read/);
});

it("races [C6]: (b) a pass cannot end without metadata, and not take it twice", () => {
  const machine = new CollectMachine({ graceMs });
  const pass = machine.begin(0);
  assert.throws(() => machine.finish(pass, 0), /judged by metadata/);
  pass.read(sketchSnapshot({}));
  assert.throws(() => pass.read(sketchSnapshot({})), /read once/);
});

it("races [C6]: (c) head moves from I5 to I6 while a snapshot of I5 is asked for: it commits and is needed, or it does not", () => {
  // The transaction that adds the snapshot compares that head still names I5. So at every revision after I6 either the snapshot
  // is among the roots, or nobody will ever name I5 again.
  const machine = new CollectMachine({ graceMs });
  const here = ["7.3.0.4", "7.3.1.3", "7.3.1.4"];
  const withSnapshot = {
    here,
    needed: ["7.3.0.4", "7.3.1.3", "7.3.1.4"],
    metadata: { volumes: { 7: head } },
  };
  assert.deepEqual(run(machine, { ...withSnapshot, atMs: 0 }).due, []);
  assert.deepEqual(run(machine, { ...withSnapshot, atMs: graceMs }).due, []);
});

it("races [C6]: a block comes again under its old name after it was removed (repair): it is judged anew", () => {
  const machine = new CollectMachine({ graceMs });
  const metadata = { volumes: { 7: head } };
  run(machine, { atMs: 0, here: ["7.2.0.1"], metadata });
  run(machine, { atMs: 1000, here: ["7.2.0.1"], metadata });
  run(machine, { atMs: 2000, here: [], metadata });
  assert.deepEqual(run(machine, { atMs: 3000, here: ["7.2.0.1"], metadata }).due, []);
});

it("races [C6]: a volume is deleted between list and read: its blocks are dead, after grace", () => {
  const machine = new CollectMachine({ graceMs });
  const here = ["7.3.0.9"];
  run(machine, { atMs: 0, here, metadata: { volumes: { 7: head } } });
  assert.deepEqual(run(machine, { atMs: 1000, here, metadata: { tombstones: { 7: 4 } } }).due, []);
  assert.deepEqual(run(machine, { atMs: 2000, here, metadata: { tombstones: { 7: 4 } } }).due.length, 1);
});

it("races [C6]: an attach commits while a pass reads: blocks of the old tail go only by the new head", () => {
  const tail = ["7.3.0.5", "7.3.0.6"];
  assert.deepEqual(dead({ here: tail, metadata: { volumes: { 7: head } } }), []);
  const next = { 7: { epoch: 4, replayFrom: 1, root: { index: 1 } } };
  assert.deepEqual(dead({ here: tail, needed: ["7.3.0.5"], metadata: { volumes: next } }), ["7.3.0.6"]);
});

const tombstones = { 7: 4 };

it("tombstones: count as here while a block is, and for the grace period after they were first seen", () => {
  const machine = new CollectMachine({ graceMs });
  const buried = (atMs: number, here: readonly string[]): readonly number[] =>
    run(machine, { atMs, here, metadata: { tombstones } }).buriedHere;
  // A copy may be under way from a peer that has not heard of the deletion.
  assert.deepEqual(buried(0, []), [7]);
  assert.deepEqual(buried(999, []), [7]);
  assert.deepEqual(buried(1000, ["7.3.0.1"]), [7]);
  assert.deepEqual(buried(2000, []), []);
});

it("accounting: every byte is needed, kept or reclaimable", () => {
  const machine = new CollectMachine({ graceMs });
  const pass = machine.begin(0);
  const metadata: ClusterSnapshot = sketchSnapshot({ volumes: { 7: head } });
  pass.listed([statusOf("7.2.0.1", 100), statusOf("7.2.0.2", 20), statusOf("7.3.0.7", 3, "open")]);
  pass.read(metadata);
  pass.need(refOf("7.2.0.1"));
  assert.deepEqual(machine.finish(pass, 0).use, {
    neededBytes: 100,
    keptBytes: 3,
    reclaimableBytes: 20,
    reclaimableBlocks: 1,
  });
});
