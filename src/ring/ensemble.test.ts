// The ensemble rules of docs/design.md §5, and the sequences of docs/counterexamples.md C10 in which a wrong answer
// lost data.

import assert from "node:assert/strict";
import { test } from "node:test";
import { addMembers, makeUnion } from "./changes.ts";
import { createRing } from "./create-ring.ts";
import { ensemble, isStruck } from "./ensemble.ts";
import type { Ring, RingDescription } from "./ring.ts";

const v1: RingDescription = {
  version: 1,
  type: "rendezvous",
  replicas: 2,
  members: ["a", "b", "c", "d"].map((peer) => ({ peer, weight: 1, labels: {} })),
};
const joined = addMembers(v1, [{ peer: "e", weight: 1, labels: {} }]);
const v2 = makeUnion(v1, joined);
const rings = new Map<number, Ring>([
  [1, createRing(v1)],
  [2, createRing(v2)],
]);
const ringOf = (version: number): Ring => rings.get(version)!;
const refOf = (index: number) => ({ type: 0, volume: 7, epoch: 3, index });
const of = (
  index: number,
  rows: Parameters<typeof ensemble>[2]["rows"],
  struck: Parameters<typeof ensemble>[2]["struck"] = [],
) => ensemble(index, refOf(index), { rows, struck }, ringOf);

test("the first replicas of the row's ring, whatever the ring's own number of replicas", () => {
  const order = ringOf(1).permutation(refOf(5));
  assert.deepEqual(of(5, [{ fromIndex: 1, ringVersion: 1, replicas: 2, without: [] }]), order.slice(0, 2));
  assert.deepEqual(of(5, [{ fromIndex: 1, ringVersion: 1, replicas: 3, without: [] }]), order.slice(0, 3));
});

test("a later row does not change the blocks before it", () => {
  const first = { fromIndex: 1, ringVersion: 1, replicas: 2, without: [] };
  const rows = [first, { fromIndex: 6, ringVersion: 1, replicas: 3, without: [] }];
  assert.deepEqual(of(5, rows), of(5, [first]));
  assert.equal(of(6, rows).length, 3);
});

test("peers left out are passed over, and the next takes the place", () => {
  const order = ringOf(1).permutation(refOf(5));
  const without = [order[0]];
  assert.deepEqual(of(5, [{ fromIndex: 1, ringVersion: 1, replicas: 2, without }]), order.slice(1, 3));
});

test("a strike takes a peer from its blocks under whatever row, without a replacement", () => {
  const rows = [
    { fromIndex: 1, ringVersion: 1, replicas: 2, without: [] },
    { fromIndex: 10, ringVersion: 2, replicas: 2, without: [] },
  ];
  for (const index of [9, 10, 13]) {
    const [peer, other] = of(index, rows);
    const struck = [{ peer, fromIndex: 9, toIndex: 14 }];
    assert.deepEqual(of(index, rows, struck), [other]);
  }
  const [peer] = of(14, rows);
  assert.ok(of(14, rows, [{ peer, fromIndex: 9, toIndex: 14 }]).includes(peer), "toIndex is exclusive");
  assert.ok(isStruck("a", 9, [{ peer: "a", fromIndex: 9, toIndex: 10 }]));
  assert.ok(!isStruck("a", 8, [{ peer: "a", fromIndex: 9, toIndex: 10 }]));
});

test("of a union only the new part counts, even when it has too few", () => {
  const next = ringOf(2).parts!.new;
  assert.deepEqual(
    of(3, [{ fromIndex: 1, ringVersion: 2, replicas: 3, without: [] }]),
    next.permutation(refOf(3)).slice(0, 3),
  );
  const shrunk = createRing(makeUnion(v1, { ...v1, version: 2, members: v1.members.slice(0, 1) }));
  const rows = [{ fromIndex: 1, ringVersion: 9, replicas: 3, without: [] }];
  assert.deepEqual(
    ensemble(3, refOf(3), { rows, struck: [] }, () => shrunk),
    ["a"],
  );
});

test("a block no row covers is not guessed at", () => {
  assert.throws(() => of(2, [{ fromIndex: 3, ringVersion: 1, replicas: 2, without: [] }]), {
    code: "corrupt",
  });
  assert.throws(() => of(2, []), { code: "corrupt" });
});
