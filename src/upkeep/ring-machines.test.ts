// When the ring changes by itself: absences, the peer that leaves, the one that returns, the union that settles.

import assert from "node:assert/strict";
import { test } from "node:test";
import type { ClusterSnapshot, PeerStatus, UpkeepReport, VolumeState } from "#metadata";
import type { RingDescription, RingMember } from "#ring";
import { makeUnion, removeMembers } from "#ring";
import { AbsenceMachine } from "./absence-machine.ts";
import { decideRepair, decideReturn, problemWithout } from "./repair-machine.ts";
import { ReturnMachine } from "./return-machine.ts";
import { decideSettling, mayHaveTail, namesOlderRings } from "./settle-machine.ts";

const member = (peer: string, labels: Record<string, string> = {}): RingMember => ({
  peer,
  weight: 1,
  labels,
});
const ringOf = (members: RingMember[], replicas = 2, version = 1): RingDescription => ({
  version,
  type: "rendezvous",
  replicas,
  members,
});

const clean: UpkeepReport = {
  state: "idle",
  ringVersion: 2,
  revision: 1,
  walks: 1,
  walkedPercent: 100,
  misplacedBlocks: 0,
  misplacedBytes: 0,
  keptBlocks: 0,
  movedBytes: 0,
  remainingMs: null,
};

function peer(
  id: string,
  upkeep: UpkeepReport | null | "dead",
  removed: PeerStatus["removed"] = null,
): PeerStatus {
  const record = { peer: id, address: "h:1", sizeBytes: 1, labels: { host: id }, protocolVersion: 2 };
  const alive = { incarnation: 1, usedBytes: 0, blocks: 0, updatedMs: 0, condition: "ok" };
  return {
    peer: id,
    record,
    alive: upkeep === "dead" ? null : { ...alive, upkeep, collected: null, scrub: null },
    removed,
    inRing: true,
    membership: "OK",
  };
}

test("absence: only time in which the metadata could be read counts", () => {
  const machine = new AbsenceMachine();
  const see = (nowMs: number, isAlive: boolean) => machine.observe(nowMs, 100, [{ peer: "a", isAlive }]);
  see(0, true);
  see(50, false);
  assert.equal(machine.absentMs("a"), 0);
  see(100, false);
  assert.equal(machine.absentMs("a"), 50);
  see(60_000, false);
  assert.equal(machine.absentMs("a"), 150, "the long gap counts as a short one");
  see(60_050, true);
  assert.equal(machine.absentMs("a"), 0);
  see(60_100, false);
  machine.observe(60_150, 100, []);
  assert.equal(machine.absentMs("a"), 0, "who is not known any more is forgotten");
});

test("repair: a peer leaves when it was away too long, if enough are left", () => {
  const ring = ringOf([member("a"), member("b"), member("c")]);
  const decide = (peers: PeerStatus[], absent: Record<string, number>, replicas = 2) =>
    decideRepair({
      ring: { ...ring, replicas },
      peers,
      absentMs: (id) => absent[id] ?? 0,
      repairAfterMs: 100,
    });
  const dead = [peer("a", null), peer("b", "dead"), peer("c", null)];
  assert.equal(decide(dead, { b: 99 }).kind, "none");
  assert.deepEqual(decide(dead, { b: 100 }), { kind: "remove", peers: ["b"] });
  assert.equal(decide([peer("a", null), peer("b", null), peer("c", null)], { b: 100 }).kind, "none");
  assert.equal(decide(dead, { b: 100 }, 3).kind, "stuck");
  const withCondition = (condition: string): PeerStatus[] => {
    const status = peer("b", null);
    return [peer("a", null), { ...status, alive: { ...status.alive!, condition } }, peer("c", null)];
  };
  assert.equal(decide(withCondition("saw a failed fdatasync"), { b: 100 }).kind, "remove");
  assert.equal(decide(withCondition("full"), { b: 100 }).kind, "none");
  assert.equal(decide(withCondition("attention: 1 damaged block"), { b: 100 }).kind, "none");
});

test("repair: peers that died together leave in one change, as far as enough are left", () => {
  const racks = ringOf(
    ["a", "b", "c", "d", "e", "f", "g", "h"].map((id, i) => member(id, { rack: `r${i >> 1}` })),
    3,
  );
  const decide = (absent: Record<string, number>) =>
    decideRepair({
      ring: racks,
      peers: racks.members.map(({ peer: id }) => peer(id, id in absent ? "dead" : null)),
      absentMs: (id) => absent[id] ?? 0,
      repairAfterMs: 100,
    });
  assert.equal(decide({ a: 100, b: 95 }).kind, "none", "b is waited for");
  assert.deepEqual(decide({ a: 105, b: 100 }), { kind: "remove", peers: ["a", "b"] });
  assert.deepEqual(decide({ a: 110, b: 95 }), { kind: "remove", peers: ["a"] }, "but not for long");
  assert.deepEqual(decide({ a: 200, b: 80 }), { kind: "remove", peers: ["a"] });
  assert.deepEqual(
    decide({ a: 200, b: 200, c: 200, d: 200 }),
    { kind: "remove", peers: ["a", "b", "c"] },
    "three racks are to be left",
  );
});

