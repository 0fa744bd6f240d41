// What a store remembers of the metadata: what it takes and refuses, over restarts and power cuts, and what it can tell [C7].

import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import type { MetadataView } from "#model";
import { crc32, isTorusError, judgeView, viewSeenIn } from "#model";
import { dataRef, openOn, SteppedClock, testBlockBytes, testDrive } from "./disk-store.fixture.ts";
import type { DiskStore } from "./disk-store.ts";
import { MemoryStore } from "./memory-store.ts";
import { decodeMemory, encodeMemory } from "./metadata-memory-codec.ts";
import { MetadataMemoryMachine, nothingKept, saveEveryMs } from "./metadata-memory-machine.ts";
import { sampleBlock, samplePage } from "./record.fixture.ts";

const view: MetadataView = {
  clusterId: "c1",
  identity: "etcd a",
  generation: 0,
  revision: 100,
  ringVersion: 3,
  lastVolumeId: 7,
};

const worse: Record<string, Partial<MetadataView>> = {
  "an older revision": { revision: 99 },
  "fewer volume ids": { lastVolumeId: 6, revision: 200 },
  "an older ring": { ringVersion: 2, revision: 200 },
  "another etcd": { identity: "etcd b", revision: 200 },
  "another cluster": { clusterId: "c2", revision: 200 },
};

const isBehind = (error: unknown): boolean => isTorusError(error, "metadata-behind");

test("judging metadata by what was seen: what is the same or ahead is taken, what is behind in anything is not", () => {
  assert.equal(judgeView(view, view), "");
  assert.equal(judgeView(view, { ...view, revision: 101, lastVolumeId: 8, ringVersion: 4 }), "");
  for (const [what, change] of Object.entries(worse))
    assert.notEqual(judgeView(view, { ...view, ...change }), "", what);
  assert.notEqual(judgeView({ ...view, generation: 1 }, { ...view, revision: 200 }), "");
});

test("judging metadata by what was seen: an adoption makes another identity and revision good, never fewer ids, an older ring or another cluster", () => {
  const adopted = { ...view, generation: 1, revision: 5, identity: "etcd b" };
  assert.equal(judgeView(view, adopted), "");
  assert.match(judgeView(view, { ...adopted, lastVolumeId: 6 }), /volume ids up to 6, and 7 was given out/);
  assert.match(judgeView(view, { ...adopted, ringVersion: 2 }), /version 2, and version 3/);
  assert.match(judgeView(view, { ...adopted, clusterId: "c2" }), /cluster c2/);
});

test("judging metadata by what was seen: who refused goes on until a later adoption, also when the numbers have caught up", () => {
  const machine = new MetadataMemoryMachine(nothingKept);
  const at = { monotonicMs: 0, wallMs: 1000 };
  machine.observe(view, "", at);
  machine.observe({ ...view, revision: 50 }, "", at);
  assert.match(machine.kept.behind, /revision 50, and was at 100/);
  machine.observe({ ...view, revision: 1000 }, "", at);
  assert.match(machine.kept.behind, /revision 50/);
  assert.equal(machine.kept.view?.revision, 100);
  machine.observe({ ...view, generation: 1, revision: 60 }, "an epoch went back", at);
  assert.equal(machine.kept.behind, "an epoch went back");
  machine.observe({ ...view, generation: 1, revision: 61 }, "", at);
  assert.equal(machine.kept.behind, "");
  assert.equal(machine.kept.view?.revision, 61);
});

test("judging metadata by what was seen: another cluster's is refused while it is shown, and forgotten", () => {
  const machine = new MetadataMemoryMachine(nothingKept);
  const at = { monotonicMs: 0, wallMs: 1000 };
  machine.observe(view, "", at);
  machine.saved(at);
  assert.equal(machine.observe({ ...view, clusterId: "c2", revision: 900 }, "", at), false);
  assert.match(machine.behind, /of cluster c2/);
  machine.observe({ ...view, revision: 101 }, "", at);
  assert.equal(machine.behind, "");
  assert.equal(machine.kept.view?.revision, 101);
});

test("judging metadata by what was seen: ids are written down at once, revisions now and then, and the time of a backup can be told", () => {
  const machine = new MetadataMemoryMachine(nothingKept);
  const times = (minutes: number) => ({ monotonicMs: minutes * 60_000, wallMs: 1e9 + minutes * 60_000 });
  const see = (minutes: number, change: Partial<MetadataView>): boolean => {
    const must = machine.observe({ ...view, ...change }, "", times(minutes));
    if (must) machine.saved(times(minutes));
    return must;
  };
  assert.equal(see(0, {}), true);
  assert.equal(see(0.5, { revision: 120 }), false);
  assert.equal(machine.unsaved, true);
  assert.equal(see(2, { revision: 121, lastVolumeId: 8 }), true);
  assert.equal(see(2.5, { revision: 140, lastVolumeId: 8 }), false);
  assert.equal(see(2 + saveEveryMs / 60_000, { revision: 150, lastVolumeId: 8 }), true);
  for (let hour = 1; hour <= 5; hour++) see(60 * hour, { revision: 1000 * hour, lastVolumeId: 8 });
  see(400, { revision: 3500, lastVolumeId: 8 });
  assert.equal(machine.kept.asOfMs, times(180).wallMs);
  assert.equal(machine.unsaved, false, "a refusal is written at once");
});

