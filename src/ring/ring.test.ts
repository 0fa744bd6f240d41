// Every kind of ring runs the suite; then what is particular to each: balance, weights, movement, domains, order.

import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { blockRefBytes, crc32, encodeBlockRef } from "#model";
import { addMembers, makeUnion, removeMembers, setReplicas } from "./changes.ts";
import { createRing } from "./create-ring.ts";
import { movement, sampleRefs } from "./movement.ts";
import type { Ring, RingDescription, RingMember, RingType } from "./ring.ts";
import { anyMembers, anyRef, ringSuite } from "./ring-suite.ts";

const describe =
  (type: RingType) =>
  (members: RingMember[], replicas: number): RingDescription => ({ version: 1, type, replicas, members });

ringSuite({ name: "empty", membersMin: 0, membersMax: 0, describe: describe("empty") });
ringSuite({ name: "single", membersMin: 1, membersMax: 1, describe: describe("single") });
ringSuite({ name: "mod", membersMin: 0, membersMax: 20, describe: describe("mod") });
ringSuite({ name: "ketama", membersMin: 0, membersMax: 12, describe: describe("ketama") });
ringSuite({ name: "rendezvous", membersMin: 0, membersMax: 70, describe: describe("rendezvous") });
ringSuite({
  name: "union",
  membersMin: 1,
  membersMax: 10,
  describe: (members, replicas) => {
    // Parts are split by id, so that the order of `members` does not matter.
    const sorted = [...members].sort((a, b) => (a.peer < b.peer ? -1 : 1));
    const old = describe("mod")(sorted.slice(0, Math.ceil(sorted.length / 2)), 2);
    return makeUnion(old, {
      ...describe("rendezvous")(sorted.slice(Math.floor(sorted.length / 2)), replicas),
      version: 2,
    });
  },
});

const equalMembers = (count: number, labels = (_: number) => ({})): RingMember[] =>
  Array.from({ length: count }, (_, i) => ({ peer: `peer-${i}`, weight: 2 ** 34, labels: labels(i) }));

/** How many of the first `replicas` places of `refs` blocks each peer has. */
function holdings(ring: Ring, blocks: number, replicas = ring.replicas): Map<string, number> {
  const counts = new Map(ring.members.map(({ peer }) => [peer, 0]));
  for (const ref of sampleRefs(blocks)) {
    for (const peer of ring.permutation(ref).slice(0, replicas)) counts.set(peer, counts.get(peer)! + 1);
  }
  return counts;
}

function maxOverMean(counts: Map<string, number>): number {
  const values = [...counts.values()];
  return (Math.max(...values) * values.length) / values.reduce((sum, value) => sum + value, 0);
}

test("rendezvous: ten equal peers hold within 5 % of the mean, as first peer and as replica", () => {
  const ring = createRing(describe("rendezvous")(equalMembers(10), 3));
  const counts = holdings(ring, 60_000);
  assert.ok(maxOverMean(counts) <= 1.05, `max/mean ${maxOverMean(counts)}`);
  const first = maxOverMean(holdings(ring, 60_000, 1));
  assert.ok(first <= 1.05, `max/mean of first peers ${first}`);
});

test("ketama and mod: ten equal peers hold within 12 % and 5 % of the mean", () => {
  const ketama = maxOverMean(holdings(createRing(describe("ketama")(equalMembers(10), 1)), 60_000));
  assert.ok(ketama <= 1.12, `max/mean ${ketama}`);
  const mod = maxOverMean(holdings(createRing(describe("mod")(equalMembers(10), 1)), 60_000));
  assert.ok(mod <= 1.05, `max/mean ${mod}`);
});

test("rendezvous: shares of first places follow the weights", () => {
  const members = [1, 2, 3, 4].map((weight, i) => ({ peer: `p${i}`, weight, labels: {} }));
  const counts = holdings(createRing(describe("rendezvous")(members, 1)), 60_000);
  for (const { peer, weight } of members) {
    const expected = (60_000 * weight) / 10;
    assert.ok(
      Math.abs(counts.get(peer)! / expected - 1) < 0.04,
      `${peer}: ${counts.get(peer)} of ${expected}`,
    );
  }
});

for (const type of ["rendezvous", "ketama"] as const) {
  test(`${type}: an eleventh peer takes its share and nothing else moves`, () => {
    const before = describe(type)(equalMembers(10), 3);
    const after = addMembers(before, [{ peer: "new", weight: 2 ** 34, labels: {} }]);
    const moved = movement(createRing(before), createRing(after), sampleRefs(20_000));
    const ideal = 1 / 11;
    assert.ok(
      Math.abs(moved.share - ideal) < (type === "rendezvous" ? 0.02 * ideal : 0.2 * ideal),
      `${moved.share}`,
    );
    for (const { peer, in: gain } of moved.peers) if (peer !== "new") assert.equal(gain, 0, peer);
  });
}

test("rendezvous: removing a peer moves only what it held", () => {
  const before = describe("rendezvous")(equalMembers(10), 3);
  const moved = movement(
    createRing(before),
    createRing(removeMembers(before, ["peer-4"])),
    sampleRefs(60_000),
  );
  for (const { peer, out } of moved.peers) if (peer !== "peer-4") assert.equal(out, 0, peer);
  assert.ok(Math.abs(moved.share - 0.1) < 0.002, `${moved.share}`);
});

