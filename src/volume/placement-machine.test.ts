// Rows and strikes: what is planned when peers are lost, come back, or the ring changes.

import assert from "node:assert/strict";
import { test } from "node:test";
import { createRing } from "#ring";
import type { PlacementInput, UnsealedBlock } from "./placement-machine.ts";
import { PlacementMachine, trimLogmap } from "./placement-machine.ts";

const members = ["a", "b", "c", "d"].map((peer) => ({ peer, weight: 1, labels: {} }));
const ring3 = createRing({ version: 1, type: "rendezvous", replicas: 3, members: members.slice(0, 3) });
const ring4 = createRing({ version: 2, type: "rendezvous", replicas: 3, members });
const firstRow = { fromIndex: 1, ringVersion: 1, replicas: 3, without: [] };

function machine(): PlacementMachine {
  return new PlacementMachine(1, 5, firstRow);
}

function input(change: Partial<PlacementInput>): PlacementInput {
  return {
    ring: ring3,
    ringOf: (version) => (version === 1 ? ring3 : ring4),
    unsealed: [],
    nextIndex: 4,
    overdue: [],
    returned: [],
    minReplicas: 2,
    ...change,
  };
}

function open(index: number, peers: string[], unsealedBy = peers): UnsealedBlock {
  return { index, members: peers, unsealedBy };
}

test("nothing changes while all is well", () => {
  assert.deepEqual(machine().plan(input({})), { kind: "keep" });
});

test("a lost peer is struck from its first unfinished block to the next index, and left out after it", () => {
  const m = machine();
  const plan = m.plan(
    input({ overdue: ["b"], unsealed: [open(2, ["a", "b", "c"]), open(3, ["a", "b", "c"])] }),
  );
  assert.ok(plan.kind === "change");
  assert.deepEqual(plan.logmap.struck, [{ peer: "b", fromIndex: 2, toIndex: 4 }]);
  assert.deepEqual(plan.logmap.rows, [firstRow, { ...firstRow, fromIndex: 4, without: ["b"] }]);
  assert.deepEqual(m.logmap.struck, [], "nothing takes effect before it is adopted");
});

test("[C11] a strike that would leave a block fewer than its minimum is not made: its pages move to others", () => {
  const plan = machine().plan(
    input({ overdue: ["b"], unsealed: [open(2, ["a", "b"]), open(3, ["a", "b", "c"])] }),
  );
  assert.ok(plan.kind === "change");
  assert.equal(plan.move, true);
  assert.deepEqual(plan.struck, []);
  assert.deepEqual(plan.logmap.rows.at(-1)?.without, ["b"]);
});

test("[C11] where too few others live, writes stall, and it is said for whom", () => {
  const m = machine();
  m.adopt({ epoch: 5, rows: [{ ...firstRow, without: ["c"] }], struck: [] });
  const plan = m.plan(input({ overdue: ["b"], unsealed: [open(2, ["a", "b"])] }));
  assert.ok(plan.kind === "stall");
  assert.match(plan.reason, /peer b .*block 2/);
});

test("two lost at once of three stall", () => {
  const plan = machine().plan(input({ overdue: ["b", "c"], unsealed: [open(3, ["a", "b", "c"])] }));
  assert.equal(plan.kind, "stall");
});

test("with a spare peer the next block has all its copies", () => {
  const m = new PlacementMachine(1, 5, { ...firstRow, ringVersion: 2 });
  const plan = m.plan(input({ ring: ring4, overdue: ["b"], unsealed: [open(3, ["a", "b", "c"])] }));
  assert.ok(plan.kind === "change");
  m.adopt(plan.logmap);
  assert.equal(m.ensembleOf(4, () => ring4).length, 3);
  assert.ok(!m.ensembleOf(4, () => ring4).includes("b"));
});

test("a peer that is back is a new row at the next index; strikes stay", () => {
  const m = machine();
  const away = m.plan(input({ overdue: ["b"], unsealed: [open(3, ["a", "b", "c"])] }));
  assert.ok(away.kind === "change");
  m.adopt(away.logmap);
  const back = m.plan(input({ nextIndex: 7, returned: ["b"] }));
  assert.ok(back.kind === "change");
  assert.deepEqual(back.logmap.rows.at(-1), { ...firstRow, fromIndex: 7 });
  assert.deepEqual(back.logmap.struck, away.logmap.struck);
});

test("a struck peer does not count in the blocks it was struck from, whatever row covers them", () => {
  const m = machine();
  m.adopt({
    epoch: 5,
    rows: [firstRow, { ...firstRow, fromIndex: 3, ringVersion: 2 }],
    struck: [{ peer: "b", fromIndex: 2, toIndex: 4 }],
  });
  for (const index of [2, 3])
    assert.ok(!m.ensembleOf(index, (version) => (version === 1 ? ring3 : ring4)).includes("b"));
  assert.ok(m.ensembleOf(1, () => ring3).includes("b"));
});

test("a new ring is a new row; a row under which no block was opened is replaced", () => {
  const m = machine();
  const plan = m.plan(input({ ring: ring4 }));
  assert.ok(plan.kind === "change");
  m.adopt(plan.logmap);
  const again = m.plan(input({ ring: ring4, overdue: [], returned: [], nextIndex: 4 }));
  assert.equal(again.kind, "keep");
  const less = m.plan(
    input({
      ring: createRing({ ...ring4.toDescription(), version: 3, replicas: 2 }),
      ringOf: () => ring4,
      nextIndex: 4,
    }),
  );
  assert.ok(less.kind === "change");
  assert.equal(less.logmap.rows.length, 2);
});

test("a head needs the row in force where it replays from, and strikes that reach beyond", () => {
  const rows = [firstRow, { ...firstRow, fromIndex: 5 }, { ...firstRow, fromIndex: 9 }];
  const struck = [
    { peer: "b", fromIndex: 2, toIndex: 5 },
    { peer: "b", fromIndex: 6, toIndex: 9 },
  ];
  const trimmed = trimLogmap({ epoch: 5, rows, struck }, 7);
  assert.deepEqual(
    trimmed.rows.map((row) => row.fromIndex),
    [5, 9],
  );
  assert.deepEqual(trimmed.struck, [struck[1]]);
});
