// The cluster, rings and peers in the metadata, and changes whose outcome is unknown.

import assert from "node:assert/strict";
import { it } from "node:test";
import { type ErrorCode, isTorusError } from "#model";
import { addMembers, type RingDescription } from "#ring";
import { openFixture } from "./cluster.fixture.ts";

const ring: RingDescription = { version: 1, type: "rendezvous", replicas: 3, members: [] };
const is =
  (...codes: ErrorCode[]) =>
  (error: unknown) =>
    isTorusError(error, ...codes);
const volume = { name: "data", sizeBytes: 2 ** 30, acknowledge: "replicated", minReplicas: 2 } as const;
const member = (peer: string) => ({ peer, weight: 1, labels: {} });

it("cluster metadata: is made once", async () => {
  const { cluster, connect } = openFixture();
  await assert.rejects(cluster.load(), is("not-found"));
  await assert.rejects(cluster.volumes.create(volume), is("not-found"));
  const made = await cluster.init({ blockBytes: 4 * 2 ** 20, ring });
  assert.deepEqual(await connect().load(), made);
  await assert.rejects(connect().init({ blockBytes: 4 * 2 ** 20, ring }), is("already-exists"));
  assert.deepEqual(await cluster.rings.current(), ring);
});

it("cluster metadata: refuses block sizes and rings that cannot be", async () => {
  const { cluster } = openFixture();
  for (const blockBytes of [0, -1, 4096, 3 * 2 ** 20, 2 ** 40, Number.NaN]) {
    await assert.rejects(cluster.init({ blockBytes, ring }), is("invalid-argument"));
  }
  await assert.rejects(
    cluster.init({ blockBytes: 2 ** 20, ring: { ...ring, version: 2 } }),
    is("invalid-argument"),
  );
  await assert.rejects(
    cluster.init({ blockBytes: 2 ** 20, ring: { ...ring, replicas: 0 } }),
    is("invalid-argument"),
  );
});

it("cluster metadata: is read whole at one revision", async () => {
  const { cluster } = openFixture();
  await cluster.init({ blockBytes: 2 ** 20, ring });
  const { id } = await cluster.volumes.create(volume);
  await cluster.volumes.create({ ...volume, name: "gone" });
  await cluster.volumes.delete("gone", { force: false, fence: async () => {} });
  const snapshot = await cluster.snapshot();
  assert.deepEqual([...snapshot.volumes.keys()], [id]);
  assert.deepEqual([...snapshot.tombstones.keys()], [2]);
  assert.deepEqual([snapshot.lastVolumeId, snapshot.ringVersion, snapshot.ring.version], [2, 1, 1]);
});

it("cluster metadata: wipe leaves nothing behind, and no more is wiped than was there", async () => {
  const { cluster } = openFixture();
  await cluster.init({ blockBytes: 2 ** 20, ring });
  await cluster.volumes.create(volume);
  assert.equal(await cluster.wipe(), 7);
  await cluster.init({ blockBytes: 2 ** 20, ring });
});

it("rings in the metadata: change from version to version, and every version stays", async () => {
  const { cluster, connect } = openFixture();
  await cluster.init({ blockBytes: 2 ** 20, ring });
  const second = addMembers(ring, [member("a")]);
  await cluster.rings.commit(1, second);
  await assert.rejects(connect().rings.commit(1, second), is("conflict"));
  await assert.rejects(cluster.rings.commit(2, { ...second, version: 4 }), is("invalid-argument"));
  assert.deepEqual(await cluster.rings.current(), second);
  assert.deepEqual(await cluster.rings.versions(), [ring, second]);
  assert.deepEqual(await cluster.rings.version(1), ring);
  await assert.rejects(cluster.rings.version(9), is("not-found"));
});

it("rings in the metadata: only one of two changes at the same time happens", async () => {
  const { cluster, connect } = openFixture();
  await cluster.init({ blockBytes: 2 ** 20, ring });
  const changes = ["a", "b", "c"].map((peer) => connect().rings.commit(1, addMembers(ring, [member(peer)])));
  const results = await Promise.allSettled(changes);
  assert.deepEqual(results.map((result) => result.status).sort(), ["fulfilled", "rejected", "rejected"]);
});

it("rings in the metadata: a change is a union while blocks may have to move, and plain before there are volumes", async () => {
  const { cluster } = openFixture();
  await cluster.init({ blockBytes: 2 ** 20, ring });
  let current = await cluster.rings.change(ring, addMembers(ring, [member("a")]));
  current = await cluster.rings.change(current, addMembers(current, [member("b")]));
  assert.deepEqual([current.type, current.version], ["rendezvous", 3]);
  await cluster.volumes.create(volume);
  current = await cluster.rings.change(current, { ...current, version: 4, replicas: 2 });
  assert.equal(current.type, "rendezvous", "the same places");
  current = await cluster.rings.change(current, addMembers(current, [member("c")]));
  assert.deepEqual([current.type, current.parts?.new.members.length], ["union", 3]);
  assert.deepEqual(await cluster.rings.current(), current);
});