test("rendezvous: whatever comes and goes, of whatever weights, no copy moves between peers that stay", () => {
  fc.assert(
    fc.property(
      anyMembers(2, 12),
      anyMembers(0, 4),
      fc.integer({ min: 1, max: 4 }),
      (list, more, replicas) => {
        const labelled = list.map((member) => ({ ...member, labels: {} }));
        const added = more
          .filter(({ peer }) => !labelled.some((member) => member.peer === peer))
          .map((member) => ({ ...member, labels: {} }));
        const before = describe("rendezvous")(labelled, replicas);
        const ring = createRing(before);
        const refs = sampleRefs(100);
        const after = movement(ring, createRing(addMembers(before, added)), refs);
        for (const { peer, in: gained } of after.peers)
          if (!added.some((member) => member.peer === peer))
            assert.ok(gained === 0 || labelled.length < replicas, `${peer} gains by an addition`);
        const [gone] = labelled;
        const left = movement(ring, createRing(removeMembers(before, [gone.peer])), refs);
        for (const { peer, out } of left.peers)
          if (peer !== gone.peer) assert.equal(out, 0, `${peer} gives up by a removal`);
      },
    ),
    { numRuns: 100, seed: 4 },
  );
});

test("rendezvous: more replicas keep the copies there are", () => {
  const spread = (i: number) => ({ zone: `z${i % 3}`, host: `h${i % 6}` });
  const before = describe("rendezvous")(equalMembers(12, spread), 2);
  const moved = movement(createRing(before), createRing(setReplicas(before, 3)), sampleRefs(2_000));
  assert.equal(moved.share, 1 / 3);
});

test("rendezvous: copies share a domain only when there are no more such domains", () => {
  fc.assert(
    fc.property(anyMembers(1, 24), fc.integer({ min: 1, max: 5 }), anyRef, (members, replicas, ref) => {
      const labels = new Map(members.map((member) => [member.peer, member.labels]));
      const copies = createRing(describe("rendezvous")(members, replicas))
        .permutation(ref)
        .slice(0, replicas);
      const zones = (peers: readonly string[]) =>
        new Set(peers.map((peer) => labels.get(peer)!["zone"])).size;
      const possible = Math.min(copies.length, zones(members.map(({ peer }) => peer)));
      assert.equal(zones(copies), possible);
    }),
    { numRuns: 300, seed: 1 },
  );
});

test("rendezvous: within a zone copies go to other racks, then other hosts; four copies split two and two", () => {
  const labels = (i: number) => ({ zone: `z${i % 2}`, rack: `r${(i >> 1) % 2}`, host: `h${i >> 1}` });
  const members = equalMembers(16, labels);
  const of = new Map(members.map((member) => [member.peer, member.labels]));
  const ring = createRing(describe("rendezvous")(members, 6));
  for (const ref of sampleRefs(200)) {
    const copies = ring.permutation(ref).map((peer) => of.get(peer)!);
    const count = (peers: typeof copies, key: (label: (typeof copies)[number]) => string) =>
      new Set(peers.map(key)).size;
    assert.equal(
      count(copies.slice(0, 2), (l) => l["zone"]),
      2,
    );
    assert.equal(
      count(copies.slice(0, 4), (l) => `${l["zone"]}${l["rack"]}`),
      4,
    );
    assert.equal(
      count(copies.slice(0, 6), (l) => `${l["zone"]}${l["host"]}`),
      6,
    );
  }
});

test("rendezvous: a member without a label does not count as a domain of its own twice", () => {
  const members: RingMember[] = [
    { peer: "a", weight: 1, labels: { host: "n1" } },
    { peer: "b", weight: 1, labels: {} },
    { peer: "c", weight: 1, labels: {} },
  ];
  const ring = createRing(describe("rendezvous")(members, 2));
  for (const ref of sampleRefs(100)) assert.ok(ring.permutation(ref).slice(0, 2).includes("a"));
});

test("mod: peers by id in a circle from crc32 of the ref, also with fewer peers than replicas", () => {
  const ring = createRing(describe("mod")(equalMembers(4), 5));
  const ref = { type: 0, volume: 9, epoch: 2, index: 77 };
  const bytes = new Uint8Array(blockRefBytes);
  encodeBlockRef(ref, new DataView(bytes.buffer), 0);
  const start = crc32(bytes) % 4;
  assert.deepEqual(
    ring.permutation(ref),
    [0, 1, 2, 3].map((i) => `peer-${(start + i) % 4}`),
  );
});

test("ketama: a tiny peer beside large ones still gets blocks", () => {
  const members = [20 * 2 ** 20, 20 * 2 ** 20, 100 * 2 ** 10].map((weight, i) => ({
    peer: `p${i}`,
    weight,
    labels: {},
  }));
  const counts = holdings(createRing(describe("ketama")(members, 1)), 60_000);
  assert.ok(counts.get("p2")! > 0);
});

test("union: the new part's order, then the old part's other peers in theirs", () => {
  const old = describe("rendezvous")(equalMembers(6), 3);
  const next = removeMembers(addMembers(old, [{ peer: "new", weight: 2 ** 34, labels: {} }]), [
    "peer-1",
    "peer-2",
  ]);
  const union = createRing(makeUnion(old, { ...next, version: 2 }));
  for (const ref of sampleRefs(50)) {
    const expected = createRing(next).permutation(ref);
    const others = createRing(old)
      .permutation(ref)
      .filter((peer) => !expected.includes(peer));
    assert.deepEqual(union.permutation(ref), [...expected, ...others]);
    assert.equal(others.length, 2);
  }
});

test("rendezvous: a permutation of ten peers takes microseconds", () => {
  const ring = createRing(describe("rendezvous")(equalMembers(10), 3));
  const refs = sampleRefs(20_000);
  for (const ref of refs) ring.permutation(ref);
  const started = process.cpuUsage();
  for (const ref of refs) ring.permutation(ref);
  const { user, system } = process.cpuUsage(started);
  const each = (user + system) / refs.length;
  assert.ok(each < 25, `${each} us each`);
});
