// Recovery does not guess: what ends a log, and what it waits for.

import assert from "node:assert/strict";
import { test } from "node:test";
import type { Boot, HeadRecord, LogMapRecord } from "#metadata";
import type { BlockStatus, FenceReport, PeerId } from "#model";
import { blockType, isTorusError } from "#model";
import { createRing, ensemble } from "#ring";
import {
  durableFloor,
  isVouched,
  isWhole,
  mayEnd,
  mayGoOn,
  planRecovery,
  requireEnd,
  requireLost,
} from "./recovery-machine.ts";

const members = ["a", "b", "c", "d", "e", "f"].map((peer) => ({ peer, weight: 1, labels: {} }));
const ring = createRing({ version: 1, type: "rendezvous", replicas: 3, members });
const ringOf = () => ring;
const head: HeadRecord = {
  epoch: 3,
  root: null,
  ringVersion: 1,
  replayFrom: 5,
  sequence: 9,
  previous: 1,
  positionIndex: 5,
  positionOffset: 0,
  usedBytes: 0,
  logBytes: 0,
  ended: false,
  timeMs: 0,
  device: null,
};
const minReplicas = 2;
const row = { fromIndex: 1, ringVersion: 1, replicas: 3, without: [] };
const logmap: LogMapRecord = { epoch: 3, rows: [row], struck: [] };

function ref(index: number) {
  return { type: blockType.data, volume: 1, epoch: 3, index };
}

function membersOf(index: number, map = logmap): PeerId[] {
  return ensemble(index, ref(index), map, ringOf);
}

function status(index: number, change: Partial<BlockStatus> = {}): BlockStatus {
  return {
    ref: ref(index),
    state: "open",
    held: 8192,
    durable: 8192,
    checksum: 5,
    cut: false,
    damaged: false,
    ...change,
  };
}

function report(blocks: BlockStatus[], durable = { index: 0, offset: 0 }): FenceReport {
  return { epoch: 4, blocks, durableIndex: durable.index, durableOffset: durable.offset, cutEpoch: 0 };
}

/** Every peer answers with the blocks among `held` it is a member of. */
function everyone(held: number[], map = logmap): Map<PeerId, FenceReport> {
  return new Map(
    members.map(({ peer }) => [
      peer,
      report(held.filter((index) => membersOf(index, map).includes(peer)).map((index) => status(index))),
    ]),
  );
}

function waitingFor(run: () => unknown): readonly string[] {
  try {
    run();
  } catch (error) {
    if (isTorusError(error, "incomplete")) return error.details["waitingFor"] as readonly string[];
    throw error;
  }
  return assert.fail("recovery went on");
}

test("the log ends where all members that answered hold nothing", () => {
  const { blocks } = planRecovery({
    volume: 1,
    head,
    logmap,
    ringOf,
    reports: everyone([5, 6]),
    everyone: null,
    minReplicas,
  });
  assert.deepEqual(
    blocks.map((block) => block.ref.index),
    [5, 6],
  );
});

test("[C1] the block after the last must have an answer too: silence is not the end of the log", () => {
  // Blocks 5 and 6 have answers; of the next block's members nobody does.
  const next = membersOf(7);
  const reports = everyone([5, 6]);
  for (const peer of next) reports.delete(peer);
  if ([5, 6].every((index) => membersOf(index).some((peer) => reports.has(peer)))) {
    assert.deepEqual(
      [
        ...waitingFor(() =>
          planRecovery({ volume: 1, head, logmap, ringOf, reports, everyone: null, minReplicas }),
        ),
      ].sort(),
      [...next].sort(),
    );
  } else {
    waitingFor(() => planRecovery({ volume: 1, head, logmap, ringOf, reports, everyone: null, minReplicas }));
  }
});