test("judging metadata by what was seen: what could not be written is due again at the next look", () => {
  const machine = new MetadataMemoryMachine(nothingKept);
  const at = { monotonicMs: 0, wallMs: 0 };
  assert.equal(machine.observe(view, "", at), true);
  assert.equal(machine.observe(view, "", at), true);
  machine.saved(at);
  assert.equal(machine.observe(view, "", at), false);
});

test("metadata.json: goes round, and any cut or change of it is damage", () => {
  const kept = {
    view,
    behind: 'it "went" back',
    asOfMs: 5,
    marks: [
      { revision: 3, timeMs: 7 },
      { revision: 9, timeMs: 70 },
    ],
  };
  const text = encodeMemory(kept);
  assert.equal(
    text,
    '{"format":1,"checksum":3924912973}\n{"view":{"clusterId":"c1","identity":"etcd a","generation":0,"revision":100,"ringVersion":3,"lastVolumeId":7},"behind":"it \\"went\\" back","asOfMs":5,"marks":[[3,7],[9,70]]}\n',
  );
  assert.deepEqual(decodeMemory(text), kept);
  assert.deepEqual(decodeMemory(encodeMemory(nothingKept)), nothingKept);
  for (let length = 0; length < text.length - 1; length++)
    assert.throws(
      () => decodeMemory(text.slice(0, length)),
      (error) => isTorusError(error, "corrupt"),
    );
  const property = fc.property(fc.nat(text.length - 2), fc.integer({ min: 33, max: 126 }), (at, code) => {
    const changed = text.slice(0, at) + String.fromCharCode(code) + text.slice(at + 1);
    if (changed === text) return;
    assert.throws(
      () => decodeMemory(changed),
      (error) => isTorusError(error, "corrupt", "unsupported"),
    );
  });
  fc.assert(property);
  assert.throws(
    () => decodeMemory(text.replace(":1", ":2")),
    (error) => isTorusError(error, "unsupported"),
  );
});

async function makeVolumes(store: DiskStore | MemoryStore): Promise<void> {
  const first = dataRef(1, { volume: 4, epoch: 2 });
  await store.append(first, 0, sampleBlock(first, 1).bytes, testBlockBytes);
  await store.put(
    dataRef(1, { volume: 4, epoch: 5, type: 1 }),
    samplePage(1),
    crc32(samplePage(1)),
    "repair",
  );
  await store.fence(2, 9, 8, 1, null);
  await store.fence(6, 3, 2, 1, null);
}

const stores = {
  disk: async () => (await openOn(testDrive().mount())).store,
  memory: async () => new MemoryStore({ peer: "p1", sizeBytes: 2 ** 24 }),
};

for (const [name, open] of Object.entries(stores)) {
  test(`${name} store: tells of every volume its highest epoch, by fence or block, page by page`, async () => {
    const store = await open();
    assert.deepEqual(await store.testify(0, 10), {
      view: null,
      behind: "",
      asOfMs: 0,
      volumes: [],
      next: null,
    });
    await makeVolumes(store);
    assert.equal(store.observe(view, ""), "");
    const first = await store.testify(0, 2);
    assert.deepEqual(first.view, view);
    assert.deepEqual(first.volumes, [
      { volume: 2, epoch: 9, blocks: 0 },
      { volume: 4, epoch: 5, blocks: 2 },
    ]);
    assert.equal(first.next, 4);
    const last = await store.testify(4, 2);
    assert.deepEqual([last.volumes, last.next], [[{ volume: 6, epoch: 3, blocks: 0 }], null]);
    await store.close();
  });

  test(`${name} store: under metadata that went back nothing is changed or promised, everything can be read`, async () => {
    const store = await open();
    await makeVolumes(store);
    const ref = dataRef(1, { volume: 4, epoch: 2 });
    const block = sampleBlock(ref, 2);
    store.observe(view, "");
    assert.match(store.observe({ ...view, revision: 1 }, ""), /revision 1/);
    await assert.rejects(
      store.append(ref, block.offsets[1], block.bytes.subarray(block.offsets[1]), testBlockBytes),
      isBehind,
    );
    await assert.rejects(store.append(dataRef(1, { volume: 9 }), 0, block.bytes, testBlockBytes), isBehind);
    await assert.rejects(store.sync([ref]), isBehind);
    await assert.rejects(store.seal(ref, block.offsets[1], 1), isBehind);
    await assert.rejects(store.fence(4, 10, 9, 1, null), isBehind);
    for (const purpose of ["write", "repair"] as const)
      await assert.rejects(store.put(dataRef(3), samplePage(1), crc32(samplePage(1)), purpose), isBehind);
    if ("remove" in store) await assert.rejects(store.remove(ref), isBehind);
    assert.equal((await store.read(ref, 0, 4096)).length, 4096);
    assert.equal((await store.stat([ref]))[0].state, "open");
    assert.equal((await store.list(null, 10)).blocks.length, 2);
    assert.match((await store.testify(0, 10)).behind, /revision 1/);
    store.observe({ ...view, revision: 2, generation: 1 }, "");
    await store.fence(4, 10, 9, 1, null);
    await store.close();
  });
}

