// Snapshots, requests and clones in the metadata: who may add, what excludes what, and outcomes that are unknown.

import assert from "node:assert/strict";
import { it } from "node:test";
import type { ErrorCode } from "#model";
import { isTorusError } from "#model";
import { volumesNaming } from "./clone-registry.ts";
import { openFixture } from "./cluster.fixture.ts";
import { snapshotKey, volumeKey } from "./keys.ts";
import type { HeadRecord, LogMapRecord, NodePointer, SnapshotRecord } from "./records.ts";
import type { WriterAttachment } from "./volume-writers.ts";

const is =
  (...codes: ErrorCode[]) =>
  (error: unknown) =>
    isTorusError(error, ...codes);
const logmap: LogMapRecord = {
  epoch: 1,
  rows: [{ fromIndex: 1, ringVersion: 1, replicas: 3, without: [] }],
  struck: [],
};
const rootAt = (index: number): NodePointer => ({
  ref: { type: 1, volume: 1, epoch: 1, index },
  offset: 0,
  length: 100,
  checksum: 0,
});
const headAt = (index: number): HeadRecord => ({
  epoch: 1,
  root: rootAt(index),
  ringVersion: 1,
  replayFrom: 1,
  sequence: 0,
  previous: 0,
  positionIndex: 1,
  positionOffset: 0,
  usedBytes: 0,
  logBytes: 0,
  ended: false,
  timeMs: 0,
  device: null,
});
const noFence = { force: false, fence: async () => {} };
const byForce = { force: true, fence: async () => {} };

function snapshotOf(name: string, root = rootAt(1)): SnapshotRecord {
  return {
    name,
    createdMs: 1,
    token: `token of ${name}`,
    sizeBytes: 2 ** 30,
    epoch: 1,
    root,
    endIndex: 1,
    ringVersion: 1,
    usedBytes: 5,
    logBytes: 5,
    labels: {},
  };
}

const order = { kind: "snapshot", name: "s1", labels: {}, atMs: null } as const;
const asked = { order, createdMs: 1, byMs: 2, refusal: null };
const plain = { sizeBytes: null, acknowledge: null, minReplicas: null };

async function openAttached() {
  const fixture = openFixture();
  const { cluster, random } = fixture;
  await cluster.init({
    blockBytes: 2 ** 20,
    ring: { version: 1, type: "rendezvous", replicas: 3, members: [] },
  });
  const request = { name: "data", sizeBytes: 2 ** 30, acknowledge: "replicated", minReplicas: 2 } as const;
  const { id } = await cluster.volumes.create(request);
  const attachment = await cluster.writers.attachWriter(id, {
    owner: random.uuid(),
    holder: "n1",
    leaseTtlMs: 10_000,
    force: false,
  });
  const none = { head: 0, logmap: 0 };
  let revision = await cluster.writers.commitHead(attachment, { head: headAt(1), logmap }, none);
  /** Commits the head at `index` and names it. Null when that was refused. */
  const name = async (snapshot: SnapshotRecord, index: number, by: WriterAttachment = attachment) => {
    const committed = await cluster.writers.commitHeadWith(
      by,
      { head: headAt(index), logmap },
      { head: revision, logmap: revision },
      cluster.snapshots.naming(id, snapshot, (await cluster.requests.requests(id)).requests.at(0) ?? null),
    );
    if (committed !== null) revision = committed;
    return committed;
  };
  return { ...fixture, id, attachment, name };
}

it("snapshots in the metadata: head, name and the end of the request are one transaction", async () => {
  const { cluster, id, name } = await openAttached();
  await cluster.requests.ask(id, "t1", asked);
  const revision = await name(snapshotOf("s1", rootAt(2)), 2);
  const { volume, requests } = await cluster.requests.requests(id);
  assert.deepEqual(requests, []);
  assert.equal(volume.revisions.head, revision);
  assert.deepEqual(volume.head?.root, rootAt(2));
  assert.deepEqual(
    volume.snapshots.map((snapshot) => snapshot.root),
    [rootAt(2)],
  );
  const found = await cluster.snapshots.find("data", "s1");
  assert.equal(found.revision, revision);
  const all = await cluster.snapshot();
  assert.deepEqual(all.volumes.get(id)?.snapshots, [found.snapshot]);
});

it("snapshots in the metadata: a name that is taken, or a request that was withdrawn, commits nothing", async () => {
  const { cluster, id, name } = await openAttached();
  assert.notEqual(await name(snapshotOf("s1"), 2), null);
  assert.equal(await name(snapshotOf("s1"), 3), null);
  assert.deepEqual((await cluster.volumes.load(id)).head?.root, rootAt(2));
  await cluster.requests.ask(id, "t1", { ...asked, order: { ...order, name: "s2" } });
  const pending = (await cluster.requests.requests(id)).requests[0];
  await cluster.requests.withdraw(id, "t1");
  await cluster.requests.withdraw(id, "t1");
  const { revisions } = await cluster.volumes.load(id);
  const company = cluster.snapshots.naming(id, snapshotOf("s2"), pending);
  const { attachment } = await openAgain(cluster, id);
  const records = { head: headAt(4), logmap };
  assert.equal(await cluster.writers.commitHeadWith(attachment, records, revisions, company), null);
});

