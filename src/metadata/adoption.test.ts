// Metadata that went back, and its adoption: who notices, who is stopped, what rises, what happens when it is interrupted [C7].

import assert from "node:assert/strict";
import { test } from "node:test";
import type { MetadataView, Testimony, VolumeTrace } from "#model";
import { isTorusError, judgeView } from "#model";
import type { Outcome } from "./cluster.fixture.ts";
import { openFixture } from "./cluster.fixture.ts";
import type { ClusterMetadata } from "./cluster.ts";
import type { PeerTestimony } from "./index.ts";
import { MetadataObserver, planAdoption } from "./index.ts";
import { quietLog } from "./quiet-log.fixture.ts";

const isBehind = (error: unknown): boolean => isTorusError(error, "metadata-behind");
const members = ["p1", "p2", "p3"].map((peer) => ({ peer, weight: 1, labels: {} }));
const options = { pauseMsMax: 5000 };
const request = (name: string) =>
  ({ name, sizeBytes: 4096, acknowledge: "replicated", minReplicas: 1 }) as const;

/** What a store does with the metadata it is shown, without a store. */
class TestStore {
  readonly peer: string;
  view: MetadataView | null = null;
  behind = "";
  traces: VolumeTrace[] = [];
  looks: string[] = [];

  constructor(peer: string) {
    this.peer = peer;
  }

  async testify(after: number, limit: number): Promise<Testimony> {
    this.looks.push("asked");
    const rest = this.traces.filter(({ volume }) => volume > after);
    const volumes = rest.slice(0, limit);
    const next = rest.length > limit ? volumes[limit - 1].volume : null;
    return { view: this.view, behind: this.behind, asOfMs: 0, volumes, next };
  }

  observe(view: MetadataView, proof: string): string {
    this.looks.push("shown");
    const found = (this.view === null ? "" : judgeView(this.view, view)) || proof;
    this.behind = view.generation > (this.view?.generation ?? 0) ? found : this.behind || found;
    if (this.behind === "") this.view = view;
    return this.behind;
  }

  testimony(): PeerTestimony {
    return { peer: this.peer, view: this.view, behind: this.behind, asOfMs: 0, volumes: this.traces };
  }
}

async function openCluster() {
  const fixture = openFixture();
  const { cluster, clock } = fixture;
  await cluster.init({ blockBytes: 2 ** 20, ring: { version: 1, type: "mod", replicas: 2, members } });
  const store = new TestStore("p1");
  const deps = { adoption: cluster.adoption, store, clock, log: quietLog };
  return { ...fixture, store, observer: new MetadataObserver(options, deps) };
}

function attach(cluster: ClusterMetadata, volume: number) {
  const request = { owner: `o${volume}`, holder: "h", leaseTtlMs: 10_000, force: true };
  return cluster.writers.attachWriter(volume, request);
}

async function planFor(cluster: ClusterMetadata, testimonies: readonly PeerTestimony[]) {
  const { view, alarm } = await cluster.adoption.look();
  return planAdoption(await cluster.snapshot(), view, alarm?.reason ?? "", testimonies);
}

test("observing: looks at numbers with each beat; at every volume at first, after a failure, and every so often", async () => {
  const { observer, store, faults, clock } = await openCluster();
  for (let i = 0; i < 3; i++) assert.equal(await observer.look(), "");
  assert.deepEqual(store.looks, ["asked", "shown", "shown", "shown"]);
  faults.away = true;
  await assert.rejects(observer.look(), (error) => isTorusError(error, "unavailable"));
  faults.away = false;
  await observer.look();
  await observer.look();
  await clock.advance(6000);
  await observer.look();
  assert.deepEqual(store.looks.splice(4), ["asked", "shown", "shown", "asked", "shown"]);
  for (let second = 0; second < 601; second += 3) {
    await clock.advance(3000);
    await observer.look();
  }
  assert.equal(store.looks.filter((look) => look === "asked").length, 2);
});

