// What every kind of ring promises, as tests that each kind runs (ring.test.ts): a permutation of all its peers, the
// same for the same block on every machine and however the description lists its members.

import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import type { BlockRef } from "#model";
import { replicasMax, volumeIdMax } from "#model";
import { createRing } from "./create-ring.ts";
import type { RingDescription, RingMember } from "./ring.ts";

export const anyRef: fc.Arbitrary<BlockRef> = fc.record({
  type: fc.integer({ min: 0, max: 2 ** 24 - 1 }),
  volume: fc.integer({ min: 0, max: volumeIdMax }),
  epoch: fc.integer({ min: 1, max: Number.MAX_SAFE_INTEGER }),
  index: fc.integer({ min: 1, max: Number.MAX_SAFE_INTEGER }),
});

const anyLabels = fc.dictionary(
  fc.constantFrom("zone", "rack", "host", "disk"),
  fc.constantFrom("a", "b", "c", "d"),
  { noNullPrototype: true },
);

export function anyMembers(min: number, max: number): fc.Arbitrary<RingMember[]> {
  return fc.uniqueArray(
    fc.record(
      {
        peer: fc.stringMatching(/^[a-z0-9-]{1,12}$/),
        weight: fc.oneof(
          fc.constantFrom(1, 2 ** 40, 1e-6, 2 ** 60),
          fc.double({ min: 0.5, max: 1e12, noNaN: true }),
        ),
        labels: anyLabels,
      },
      { noNullPrototype: true },
    ),
    { minLength: min, maxLength: max, selector: (member) => member.peer },
  );
}

export interface RingSuiteOptions {
  readonly name: string;
  readonly membersMin: number;
  readonly membersMax: number;
  /** The description under test, of these members. */
  readonly describe: (members: RingMember[], replicas: number) => RingDescription;
}

const anyReplicas = fc.integer({ min: 1, max: replicasMax });

const check = (property: fc.IProperty<unknown>) => fc.assert(property, { numRuns: 150, seed: 20261122 });

export function ringSuite(options: RingSuiteOptions): void {
  const { name, membersMin, membersMax, describe } = options;
  const members = anyMembers(membersMin, membersMax);
  testHolders(options);

  test(`${name}: every block's permutation lists every peer once`, () => {
    check(
      fc.property(members, anyReplicas, anyRef, (list, replicas, ref) => {
        const ring = createRing(describe(list, replicas));
        const peers = ring.permutation(ref);
        assert.deepEqual([...peers].sort(), list.map(({ peer }) => peer).sort());
        assert.deepEqual([...ring.members.map(({ peer }) => peer)].sort(), [...peers].sort());
      }),
    );
  });

  test(`${name}: the answer does not change between calls, instances or orders of members`, () => {
    check(
      fc.property(members, anyReplicas, fc.array(anyRef, { maxLength: 5 }), (list, replicas, refs) => {
        const ring = createRing(describe(list, replicas));
        const twin = createRing(describe([...list].reverse(), replicas));
        const first = refs.map((ref) => ring.permutation(ref));
        assert.deepEqual(
          refs.map((ref) => ring.permutation(ref)),
          first,
        );
        assert.deepEqual(
          refs.map((ref) => twin.permutation(ref)),
          first,
        );
      }),
    );
  });

  test(`${name}: callers own the list they get`, () => {
    const [list] = fc.sample(members, { numRuns: 1, seed: 7 });
    const ring = createRing(describe(list, 2));
    const ref = { type: 0, volume: 1, epoch: 1, index: 1 };
    const before = [...ring.permutation(ref)];
    ring.permutation(ref).length = 0;
    assert.deepEqual(ring.permutation(ref), before);
  });

  test(`${name}: a description survives the ring and JSON`, () => {
    check(
      fc.property(members, anyReplicas, (list, replicas) => {
        const description = describe(list, replicas);
        const ring = createRing(JSON.parse(JSON.stringify(description)));
        assert.deepEqual(ring.toDescription(), description);
        assert.equal(ring.version, description.version);
        assert.equal(ring.replicas, replicas);
        assert.match(ring.describe(), new RegExp(`^${description.type} ring, version ${ring.version}: `));
      }),
    );
  });
}

function testHolders({ name, membersMin, membersMax, describe }: RingSuiteOptions): void {
  const members = anyMembers(membersMin, membersMax);
  test(`${name}: the holders are the first of the order, of a union those of its new part`, () => {
    check(
      fc.property(members, anyReplicas, anyRef, (list, replicas, ref) => {
        const ring = createRing(describe(list, replicas));
        const target = ring.parts?.new ?? ring;
        assert.deepEqual(ring.holders(ref), target.permutation(ref).slice(0, target.replicas));
      }),
    );
  });
}