test("one member that answers is enough, and its word is taken", () => {
  const only = membersOf(5)[0];
  const reports = everyone([5]);
  for (const index of [5, 6])
    for (const peer of membersOf(index)) if (peer !== only && peer !== membersOf(6)[0]) reports.delete(peer);
  reports.set(only, report([status(5)]));
  const { blocks } = planRecovery({ volume: 1, head, logmap, ringOf, reports, everyone: null, minReplicas });
  assert.deepEqual(
    blocks[0].holders.map(({ peer }) => peer),
    [only],
  );
  assert.equal(blocks[0].sealed, null, "the silent members may have it otherwise");
});

test("[C10] a peer struck from a block is not asked about it", () => {
  const struck = membersOf(5)[0];
  const map = { ...logmap, struck: [{ peer: struck, fromIndex: 5, toIndex: 6 }] };
  const reports = everyone([5], map);
  reports.set(struck, report([status(5, { held: 4096 })]));
  const [block] = planRecovery({
    volume: 1,
    head,
    logmap: map,
    ringOf,
    reports,
    everyone: null,
    minReplicas,
  }).blocks;
  assert.ok(!block.members.includes(struck));
  assert.ok(block.holders.every(({ peer }) => peer !== struck));
});

test("only what every member has sealed and durable, alike, stays where it is", () => {
  const seal = (index: number): Map<PeerId, FenceReport> =>
    new Map(
      members.map(({ peer }) => [
        peer,
        report(membersOf(index).includes(peer) ? [status(index, { state: "sealed" })] : []),
      ]),
    );
  const reports = seal(5);
  assert.deepEqual(
    planRecovery({ volume: 1, head, logmap, ringOf, reports, everyone: null, minReplicas }).blocks[0].sealed,
    {
      length: 8192,
      checksum: 5,
    },
  );
  for (const change of [
    { state: "open" },
    { checksum: 6 },
    { durable: 4096 },
    { held: 4096 },
  ] as Partial<BlockStatus>[]) {
    const other = seal(5);
    other.set(membersOf(5)[2], report([status(5, { state: "sealed", ...change })]));
    assert.equal(
      planRecovery({ volume: 1, head, logmap, ringOf, reports: other, everyone: null, minReplicas }).blocks[0]
        .sealed,
      null,
      JSON.stringify(change),
    );
  }
});

test("[C13] an end below a position that was durable is not served", () => {
  const floor = durableFloor([report([], { index: 6, offset: 4096 }), report([])], { index: 5, offset: 0 });
  assert.deepEqual(floor, { index: 6, offset: 4096 });
  assert.deepEqual([...waitingFor(() => requireEnd({ index: 6, offset: 0 }, floor, ["x"]))], ["x"]);
  assert.throws(
    () => requireEnd({ index: 6, offset: 0 }, floor, []),
    (error) => isTorusError(error, "corrupt"),
  );
  requireEnd({ index: 6, offset: 4096 }, floor, ["x"]);
  requireEnd({ index: 7, offset: 0 }, floor, ["x"]);
});

test("[C7] where the logmap is from before an adoption, everyone must answer, and anyone may hold a block", () => {
  const all = members.map(({ peer }) => peer);
  const stranger = all.find((peer) => !membersOf(5).includes(peer)) as PeerId;
  const reports = new Map(all.map((peer) => [peer, report(peer === stranger ? [status(5)] : [])]));
  const input = { volume: 1, head, logmap, ringOf, reports, minReplicas };
  assert.deepEqual(planRecovery({ ...input, everyone: null }).blocks, []);
  const [block] = planRecovery({ ...input, everyone: all }).blocks;
  assert.deepEqual(
    block.holders.map(({ peer }) => peer),
    [stranger],
  );
  const fewer = new Map([...reports].slice(1));
  assert.deepEqual(
    [...waitingFor(() => planRecovery({ ...input, reports: fewer, everyone: all }))],
    [all[0]],
  );
  planRecovery({ ...input, reports: fewer, everyone: all.slice(1) });
});

