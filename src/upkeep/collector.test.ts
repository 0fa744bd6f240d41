// The collector on a cluster in memory: after volumes were overwritten and deleted, exactly the blocks that no INode needs go,
// audited block by block against INodes that are read whole; and when anything cannot be read, nothing goes.

import assert from "node:assert/strict";
import { it } from "node:test";
import type { NodePointer } from "#metadata";
import type { BlockRef } from "#model";
import { blockRefKey, isTorusError, pageBytes, TorusError } from "#model";
import { beatAll, CollectedCluster, content, holdersOf, running } from "./collected-cluster.fixture.ts";
import type { Collector } from "./collector.ts";

it("collector: volumes that are overwritten keep what their INodes need, and nothing else", async () => {
  const at = await CollectedCluster.open();
  await at.cluster.createVolume("a", 2 ** 26);
  await at.cluster.createVolume("b", 2 ** 26);
  let most = 0;
  for (let round = 1; round <= 8; round++) {
    await at.overwrite("a", 60, round);
    if (round % 3 === 0) await at.overwrite("b", 40, round);
    await at.settle();
    await at.audit(2);
    most = round === 1 ? 0 : Math.max(most, await at.count());
  }
  assert.ok(most < 60, `${most} blocks at most`);
  await at.requireContent("a", 60, 8);
  await at.requireContent("b", 40, 6);
});

it("collector: what it found in metadata that went back says nothing of a tombstone of after its adoption [C7]", async () => {
  const at = await CollectedCluster.open();
  await at.cluster.createVolume("a", 2 ** 26);
  await at.overwrite("a", 60, 1);
  const backup = at.cluster.backUp();
  for (let i = 0; i < 30; i++) await at.cluster.createVolume(`later-${i}`, 2 ** 20);
  await at.settle();
  at.cluster.restore(backup);
  // An adoption makes a new ring.
  at.ringVersion = 2;
  await at.delete("a");
  await beatAll(at);
  assert.deepEqual(await at.metadata.volumes.dropClearedTombstones(), []);
  assert.deepEqual(
    at.collectors.map(({ collected }) => collected?.revision),
    [0, 0, 0],
  );
});

it("collector: a deleted volume's blocks go, its tombstone when every peer has said so", async () => {
  const at = await CollectedCluster.open();
  for (const name of ["a", "b"]) await at.cluster.createVolume(name, 2 ** 26);
  await at.overwrite("a", 60, 1);
  await at.overwrite("b", 60, 2);
  const leases = await beatAll(at);
  await at.delete("a");
  await at.settle();
  const volumes = new Set([...(await at.blocks()).values()].flat().map(({ ref }) => ref.volume));
  assert.deepEqual([...volumes], [2]);
  assert.equal((await at.metadata.volumes.tombstones()).length, 1, "nobody has said so yet");
  await beatAll(at, leases);
  await at.settle();
  await beatAll(at, leases);
  await at.settle();
  assert.equal((await at.metadata.volumes.tombstones()).length, 0);
  await at.audit(2);
  await at.requireContent("b", 60, 2);
});

it("collector: while a volume is written, its log and what its head needs stay", async () => {
  const at = await CollectedCluster.open();
  await at.cluster.createVolume("a", 2 ** 26);
  await at.overwrite("a", 60, 1);
  const { volume, client } = await at.cluster.attach("a");
  for (let page = 0; page < 60; page++) {
    await volume.write(page * pageBytes, content(2, page), false);
    if (page % 10 === 0) for (const collector of at.collectors) await collector.pass(running);
  }
  await at.settle();
  for (let page = 0; page < 60; page++)
    assert.deepEqual(
      Buffer.from(await volume.read(page * pageBytes, pageBytes)),
      Buffer.from(content(2, page)),
    );
  client.kill();
  await at.settle();
  await at.requireContent("a", 60, 2);
});