test("repair: copies stay as far apart as they were", () => {
  const zones = ringOf(
    [
      member("a", { zone: "1" }),
      member("b", { zone: "2" }),
      member("c", { zone: "3" }),
      member("d", { zone: "3" }),
    ],
    3,
  );
  assert.match(problemWithout(zones, "a") ?? "", /3 failure domains of kind zone, and 2/);
  assert.equal(problemWithout(zones, "c"), null);
  assert.equal(problemWithout({ ...zones, replicas: 2 }, "a"), null);
});

test("repair: who returns enters again, unless an operator has decided since", () => {
  const full = ringOf([member("a"), member("b"), member("c")]);
  const without = makeUnion(full, removeMembers(full, ["c"]));
  const removed = { ringVersion: without.version, weight: 7, removedMs: 0 };
  const back = peer("c", null, removed);
  assert.deepEqual(decideReturn(back, [full, without]), {
    kind: "enter",
    member: { peer: "c", weight: 7, labels: { host: "c" } },
  });
  assert.equal(decideReturn(peer("c", null), [full, without]).kind, "none");
  const added = { ...full, version: 3 };
  assert.equal(decideReturn(back, [full, without, added]).kind, "forget");
  const removedAgain = { ...removeMembers(added, ["c"]), version: 4 };
  assert.equal(decideReturn(back, [full, without, added, removedAgain]).kind, "forget");
  const failing = { ...back, alive: { ...back.alive!, condition: "poisoned" } };
  assert.equal(decideReturn(failing, [full, without]).kind, "none");
});

function volume(rows: { fromIndex: number; ringVersion: number }[], more: object = {}): VolumeState {
  return {
    writer: { epoch: 1, owner: "x" },
    head: { epoch: 1, replayFrom: 10, positionIndex: 10 },
    logmap: { epoch: 1, rows: rows.map((row) => ({ ...row, replicas: 2, without: [] })), struck: [] },
    ...more,
  } as unknown as VolumeState;
}

test("settle: a log counts as placed by an older ring while blocks from its head on may be", () => {
  const names = (...volumes: VolumeState[]) =>
    namesOlderRings({
      ringVersion: 2,
      volumes: new Map(volumes.map((state, i) => [i, state])),
    } as unknown as ClusterSnapshot);
  assert.equal(names(volume([{ fromIndex: 1, ringVersion: 2 }])), false);
  assert.equal(names(volume([{ fromIndex: 1, ringVersion: 1 }])), true);
  const both = (at: number) => [
    { fromIndex: 1, ringVersion: 1 },
    { fromIndex: at, ringVersion: 2 },
  ];
  assert.equal(names(volume(both(10))), false, "the old row ends before the head");
  assert.equal(names(volume(both(11))), true);
  const head = { epoch: 1, replayFrom: 10, positionIndex: 9 };
  const detached = { writer: { epoch: 1, owner: "" }, head: { ...head, ended: true } };
  const torn = { writer: { epoch: 1, owner: "" }, head: { ...head, ended: false } };
  assert.equal(names(volume([{ fromIndex: 1, ringVersion: 1 }], torn)), true, "nobody sealed its end");
  assert.equal(names(volume([{ fromIndex: 1, ringVersion: 1 }], detached)), false);
  assert.equal(mayHaveTail(volume([], { ...detached, writer: { epoch: 2, owner: "" } })), true);
  assert.equal(names(volume([], { head: null })), false);
});

test("settle: every peer must have walked over all it holds, and found it in place", () => {
  const old = ringOf([member("a"), member("b")]);
  const ring = makeUnion(old, { ...old, version: 2, members: [member("b"), member("c")] });
  const decide = (peers: PeerStatus[], absentMs = 0) =>
    decideSettling({ ring, peers, absentMs: () => absentMs, repairAfterMs: 100 });
  const all = (a: UpkeepReport | null | "dead", walks = 1) => [
    peer("a", a),
    peer("b", { ...clean, walks }),
    peer("c", { ...clean, walks }),
  ];
  assert.deepEqual(decide(all(clean)), { kind: "settle", missing: [] });
  assert.equal(decide(all({ ...clean, ringVersion: 1 })).kind, "wait");
  assert.equal(decide(all(null)).kind, "wait");
  assert.equal(decide(all("dead", 2), 99).kind, "wait", "it may come back with what others lack");
  assert.equal(decide(all("dead", 1), 100).kind, "wait", "everybody looks twice");
  assert.deepEqual(decide(all("dead", 2), 100), { kind: "settle", missing: ["a"] });
  const dead = [peer("a", clean), peer("b", "dead"), peer("c", clean)];
  assert.equal(decide(dead, 1e9).kind, "wait", "who should hold blocks is not given up here");
});

test("who was away, or started again, is back; who is new, or was never seen alive, is not", () => {
  const machine = new ReturnMachine();
  const look = (...incarnations: (number | null)[]): boolean =>
    machine.observe(incarnations.map((incarnation, at) => ({ peer: `p${at}`, incarnation })));
  assert.equal(look(1, null), false);
  assert.equal(look(1, 4), false);
  assert.equal(look(1, 4), false);
  assert.equal(look(2, 4), true, "started again between two looks");
  assert.equal(look(2, null), false);
  assert.equal(look(2, null), false);
  assert.equal(look(2, 4), true, "back as it was");
  assert.equal(look(2, 4), false);
});