for (const [name, open] of Object.entries(stores)) {
  test(`${name} store: a fence that was decided by less than it has seen is refused, and told what that is`, async () => {
    const store = await open();
    const decided = (change: Partial<MetadataView>) => ({ view: { ...view, ...change }, headEpoch: 0 });
    await store.fence(4, 1, 0, 1, decided({ revision: 3 }));
    store.observe(view, "");
    for (const [what, change] of Object.entries(worse)) {
      await assert.rejects(
        store.fence(4, 2, 0, 1, decided(change)),
        (error) => {
          assert.ok(isTorusError(error, "metadata-behind"), what);
          assert.deepEqual(viewSeenIn(error), view, what);
          return true;
        },
        what,
      );
    }
    await store.fence(4, 2, 0, 1, decided({}));
    await store.fence(4, 2, 0, 1, decided({ revision: 101 }));
    await store.fence(4, 2, 0, 1, decided({ generation: 1, revision: 2, identity: "etcd b" }));
    assert.equal(store.observe(view, ""), "", "what fences say is not what was seen");
    await store.close();
  });
}

test("over restarts: a power cut forgets no id, identity or refusal, and at most the revisions of some minutes", async () => {
  const drive = testDrive(3);
  const clock = new SteppedClock();
  const first = await openOn(drive.mount(), {}, 1, clock);
  first.store.observe(view, "");
  first.store.observe({ ...view, revision: 105 }, "");
  first.store.observe({ ...view, revision: 110, lastVolumeId: 8, ringVersion: 4 }, "");
  first.store.observe({ ...view, revision: 115, lastVolumeId: 8, ringVersion: 4 }, "");
  drive.cutPower();
  const second = await openOn(drive.mount(), {}, 2, clock);
  const { view: kept } = await second.store.testify(0, 1);
  assert.deepEqual(kept, { ...view, revision: 110, lastVolumeId: 8, ringVersion: 4 });
  second.store.observe({ ...view, revision: 112, lastVolumeId: 7, ringVersion: 4 }, "");
  drive.cutPower();
  const third = await openOn(drive.mount(), {}, 3, clock);
  assert.match(third.store.behind, /volume ids up to 7, and 8/);
  await assert.rejects(third.store.fence(1, 1, 0, 1, null), isBehind);
  assert.match(
    third.store.observe({ ...view, revision: 500, lastVolumeId: 9, ringVersion: 4 }, ""),
    /up to 7/,
  );
});

test("over restarts: an orderly end writes the last revision", async () => {
  const drive = testDrive(4);
  const { store } = await openOn(drive.mount());
  store.observe(view, "");
  store.observe({ ...view, revision: 105 }, "");
  await store.close();
  const again = await openOn(drive.mount());
  assert.equal((await again.store.testify(0, 1)).view?.revision, 105);
  await again.store.close();
});

test("over restarts: a store that is to wait for the metadata changes nothing before it has seen it", async () => {
  const clock = new SteppedClock();
  const { store } = await openOn(testDrive(5).mount(), { lookMsMax: 1000 }, 1, clock);
  await assert.rejects(store.fence(1, 1, 0, 1, null), (error) => isTorusError(error, "unavailable"));
  await store.testify(0, 1);
  store.observe(view, "");
  await store.fence(1, 1, 0, 1, null);
  await store.close();
});

test("over restarts: who has not seen the metadata for a while lets nobody in, and goes on with whoever is", async () => {
  const clock = new SteppedClock();
  const { store } = await openOn(testDrive(7).mount(), { lookMsMax: 1000 }, 1, clock);
  store.observe(view, "");
  const ref = dataRef(1, { volume: 4, epoch: 2 });
  await store.fence(4, 2, 1, 1, null);
  clock.setTimer(1001, () => {});
  await clock.step();
  await assert.rejects(store.fence(4, 3, 2, 1, null), (error) => isTorusError(error, "unavailable"));
  await store.append(ref, 0, sampleBlock(ref, 1).bytes, testBlockBytes);
  store.observe(view, "");
  await store.fence(4, 3, 2, 1, null);
  await clock.until(store.close());
});

test("over restarts: a memory that is damaged keeps the store from opening", async () => {
  const drive = testDrive(6);
  const disk = drive.mount();
  const { store } = await openOn(disk);
  store.observe(view, "");
  await store.close();
  const again = drive.mount();
  again.writeTextDurably("metadata.json", (again.readText("metadata.json") ?? "").replace("100", "101"));
  again.close();
  await assert.rejects(
    openOn(drive.mount()),
    (error) => isTorusError(error, "corrupt") && /metadata.json/.test(error.message),
  );
});