test("observing: finds an epoch or an id that the metadata does not have, though its revision is ahead, and stops everybody", async () => {
  const { observer, store, cluster, clock, connect } = await openCluster();
  const { id } = await cluster.volumes.create(request("a"));
  await attach(cluster, id);
  store.traces = [{ volume: id, epoch: 1, blocks: 3 }];
  assert.equal(await observer.look(), "");
  store.traces = [{ volume: id, epoch: 3, blocks: 3 }];
  assert.equal(await observer.look(), "", "not looked at closely");
  await clock.advance(6000);
  assert.equal(await observer.look(), `volume ${id} is at epoch 1 in it, and at epoch 3 here`);
  const other = connect();
  await assert.rejects(attach(other, id), isBehind);
  await assert.rejects(other.volumes.create(request("b")), isBehind);
  await assert.rejects(other.volumes.delete("a", { force: true, fence: async () => {} }), isBehind);
  assert.equal((await other.volumes.find("a")).writer.epoch, 1, "no epoch was used up");
  store.traces = [{ volume: 9, epoch: 1, blocks: 1 }];
  store.behind = "";
  assert.match(await observer.look(), /volume ids up to 1, and volume 9 is here/);
});

test("observing: volumes that nobody knows are no sign of metadata that went back", async () => {
  const { observer, store, cluster } = await openCluster();
  await cluster.volumes.create(request("a"));
  await cluster.volumes.delete("a", { force: false, fence: async () => {} });
  await cluster.volumes.removeTombstone(1);
  store.traces = [{ volume: 1, epoch: 1, blocks: 5 }];
  assert.equal(await observer.look(), "");
});

test("observing: a store of another cluster is told so, and that cluster is left in peace", async () => {
  const { observer, store, cluster } = await openCluster();
  store.view = { ...(await cluster.adoption.look()).view, clusterId: "another" };
  await assert.rejects(observer.look(), (error) => isTorusError(error, "invalid-argument"));
  assert.deepEqual(store.looks, ["asked"], "it is not even shown");
  assert.equal((await cluster.adoption.look()).alarm, null);
});

/** A cluster restored to before a second volume and two attaches, noticed by its peer. */
async function openRestored() {
  const opened = await openCluster();
  const { cluster, state, observer, store } = opened;
  const kept = await cluster.volumes.create(request("kept"));
  await attach(cluster, kept.id);
  await observer.look();
  const backup = state.backUp();
  const lost = await cluster.volumes.create(request("lost"));
  await attach(cluster, lost.id);
  await attach(cluster, kept.id);
  await attach(cluster, kept.id);
  const current = await cluster.rings.current();
  await cluster.rings.change(current, { ...current, version: 2, type: "ketama" });
  await observer.look();
  store.traces = [
    { volume: kept.id, epoch: 3, blocks: 10 },
    { volume: lost.id, epoch: 1, blocks: 4 },
  ];
  state.restore(backup);
  assert.notEqual(await observer.look(), "");
  return { ...opened, kept: kept.id, lost: lost.id };
}

test("adopting: raises epochs, ids and the ring above what peers know, and names what is lost and what is unknown", async () => {
  const { cluster, store, observer, kept, lost } = await openRestored();
  const plan = await planFor(cluster, [store.testimony()]);
  assert.equal(plan.isNeeded, true);
  assert.deepEqual(plan.minter, { from: 1, to: 2 });
  assert.deepEqual(plan.ring, { from: 1, to: 1002 });
  assert.deepEqual(plan.generation, { from: 0, to: 1 });
  assert.deepEqual(plan.volumes, [
    { id: kept, name: "kept", fromEpoch: 1, toEpoch: 4, knownEpoch: 3, headEpoch: 0 },
  ]);
  assert.deepEqual(plan.unknown, [{ id: lost, epoch: 1, blocks: 4, peers: ["p1"] }]);
  await cluster.adoption.adopt(plan, ["p9"]);
  assert.equal(await observer.look(), "");
  const state = await cluster.volumes.find("kept");
  assert.deepEqual(state.writer, { epoch: 4, owner: "" });
  assert.equal(state.lease, null);
  assert.deepEqual(state.adopted, { generation: 1, epoch: 4, without: ["p9"] });
  assert.equal((await cluster.rings.current()).version, 1002);
  assert.equal((await cluster.volumes.create(request("next"))).id, 3);
  assert.equal((await attach(cluster, kept)).epoch, 5);
  const again = await planFor(cluster, [store.testimony()]);
  assert.deepEqual([again.isNeeded, again.reasons], [false, []]);
});