test("[C7] there what is sealed says how long a block is, whatever a peer that was struck has", () => {
  const [a, b, c] = members.map(({ peer }) => peer);
  const reports = new Map([
    [a, report([status(5, { held: 12_288 })])],
    [b, report([status(5, { state: "sealed" })])],
    [c, report([status(5, { held: 4096 })])],
  ]);
  const [block] = planRecovery({
    volume: 1,
    head,
    logmap,
    ringOf,
    reports,
    everyone: [a, b, c],
    minReplicas,
  }).blocks;
  assert.deepEqual(
    block.holders.map(({ peer }) => peer),
    [b],
  );
});

test("[C7] there what is missing before other records is served only if its writer certainly lost it", () => {
  const [a, b, c] = members.map(({ peer }) => peer);
  const log = { volume: 1, head, logmap, ringOf, minReplicas };
  const plan = (blocks: readonly BlockStatus[][], trusted = false) => {
    const reports = new Map([a, b, c].map((peer, i) => [peer, report(blocks[i] ?? [])]));
    const input = { ...log, reports, everyone: trusted ? null : [a, b, c] };
    return { input, plan: planRecovery(input) };
  };
  const isCorrupt = (error: unknown) => isTorusError(error, "corrupt");
  assert.equal(plan([[status(5)]]).plan.blocks.length, 1, "nothing comes after it");
  assert.throws(() => plan([[status(5)], [status(7)]]), isCorrupt);

  const take = (...copies: BlockStatus[]) => {
    const taken = plan(copies.map((copy) => [copy]));
    requireLost(taken.plan.blocks.at(-1), taken.input);
  };
  take(status(5), status(5, { held: 4096 }));
  assert.throws(() => take(status(5)), isCorrupt, "it may be the copy of a peer that was struck");
  assert.throws(() => take(), isCorrupt);
  assert.throws(() => take(status(5, { state: "sealed" }), status(5)), isCorrupt, "it had more to say");
  const trusted = plan([[status(5)]], true);
  requireLost(trusted.plan.blocks.at(-1), trusted.input);
});

/** Blocks 5 and 6 with everyone; those `cut` restarted since epoch 3 began. */
function planWith(cut: readonly PeerId[], change: (reports: Map<PeerId, FenceReport>) => void = () => {}) {
  const reports = everyone([5, 6]);
  for (const [peer, known] of reports) reports.set(peer, { ...known, cutEpoch: cut.includes(peer) ? 3 : 2 });
  change(reports);
  return planRecovery({ volume: 1, head, logmap, ringOf, reports, everyone: null, minReplicas });
}

/** What `peer` says of block 5. */
function says(peer: PeerId, cutEpoch: number, blocks: BlockStatus[]) {
  return (reports: Map<PeerId, FenceReport>) => void reports.set(peer, { ...report(blocks), cutEpoch });
}

test("[C2] a recovery is whole when of every block, and of the end, a member answered that did not restart", () => {
  assert.ok(isVouched(planWith([])));
  assert.ok(isWhole(planWith([]), [8192, 8192], false));
  for (const index of [5, 6, 7]) {
    const [first, ...others] = membersOf(index);
    assert.ok(isWhole(planWith(others), [8192, 8192], false), `one speaks for block ${index}`);
    assert.ok(!isVouched(planWith([first, ...others])));
    assert.ok(!isWhole(planWith([first, ...others]), [8192, 8192], false), `nobody does for block ${index}`);
  }
});

test("[C2] a restart in an older epoch cost nothing of this log, one in a later epoch may have", () => {
  for (const [cutEpoch, whole] of [
    [0, true],
    [2, true],
    [3, false],
    [4, false],
  ] as const) {
    const reports = everyone([5]);
    for (const [peer, known] of reports) reports.set(peer, { ...known, cutEpoch });
    assert.equal(
      isWhole(
        planRecovery({ volume: 1, head, logmap, ringOf, reports, everyone: null, minReplicas }),
        [8192],
        false,
      ),
      whole,
    );
  }
});