/** Another attach of the volume, by force. */
async function openAgain(cluster: Awaited<ReturnType<typeof openAttached>>["cluster"], id: number) {
  const request = { owner: "again", holder: "n2", leaseTtlMs: 10_000, force: true };
  return { attachment: await cluster.writers.attachWriter(id, request) };
}

it("snapshots in the metadata: a writer that was replaced adds none [C6, C23]", async () => {
  const { cluster, id, name, attachment } = await openAttached();
  await openAgain(cluster, id);
  await assert.rejects(name(snapshotOf("late"), 2, attachment), is("fenced"));
  assert.deepEqual((await cluster.volumes.load(id)).snapshots, []);
});

for (const outcome of ["happened", "did not happen", "happens late"] as const) {
  it(`snapshots in the metadata: a commit that timed out and ${outcome} is recognized`, async () => {
    const { cluster, id, name, faults, clock } = await openAttached();
    await cluster.requests.ask(id, "t1", asked);
    faults.failNext(outcome);
    assert.notEqual(await clock.run(name(snapshotOf("s1", rootAt(2)), 2)), null);
    await faults.settleLate();
    const { volume, requests } = await cluster.requests.requests(id);
    assert.deepEqual([volume.snapshots.length, requests.length], [1, 0]);
  });

  it(`snapshots in the metadata: a deletion that timed out and ${outcome} deletes one snapshot`, async () => {
    const { cluster, id, name, faults, clock } = await openAttached();
    await name(snapshotOf("s1"), 2);
    await name(snapshotOf("s2"), 3);
    faults.failNext(outcome);
    assert.equal((await clock.run(cluster.snapshots.delete("data", "s1"))).name, "s1");
    await faults.settleLate();
    assert.deepEqual(
      (await cluster.volumes.load(id)).snapshots.map((snapshot) => snapshot.name),
      ["s2"],
    );
    await assert.rejects(cluster.snapshots.delete("data", "s1"), is("not-found"));
  });
}

it("snapshots in the metadata: the writer's refusal is read by who asked, and outlives a second one", async () => {
  const { cluster, id } = await openAttached();
  const { TorusError } = await import("#model");
  await cluster.requests.ask(id, "t1", asked);
  const pending = (await cluster.requests.requests(id)).requests[0];
  await cluster.requests.refuse(id, pending, new TorusError("full", `no space${"!".repeat(3000)}`));
  await cluster.requests.refuse(id, pending, new TorusError("io", "too late"));
  const { refusal } = (await cluster.requests.requests(id)).requests[0].request;
  assert.equal(refusal?.code, "full");
  assert.equal(refusal?.message.length, 1024);
  assert.equal(await cluster.requests.ask(99, "t1", asked), false);
});

it("snapshots in the metadata: a request that is late in a deletion leaves nothing behind", async () => {
  const { cluster, connect, state, id, clock } = await openAttached();
  const transact = state.transact.bind(state);
  const late: boolean[] = [];
  let ask: () => boolean = () => false;
  state.transact = (guards, changes) => {
    if (changes.some(({ key }) => key.includes("/requests/"))) {
      // The request is on its way, and arrives before each step of the deletion.
      ask = () => transact(guards, changes).committed;
      return { committed: false, revision: 0 };
    }
    if (changes.some(({ key }) => key.startsWith("tombstones/"))) late.push(ask());
    return transact(guards, changes);
  };
  const asking = connect().requests.ask(id, "t1", asked);
  await cluster.volumes.delete("data", byForce);
  assert.equal(await clock.run(asking), false);
  assert.deepEqual(late, [false]);
  assert.deepEqual(state.read([{ prefix: "volumes/" }]).ranges[0], []);
});

it("clones in the metadata: begin as the snapshot, with nothing to replay, and say whose blocks they name", async () => {
  const { cluster, id, name } = await openAttached();
  await name(snapshotOf("s1", rootAt(2)), 2);
  const spec = await cluster.clones.create({ volume: "data", snapshot: "s1", name: "copy", ...plain });
  const clone = await cluster.volumes.find("copy");
  assert.deepEqual(clone.head?.root, rootAt(2));
  assert.equal(clone.head?.epoch, 0);
  assert.equal(clone.logmap, null);
  assert.deepEqual(clone.origin, { volume: id, name: "data", snapshot: "s1", bases: [id] });
  assert.equal(spec.sizeBytes, 2 ** 30);
  const all = await cluster.snapshot();
  assert.deepEqual(
    volumesNaming(all.volumes.values(), id).map((state) => state.spec.name),
    ["data", "copy"],
  );
  const request = { volume: "data", snapshot: "s1", name: "copy", ...plain };
  await assert.rejects(cluster.clones.create(request), is("already-exists"));
  await assert.rejects(cluster.clones.create({ ...request, name: "x", snapshot: "s9" }), is("not-found"));
  await assert.rejects(
    cluster.clones.create({ ...request, name: "x", sizeBytes: 4096 }),
    is("invalid-argument"),
  );
  assert.equal(
    (await cluster.clones.create({ ...request, name: "x", sizeBytes: 2 ** 31 })).sizeBytes,
    2 ** 31,
  );
});