test("adopting: a peer that was not asked and knows more goes on refusing", async () => {
  const { cluster, store, observer, clock } = await openRestored();
  const other = new TestStore("p2");
  other.view = { ...(await cluster.adoption.look()).view, revision: 900, lastVolumeId: 7, ringVersion: 2 };
  const plan = await planFor(cluster, [store.testimony()]);
  await cluster.adoption.adopt(plan, ["p2"]);
  assert.equal(await observer.look(), "");
  const deps = { adoption: cluster.adoption, store: other, clock, log: quietLog };
  assert.match(await new MetadataObserver(options, deps).look(), /ids up to 2, and 7 was given out/);
  const next = await planFor(cluster, [store.testimony(), other.testimony()]);
  assert.deepEqual(next.minter, { from: 2, to: 7 });
  assert.deepEqual(next.generation, { from: 1, to: 2 });
});

for (const outcome of ["happened", "did not happen", "happens late"] satisfies Outcome[]) {
  test(`adopting: an answer is lost and the transaction ${outcome}: the end is the same`, async () => {
    for (let step = 0; step < 2; step++) {
      const { cluster, store, faults, connect, clock, kept } = await openRestored();
      const plan = await planFor(cluster, [store.testimony()]);
      let left = step;
      const { transact } = faults;
      faults.transact = (guards, changes) => {
        if (left === 0) faults.failNext(outcome);
        left -= 1;
        return transact.call(faults, guards, changes);
      };
      await clock.run(cluster.adoption.adopt(plan, []));
      await faults.settleLate();
      const found = await connect().volumes.load(kept);
      assert.equal(found.writer.epoch, 4);
      const { view, alarm } = await connect().adoption.look();
      assert.deepEqual([view.generation, view.ringVersion, view.lastVolumeId, alarm], [1, 1002, 2, null]);
    }
  });
}

test("adopting: who stopped half way begins again; nobody attaches in between; two at once do not meet", async () => {
  const { cluster, store, faults, connect, kept } = await openRestored();
  const plan = await planFor(cluster, [store.testimony()]);
  const { transact } = faults;
  let count = 0;
  faults.transact = (guards, changes) => {
    count += 1;
    if (count === 1) return transact.call(faults, guards, changes);
    throw new Error("the operator's machine stops");
  };
  await assert.rejects(cluster.adoption.adopt(plan, []), /stops/);
  await assert.rejects(attach(connect(), kept), isBehind);
  const second = connect();
  const again = await planFor(second, [store.testimony()]);
  await second.adoption.adopt(again, []);
  assert.equal((await second.volumes.load(kept)).writer.epoch, 5);
  await assert.rejects(connect().adoption.adopt(plan, []), (error) => isTorusError(error, "conflict"));
  assert.equal((await second.adoption.look()).view.generation, 1);
});

test("adopting: hundreds of volumes, in several transactions", async () => {
  const { cluster, store } = await openCluster();
  for (let i = 1; i <= 130; i++) await cluster.volumes.create(request(`v${i}`));
  store.traces = Array.from({ length: 130 }, (_, i) => ({ volume: i + 1, epoch: i, blocks: 1 }));
  await cluster.adoption.report("test", "p1", 0);
  await cluster.adoption.adopt(await planFor(cluster, [store.testimony()]), []);
  const { volumes } = await cluster.volumes.list();
  for (const { spec, writer } of volumes) assert.equal(writer.epoch, spec.id);
});

test("adopting: an alarm of before that comes late accuses nobody any more", async () => {
  const { cluster, store, faults, connect, clock } = await openRestored();
  const plan = await planFor(cluster, [store.testimony()]);
  const late = connect();
  await late.adoption.adopt(plan, []);
  await cluster.adoption.report("it was behind", "p2", 0);
  assert.equal((await late.adoption.look()).alarm, null);
  faults.failNext("happens late");
  const reporting = clock.run(cluster.adoption.report("it is behind again", "p2", 1));
  const { view } = await late.adoption.look();
  assert.equal(view.generation, 1);
  await reporting;
  assert.equal((await late.adoption.look()).alarm?.reason, "it is behind again");
  await late.adoption.adopt(await planFor(late, [store.testimony()]), []);
  await faults.settleLate();
  assert.equal((await late.adoption.look()).alarm, null);
});
