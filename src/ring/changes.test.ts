// Ring changes and the checks of descriptions: what each change returns, and that nothing half understood is taken.

import assert from "node:assert/strict";
import { test } from "node:test";
import { addMembers, makeUnion, removeMembers, setReplicas, settleUnion, withType } from "./changes.ts";
import { createRing } from "./create-ring.ts";
import { ringMembersMax, ringUnionDepthMax } from "./description.ts";
import type { RingDescription, RingMember } from "./ring.ts";

const member = (peer: string): RingMember => ({ peer, weight: 10, labels: {} });
const base: RingDescription = {
  version: 4,
  type: "rendezvous",
  replicas: 2,
  members: [member("a"), member("b"), member("c")],
};
const peersOf = (ring: RingDescription) => ring.members.map(({ peer }) => peer);

test("each change returns the next version and leaves what it started from", () => {
  const before = structuredClone(base);
  assert.deepEqual(peersOf(addMembers(base, [member("d")])), ["a", "b", "c", "d"]);
  assert.deepEqual(peersOf(removeMembers(base, ["b"])), ["a", "c"]);
  assert.equal(setReplicas(base, 3).replicas, 3);
  assert.equal(withType(base, "ketama").type, "ketama");
  for (const next of [
    addMembers(base, []),
    removeMembers(base, []),
    setReplicas(base, 1),
    withType(base, "mod"),
  ]) {
    assert.equal(next.version, 5);
  }
  assert.deepEqual(base, before);
});

test("a ring grows from empty to rendezvous", () => {
  const empty: RingDescription = { version: 1, type: "empty", replicas: 3, members: [] };
  const first = addMembers(empty, [member("a")]);
  assert.equal(first.type, "rendezvous");
  assert.deepEqual(createRing(first).permutation({ type: 0, volume: 1, epoch: 1, index: 1 }), ["a"]);
});

test("a change to a union is a change to its new part, and unions nest on the old side", () => {
  const union = makeUnion(base, addMembers(base, [member("d")]));
  assert.equal(union.version, 5);
  assert.deepEqual(peersOf(union), ["a", "b", "c", "d"]);
  const next = removeMembers(union, ["a"]);
  assert.equal(next.type, "rendezvous");
  assert.equal(next.version, 6);
  const second = makeUnion(union, next);
  assert.deepEqual(peersOf(second), ["b", "c", "d", "a"]);
  assert.equal(createRing(second).permutation({ type: 0, volume: 1, epoch: 1, index: 1 }).at(-1), "a");
  const settled = settleUnion(second);
  assert.deepEqual({ ...settled, version: 6 }, next);
  assert.equal(settled.version, 7);
});

test("changes that cannot be are refused", () => {
  assert.throws(() => addMembers(base, [member("a")]), { code: "already-exists" });
  assert.throws(() => removeMembers(base, ["z"]), { code: "not-found" });
  assert.throws(() => setReplicas(base, 0), { code: "invalid-argument" });
  assert.throws(() => setReplicas(base, 17), { code: "invalid-argument" });
  assert.throws(() => withType(base, "single"), /must have one/);
  assert.throws(() => withType(base, "empty"), /has members/);
  assert.throws(() => settleUnion(base), /not a union/);
  assert.throws(() => makeUnion(base, { ...base, version: 9 }), /version/);
  let ring = base;
  assert.throws(() => {
    for (let i = 0; i <= ringUnionDepthMax; i++) ring = makeUnion(ring, addMembers(ring, [member(`n${i}`)]));
  }, /ring changes are under way/);
});

test("descriptions that are not understood in full are refused, with the field in the message", () => {
  const bad: [unknown, RegExp][] = [
    [null, /not an object/],
    [{ ...base, version: 0 }, /ring\.version is 0/],
    [{ ...base, version: 1.5 }, /ring\.version/],
    [{ ...base, type: "crush" }, /ring\.type is "crush"/],
    [{ ...base, replicas: 99 }, /ring\.replicas/],
    [{ ...base, spare: 1 }, /"spare"/],
    [{ ...base, parts: { old: base, new: base } }, /parts but is not a union/],
    [{ ...base, members: "abc" }, /not a list/],
    [{ ...base, members: [member("a"), member("a")] }, /names peer a twice/],
    [{ ...base, members: [{ ...member("a"), weight: 0 }] }, /weight of a is 0/],
    [{ ...base, members: [{ ...member("a"), weight: Number.POSITIVE_INFINITY }] }, /weight/],
    [{ ...base, members: [{ ...member("a"), weight: Number.NaN }] }, /weight/],
    [{ ...base, members: [{ ...member("a"), weight: "7" }] }, /weight/],
    [{ ...base, members: [member("")] }, /peer id/],
    [{ ...base, members: [member("a b")] }, /peer id/],
    [{ ...base, members: [{ ...member("a"), labels: { zone: "" } }] }, /labels\.zone/],
    [{ ...base, members: [{ ...member("a"), labels: { "z z": "a" } }] }, /not a label name/],
    [{ ...base, members: [{ ...member("a"), labels: null }] }, /labels is not an object/],
    [{ ...base, members: [{ ...member("a"), size: 1 }] }, /"size"/],
    [
      { ...base, members: Array.from({ length: ringMembersMax + 1 }, (_, i) => member(`p${i}`)) },
      /at most 10000/,
    ],
    [{ ...base, type: "single" }, /has 3 members/],
    [{ ...base, type: "union" }, /parts is not an object/],
    [{ ...makeUnion(base, addMembers(base, [])), members: [] }, /members are not/],
    [{ ...makeUnion(base, addMembers(base, [])), replicas: 5 }, /replicas differs/],
  ];
  for (const [description, message] of bad) {
    assert.throws(
      () => createRing(description as RingDescription),
      (error: Error & { code: string }) => {
        assert.equal(error.code, "invalid-argument");
        assert.match(error.message, message);
        return true;
      },
    );
  }
});

test("a ring of as many members as allowed works", () => {
  const members = Array.from({ length: ringMembersMax }, (_, i) => member(`p${i}`));
  for (const type of ["rendezvous", "ketama", "mod"] as const) {
    const ring = createRing({ ...base, type, members });
    assert.equal(new Set(ring.permutation({ type: 0, volume: 1, epoch: 1, index: 1 })).size, ringMembersMax);
  }
});