it("collector: bytes that are needed add up: what INodes need, times the copies, is what peers have of it", async () => {
  const at = await CollectedCluster.open(4, 3);
  for (const [i, name] of ["a", "b", "c"].entries()) {
    await at.cluster.createVolume(name, 2 ** 26);
    await at.overwrite(name, 30 + 20 * i, 1);
    await at.overwrite(name, 10, 2);
  }
  await at.settle();
  await at.settle();
  const needed = await at.needed();
  const bytesOf = new Map(
    [...(await at.blocks()).values()].flat().map(({ ref, held }) => [blockRefKey(ref), held]),
  );
  const once = [...needed].reduce((sum, key) => sum + (bytesOf.get(key) ?? Number.NaN), 0);
  const reported = at.collectors.map(({ collected }) => collected);
  assert.equal(
    reported.reduce((sum, found) => sum + (found?.neededBytes ?? 0), 0),
    3 * once,
  );
  assert.equal(
    reported.reduce((sum, found) => sum + (found?.reclaimableBytes ?? 0), 0),
    0,
  );
});

/** Blocks of old epochs are due in the next pass. */
async function withDue(): Promise<CollectedCluster> {
  const at = await CollectedCluster.open();
  await at.cluster.createVolume("a", 2 ** 26);
  for (let round = 1; round <= 3; round++) await at.overwrite("a", 60, round);
  for (const collector of at.collectors) await collector.pass(running);
  // An INode that no collector has read.
  await at.overwrite("a", 60, 4);
  return at;
}

async function nothingGoes(
  at: CollectedCluster,
  collectors: readonly Collector[],
  code: string,
): Promise<void> {
  const before = await at.count();
  for (const collector of collectors)
    await assert.rejects(collector.pass(running), (error) => isTorusError(error) && error.code === code);
  assert.equal(await at.count(), before);
}

it("when anything cannot be read, nothing is dead [C6]: metadata that is away", async () => {
  const at = await withDue();
  at.cluster.metadataAway = true;
  await nothingGoes(at, at.collectors, "unavailable");
  at.cluster.metadataAway = false;
  const before = await at.count();
  await at.settle();
  assert.ok((await at.count()) < before);
  await at.audit(2);
});

it("when anything cannot be read, nothing is dead [C6]: a record that cannot be decoded, of whatever volume", async () => {
  const at = await withDue();
  await at.cluster.createVolume("other", 2 ** 20);
  const { service } = at.metadata;
  await service.transact([], [{ kind: "put", key: "volumes/0000000002/writer", value: "{}" }]);
  await nothingGoes(at, at.collectors, "corrupt");
});

it("when anything cannot be read, nothing is dead [C6]: an INode of which a block is nowhere, of whatever volume", async () => {
  const at = await withDue();
  await at.cluster.createVolume("other", 2 ** 26);
  await at.overwrite("other", 20, 1);
  const root = (await at.metadata.volumes.find("other")).head?.root as NodePointer;
  for (const store of at.cluster.stores) await store.remove(root.ref);
  await nothingGoes(at, at.collectors, "corrupt");
});

it("when anything cannot be read, nothing is dead [C6]: an INode that is damaged in every copy; one good copy is enough", async () => {
  const at = await withDue();
  const root = (await at.metadata.volumes.find("a")).head?.root as NodePointer;
  const holders = await holdersOf(at, root.ref);
  for (const store of holders) store.corrupt(root.ref, root.offset + 20);
  await nothingGoes(at, at.collectors, "corrupt");
  holders[0].corrupt(root.ref, root.offset + 20);
  await at.settle();
  await at.requireContent("a", 60, 4);
});

it("when anything cannot be read, nothing is dead [C6]: peers that are silent: the pass gives up, and a later one succeeds", async () => {
  const at = await withDue();
  const root = (await at.metadata.volumes.find("a")).head?.root as NodePointer;
  const holders = await holdersOf(at, root.ref);
  const bystander = at.cluster.stores.findIndex((store) => !holders.includes(store));
  for (const { peer } of holders) at.cluster.cut.add(peer);
  await nothingGoes(at, [at.collectors[bystander]], "timeout");
  at.cluster.cut.clear();
  await at.settle();
  await at.audit(2);
});

it("collector [C6]: blocks that come to a peer later are kept, though it has long known what their INode needs of those it had", async () => {
  const at = await CollectedCluster.open();
  await at.cluster.createVolume("a", 2 ** 26);
  await at.overwrite("a", 60, 1);
  await at.settle();
  for (const source of at.cluster.stores) {
    for (const { ref, held, checksum } of (await source.list(null, 1000)).blocks)
      for (const target of at.cluster.stores)
        if (target !== source) await target.put(ref, await source.read(ref, 0, held), checksum, "repair");
  }
  const before = await at.count();
  for (let i = 0; i < 3; i++) await at.settle();
  assert.equal(await at.count(), before);
});