it("clones in the metadata: a snapshot that goes while it is cloned is not cloned [C6]", async () => {
  const { cluster, connect, state, id, name } = await openAttached();
  await name(snapshotOf("s1"), 2);
  const other = connect();
  const transact = state.transact.bind(state);
  let once = true;
  state.transact = (guards, changes) => {
    const isClone = changes.some((change) => change.key.endsWith("/origin"));
    if (isClone && once) {
      once = false;
      transact([], [{ kind: "delete", key: snapshotKey(id, "s1") }]);
    }
    return transact(guards, changes);
  };
  const request = { volume: "data", snapshot: "s1", name: "copy", ...plain };
  await assert.rejects(other.clones.create(request), is("not-found"));
  await assert.rejects(cluster.volumes.find("copy"), is("not-found"));
});

it("clones in the metadata: a base is not deleted while a clone, or a clone's clone, needs its blocks", async () => {
  const { cluster, attachment, id, name, random } = await openAttached();
  await name(snapshotOf("s1"), 2);
  await cluster.writers.detachWriter(attachment);
  const { id: copyId } = await cluster.clones.create({
    volume: "data",
    snapshot: "s1",
    name: "copy",
    ...plain,
  });
  const owner = random.uuid();
  const writer = await cluster.writers.attachWriter(copyId, {
    owner,
    holder: "n1",
    leaseTtlMs: 10_000,
    force: false,
  });
  const { revisions } = await cluster.volumes.find("copy");
  const company = cluster.snapshots.naming(copyId, snapshotOf("own"), null);
  await cluster.writers.commitHeadWith(writer, { head: headAt(1), logmap }, revisions, company);
  await cluster.clones.create({ volume: "copy", snapshot: "own", name: "third", ...plain });
  assert.deepEqual((await cluster.volumes.find("third")).origin?.bases, [copyId, id]);
  await assert.rejects(
    cluster.volumes.delete("data", byForce),
    /clones need blocks of volume "data" \(copy, third\)/,
  );
  // The clone has all of its blocks itself now; its clone has not.
  await cluster.clones.narrow(writer, []);
  await cluster.clones.narrow(writer, []);
  assert.equal((await cluster.volumes.find("copy")).origin, null);
  await assert.rejects(cluster.volumes.delete("data", byForce), /"data" \(third\)/);
  await assert.rejects(cluster.volumes.delete("copy", byForce), is("busy"));
  await cluster.volumes.delete("third", noFence);
  await cluster.volumes.delete("copy", byForce);
  await assert.rejects(cluster.volumes.delete("data", noFence), /has snapshots \(s1\)/);
  await cluster.volumes.delete("data", { ...noFence, snapshots: true });
});

it("clones in the metadata: one that comes while its base is being deleted stops the deletion", async () => {
  const { cluster, connect, attachment, name } = await openAttached();
  await name(snapshotOf("s1"), 2);
  await cluster.writers.detachWriter(attachment);
  const fence = async () => {
    await connect().clones.create({ volume: "data", snapshot: "s1", name: "copy", ...plain });
  };
  await assert.rejects(cluster.volumes.delete("data", { force: true, fence }), is("busy"));
  assert.equal((await cluster.volumes.find("data")).snapshots.length, 1);
});

it("volumes in the metadata: one with more snapshots than a transaction takes is deleted whole", async () => {
  const { cluster, state, attachment, id, name } = await openAttached();
  for (let i = 0; i < 256; i++) await name(snapshotOf(`s${i}`), 2 + i);
  await cluster.writers.detachWriter(attachment);
  await cluster.volumes.delete("data", { ...noFence, snapshots: true });
  assert.deepEqual(state.read([{ prefix: "volumes/" }]).ranges[0], []);
  assert.equal((await cluster.volumes.tombstones())[0].id, id);
});

it("snapshots in the metadata: a renewal does not read them", async () => {
  const { cluster, faults, attachment, id } = await openAttached();
  const read: string[] = [];
  const inner = faults.read.bind(faults);
  faults.read = (ranges) => {
    for (const range of ranges) read.push("key" in range ? range.key : `${range.prefix}*`);
    return inner(ranges);
  };
  await cluster.writers.renewWriter(attachment);
  assert.ok(read.includes(volumeKey(id, "writer")));
  assert.ok(read.every((key) => !key.endsWith("*")));
});