it("rings in the metadata: a watch hears of the ring in force and of later ones, and of none twice", async () => {
  const { cluster, clock } = openFixture();
  await cluster.init({ blockBytes: 2 ** 20, ring });
  const seen: number[] = [];
  const watch = cluster.rings.watch(0, ({ version }) => seen.push(version));
  await clock.advance(10);
  for (let version = 2; version <= 4; version++) {
    await cluster.rings.commit(version - 1, { ...ring, version, replicas: version });
    await clock.advance(10);
  }
  watch.close();
  await cluster.rings.commit(4, { ...ring, version: 5 });
  await clock.advance(10);
  assert.deepEqual(seen, [1, 2, 3, 4]);
});

it("rings in the metadata: a watch outlives an outage and a compaction", async () => {
  const { cluster, clock, faults, state } = openFixture();
  await cluster.init({ blockBytes: 2 ** 20, ring });
  const seen: number[] = [];
  cluster.rings.watch(1, ({ version }) => seen.push(version));
  await clock.advance(10);
  faults.reads = 3;
  await clock.run(cluster.rings.commit(1, { ...ring, version: 2 }));
  state.compact(0);
  await clock.advance(5000);
  assert.deepEqual(seen, [2]);
});

const record = { peer: "a", address: "n1:4321", sizeBytes: 100, labels: {}, protocolVersion: 1 };
const alive = {
  incarnation: 1,
  usedBytes: 0,
  blocks: 0,
  updatedMs: 1,
  condition: "ok",
  upkeep: null,
  collected: null,
  scrub: null,
};

it("peers in the metadata: are OK, Avail or DOWN by lease and ring", async () => {
  const { cluster, clock } = openFixture();
  await assert.rejects(cluster.peers.register(record), is("not-found"));
  await cluster.init({ blockBytes: 2 ** 20, ring: { ...ring, members: [member("a"), member("z")] } });
  await cluster.peers.register(record);
  await cluster.peers.register({ ...record, peer: "b", address: "n2:4321" });
  for (const peer of ["a", "b"]) await cluster.peers.beat(peer, alive, await cluster.peers.grantLease(1000));
  const list = async () =>
    (await cluster.peers.list()).peers.map(({ peer, membership }) => `${peer} ${membership}`);
  assert.deepEqual(await list(), ["a OK", "b Avail", "z DOWN"]);
  await assert.rejects(cluster.peers.forget("b"), is("busy"));
  await clock.advance(2000);
  assert.deepEqual(await list(), ["a DOWN", "b DOWN", "z DOWN"]);
  await assert.rejects(cluster.peers.forget("a"), is("busy"));
  await cluster.peers.forget("b");
  await cluster.peers.forget("b");
  assert.deepEqual(await list(), ["a DOWN", "z DOWN"]);
});

it("peers in the metadata: two daemons with one peer id: the newer incarnation stays, a copy is refused", async () => {
  const { cluster } = openFixture();
  await cluster.init({ blockBytes: 2 ** 20, ring });
  const [first, second, third] = await Promise.all([1, 2, 3].map(() => cluster.peers.grantLease(1000)));
  await cluster.peers.beat("a", alive, first);
  await cluster.peers.beat("a", { ...alive, incarnation: 2 }, second);
  await assert.rejects(cluster.peers.beat("a", alive, first), is("busy"));
  await assert.rejects(cluster.peers.beat("a", { ...alive, incarnation: 2 }, third), is("busy"));
  await cluster.peers.beat("a", { ...alive, incarnation: 2, blocks: 7 }, second);
});

const outcomes = ["happened", "did not happen", "happens late"] as const;
for (const outcome of outcomes) {
  it(`transactions whose outcome is unknown [C25]: init, create, ring, delete: one that timed out and ${outcome} is read back`, async () => {
    const { cluster, faults, clock } = openFixture();
    const fault = () => faults.failNext(outcome);
    fault();
    const made = await clock.run(cluster.init({ blockBytes: 2 ** 20, ring }));
    assert.deepEqual(await cluster.load(), made);
    fault();
    const spec = await clock.run(cluster.volumes.create(volume));
    assert.deepEqual(
      (await cluster.volumes.list()).volumes.map((state) => state.spec),
      [spec],
    );
    fault();
    await clock.run(cluster.rings.commit(1, { ...ring, version: 2 }));
    assert.equal((await cluster.rings.current()).version, 2);
    let fenced = 0;
    fault();
    const deletion = {
      force: false,
      fence: async () => {
        fenced += 1;
        fault();
      },
    };
    const tombstone = await clock.run(cluster.volumes.delete("data", deletion));
    assert.equal(fenced, 1);
    assert.deepEqual(await cluster.volumes.tombstones(), [tombstone]);
    assert.equal(tombstone.epoch, 1);
    await faults.settleLate();
    assert.deepEqual(await cluster.volumes.tombstones(), [tombstone]);
    assert.equal((await cluster.volumes.list()).volumes.length, 0);
  });
}

it("transactions whose outcome is unknown [C25]: says that it is unknown when the service stays away", async () => {
  const { cluster, faults, clock } = openFixture();
  await cluster.init({ blockBytes: 2 ** 20, ring });
  faults.failNext("happened");
  faults.reads = 1000;
  faults.readsAfterFault = true;
  await assert.rejects(clock.run(cluster.volumes.create(volume)), is("timeout", "unavailable"));
  faults.reads = 0;
  assert.equal((await cluster.volumes.list()).volumes.length, 1, "it had happened");
});