it("when anything cannot be read, nothing is dead [C6]: a list that fails half way", async () => {
  const at = await withDue();
  const [store] = at.cluster.stores;
  let pages = 0;
  const failing = new Proxy(store, {
    get: (target, key) => {
      if (key === "list") return (after: BlockRef | null) => listed(after);
      const value = Reflect.get(target, key, target);
      return typeof value === "function" ? value.bind(target) : value;
    },
  });
  const listed = async (after: BlockRef | null) => {
    pages += 1;
    if (pages % 3 === 0) throw new TorusError("io", "the disk failed");
    return store.list(after, 5);
  };
  const collector = at.collector(failing);
  await nothingGoes(at, [collector, collector, collector], "io");
});

it("what the collector is told not to touch: a volume the metadata does not know: an alarm, once, until it is known again [C7]", async () => {
  const at = await CollectedCluster.open();
  await at.cluster.createVolume("a", 2 ** 26);
  await at.overwrite("a", 20, 1);
  const before = await at.count();
  // As if the metadata had been restored from before the volume was created.
  const { ranges } = await at.metadata.service.read([{ prefix: "volumes/" }, { prefix: "names/" }]);
  const entries = ranges.flat();
  await at.metadata.service.transact(
    [],
    entries.map(({ key }) => ({ kind: "delete", key })),
  );
  for (let i = 0; i < 3; i++) await at.settle();
  assert.equal(await at.count(), before);
  assert.equal(at.errors.length, at.collectors.length);
  assert.match(at.collectors[0].condition ?? "", /1 volume the metadata does not know \(1\)/);
  await at.metadata.service.transact(
    [],
    entries.map(({ key, value }) => ({ kind: "put", key, value })),
  );
  await at.settle();
  assert.equal(at.collectors[0].condition, null);
  await at.requireContent("a", 20, 1);
});

it("what the collector is told not to touch: anything, while metadata may be of an earlier time [C7], and once it is told so in the middle of a pass", async () => {
  const at = await CollectedCluster.open();
  await at.cluster.createVolume("a", 2 ** 26);
  for (let round = 1; round <= 3; round++) await at.overwrite("a", 60, round);
  for (const collector of at.collectors) await collector.pass(running);
  const before = await at.count();
  at.mayDelete = false;
  await at.settle();
  assert.equal(await at.count(), before);
  at.mayDelete = true;
  const { snapshot } = at.metadata;
  at.metadata.snapshot = async () => {
    const found = await snapshot.call(at.metadata);
    at.mayDelete = false;
    return found;
  };
  for (const collector of at.collectors) await collector.pass(running).catch(() => {});
  assert.equal(await at.count(), before);
});

it("what the collector is told not to touch: anything, while another peer knows that the metadata went back [C7]", async () => {
  const at = await CollectedCluster.open();
  await at.cluster.createVolume("a", 2 ** 26);
  for (let round = 1; round <= 3; round++) await at.overwrite("a", 60, round);
  for (const collector of at.collectors) await collector.pass(running);
  const before = await at.count();
  await at.metadata.adoption.report("it was newer", "peer x", 0);
  for (let pass = 0; pass < 3; pass++) {
    for (const collector of at.collectors)
      await assert.rejects(collector.pass(running), (error) => isTorusError(error, "metadata-behind"));
  }
  assert.equal(await at.count(), before);
});

it("what the collector is told not to touch: anything, once the peer stops", async () => {
  const at = await CollectedCluster.open();
  await at.cluster.createVolume("a", 2 ** 26);
  for (let round = 1; round <= 3; round++) await at.overwrite("a", 60, round);
  for (const collector of at.collectors) await collector.pass(running);
  const before = await at.count();
  for (const collector of at.collectors) {
    let calls = 0;
    await collector.pass(() => {
      calls += 1;
      return calls > 1;
    });
  }
  assert.equal(await at.count(), before);
});