test("[C2] silent members do not vouch, and those that are no members neither", () => {
  const [speaker] = membersOf(5);
  const others = membersOf(5).slice(1);
  assert.ok(!isVouched(planWith(others, (reports) => void reports.delete(speaker))));
  assert.ok(!isVouched(planWith(membersOf(5))), "the three others of the ring have nothing to say of it");
});

test("[C2] what a member that did not restart holds must have been replayed; more was never answered", () => {
  const [speaker] = membersOf(5);
  const others = membersOf(5).slice(1);
  const plan = planWith(others, says(speaker, 2, [status(5, { held: 4096, durable: 0 })]));
  assert.equal(plan.blocks[0].vouched, 4096);
  assert.equal(planWith(others, says(speaker, 2, [])).blocks[0].vouched, 0);
  assert.ok(!isWhole(planWith([]), [4096, 8192], false), "a copy failed as it was read");
  assert.ok(!isWhole(planWith([]), [8192], false), "so did all copies of the last block");
});

test("[C2] a sealed copy has all of its block, whoever restarted", () => {
  const members = membersOf(5);
  const [one] = members;
  const plan = planWith(members, says(one, 3, [status(5, { state: "sealed" })]));
  assert.equal(plan.blocks[0].vouched, 8192);
});

test("[C2] nothing was answered behind records that no member had", () => {
  assert.ok(isWhole(planWith([]), [8192], true));
  assert.ok(!isWhole(planWith([]), [4096], true), "what comes before must still be all there");
});

test("[C2] who may go on", () => {
  const clients = (boot: Boot | null) => ({ epoch: 3, holder: "h", boot });
  const here: Boot = { machine: "m", id: "1" };
  const input = { acknowledge: "replicated", before: clients(null), here, isLogWhole: true } as const;
  assert.ok(mayGoOn(input));
  assert.ok(!mayGoOn({ ...input, isLogWhole: false }));
  assert.ok(!mayGoOn({ ...input, acknowledge: "writeback" }));
  const lossy = { ...input, acknowledge: "writeback", isLogWhole: false } as const;
  assert.ok(mayGoOn({ ...lossy, before: null }), "nobody is left who could");
  assert.ok(
    mayGoOn({ ...lossy, before: clients({ machine: "m", id: "0" }) }),
    "all ended with their machine",
  );
  assert.ok(!mayGoOn({ ...lossy, before: clients({ machine: "m", id: "1" }) }));
  assert.ok(!mayGoOn({ ...lossy, before: clients({ machine: "n", id: "0" }) }));
  assert.ok(!mayGoOn({ ...lossy, before: clients({ machine: "m", id: "0" }), here: null }));
});

test("[C13] a log ends before rotten bytes only where a member says that it never had more", () => {
  const [one, two, three] = membersOf(5);
  const answers = (held: Record<PeerId, Partial<BlockStatus>>) =>
    planRecovery({
      volume: 1,
      head,
      logmap,
      ringOf,
      everyone: null,
      minReplicas,
      reports: new Map(
        members
          .filter(({ peer }) => !membersOf(5).includes(peer) || peer in held)
          .map(({ peer }) => [peer, report(peer in held ? [status(5, held[peer])] : [])]),
      ),
    }).blocks[0];
  assert.equal(mayEnd(answers({ [one]: {} }), 4096), false, "the others may have more");
  assert.equal(mayEnd(answers({ [one]: {}, [two]: { held: 4096 } }), 4096), true);
  assert.equal(mayEnd(answers({ [one]: {}, [two]: { held: 0 } }), 4096), true);
  assert.equal(mayEnd(answers({ [one]: {}, [two]: { held: 4096, damaged: true } }), 4096), false);
  assert.equal(
    mayEnd(answers({ [one]: {}, [two]: { held: 4096, damaged: true }, [three]: {} }), 4096),
    true,
    "nobody is left to ask",
  );
  assert.equal(mayEnd(answers({ [one]: {}, [two]: {}, [three]: {} }), 4096), false, "all had more");
});
