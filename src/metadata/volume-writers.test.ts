// Volumes and their writers in the metadata: ids, deletion, epochs, fencing, leases.

import assert from "node:assert/strict";
import { it } from "node:test";
import { type ErrorCode, isTorusError, TorusError } from "#model";
import { openFixture } from "./cluster.fixture.ts";
import { LeaseKeeper } from "./lease-keeper.ts";
import { quietLog } from "./quiet-log.fixture.ts";
import type { HeadRecord, LogMapRecord } from "./records.ts";
import type { AttachRequest, WriterAttachment } from "./volume-writers.ts";

const is =
  (...codes: ErrorCode[]) =>
  (error: unknown) =>
    isTorusError(error, ...codes);
const logmap: LogMapRecord = {
  epoch: 1,
  rows: [{ fromIndex: 1, ringVersion: 1, replicas: 3, without: [] }],
  struck: [],
};
const head: HeadRecord = {
  epoch: 1,
  root: null,
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
};
const noFence = { force: false, fence: async () => {} };

async function openVolume() {
  const fixture = openFixture();
  const { cluster, random } = fixture;
  await cluster.init({
    blockBytes: 2 ** 20,
    ring: { version: 1, type: "rendezvous", replicas: 3, members: [] },
  });
  const request = { name: "data", sizeBytes: 2 ** 30, acknowledge: "replicated", minReplicas: 2 } as const;
  const { id } = await cluster.volumes.create(request);
  const ask = (force = false, holder = "n1"): AttachRequest => ({
    owner: random.uuid(),
    holder,
    leaseTtlMs: 10_000,
    force,
  });
  return { ...fixture, id, ask };
}

it("volumes in the metadata: ids are minted once: never reused after a deletion", async () => {
  const { cluster, id } = await openVolume();
  await cluster.volumes.delete("data", noFence);
  const request = { name: "data", sizeBytes: 4096, acknowledge: "writeback", minReplicas: 1 } as const;
  assert.equal((await cluster.volumes.create(request)).id, id + 1);
  await assert.rejects(cluster.volumes.create(request), is("already-exists"));
  await assert.rejects(cluster.volumes.find("other"), is("not-found"));
  await assert.rejects(cluster.volumes.load(id), is("not-found"));
  assert.equal((await cluster.volumes.find("data")).spec.acknowledge, "writeback");
});

it("volumes in the metadata: names, sizes and replica counts that cannot be are refused", async () => {
  const { cluster } = await openVolume();
  const good = { name: "x", sizeBytes: 4096, acknowledge: "replicated", minReplicas: 2 } as const;
  for (const sizeBytes of [0, -4096, 1, 4097, 2 ** 49, Number.NaN, 0.5]) {
    await assert.rejects(cluster.volumes.create({ ...good, sizeBytes }), is("invalid-argument"));
  }
  await assert.rejects(cluster.volumes.create({ ...good, name: "a/b" }), is("invalid-argument"));
  await assert.rejects(cluster.volumes.create({ ...good, minReplicas: 0 }), is("invalid-argument"));
});

it("volumes in the metadata: many creators at once get different ids", async () => {
  const { connect, clock } = await openVolume();
  const creations = Array.from({ length: 20 }, (_, index) =>
    connect().volumes.create({
      name: `v${index}`,
      sizeBytes: 4096,
      acknowledge: "replicated",
      minReplicas: 1,
    }),
  );
  const specs = await clock.run(Promise.all(creations));
  assert.equal(new Set(specs.map((spec) => spec.id)).size, 20);
});

it("volumes in the metadata: deleting volume 2 leaves 20..2f alone", async () => {
  const { cluster } = await openVolume();
  for (let id = 2; id <= 0x2f; id++) {
    await cluster.volumes.create({
      name: `v${id}`,
      sizeBytes: 4096,
      acknowledge: "replicated",
      minReplicas: 1,
    });
  }
  const deleted = await cluster.volumes.delete("v2", noFence);
  assert.equal(deleted.id, 2);
  const left = (await cluster.volumes.list()).volumes.map((state) => state.spec.id);
  assert.deepEqual(
    left.sort((a, b) => a - b),
    [1, ...Array.from({ length: 0x2d }, (_, index) => index + 3)],
  );
  for (let id = 0x20; id <= 0x2f; id++) assert.equal((await cluster.volumes.load(id)).spec.name, `v${id}`);
});

it("volumes in the metadata: deletion: refused while attached, forced it raises the epoch, fences, then buries [C25]", async () => {
  const { cluster, id, ask } = await openVolume();
  const attachment = await cluster.writers.attachWriter(id, ask(false, "n7 (pid 4)"));
  await assert.rejects(
    cluster.volumes.delete("data", noFence),
    (error) => error instanceof TorusError && error.code === "busy" && error.message.includes("n7 (pid 4)"),
  );
  const seen: unknown[] = [];
  const fence = async () => {
    const state = await cluster.volumes.load(id);
    seen.push(state.writer.epoch, state.lease);
    await assert.rejects(cluster.writers.commitLogmap(attachment, logmap, 0), is("fenced"));
  };
  const tombstone = await cluster.volumes.delete("data", { force: true, fence });
  assert.deepEqual(seen, [2, null]);
  assert.equal(tombstone.epoch, 2);
  await assert.rejects(cluster.writers.commitLogmap(attachment, logmap, 0), is("fenced"));
  await cluster.volumes.removeTombstone(id);
  await cluster.volumes.removeTombstone(id);
  assert.deepEqual(await cluster.volumes.tombstones(), []);
});

it("volumes in the metadata: deletion: a peer that cannot be fenced, or an attach in between, leaves the volume; it can be repeated", async () => {
  const { cluster, id, ask } = await openVolume();
  const silent = () => Promise.reject(new TorusError("unavailable", "peer a is silent"));
  await assert.rejects(cluster.volumes.delete("data", { force: false, fence: silent }), is("unavailable"));
  let attachment: WriterAttachment | null = null;
  const fence = async () => {
    attachment = await cluster.writers.attachWriter(id, ask());
  };
  await assert.rejects(cluster.volumes.delete("data", { force: false, fence }), is("busy"));
  assert.ok(attachment);
  await cluster.writers.detachWriter(attachment);
  assert.equal((await cluster.volumes.delete("data", noFence)).epoch, 4);
});

it("writers in the metadata: each attach takes the next epoch, for ever [C7]", async () => {
  const { cluster, id, ask } = await openVolume();
  for (let epoch = 1; epoch <= 3; epoch++) {
    const attachment = await cluster.writers.attachWriter(id, ask());
    assert.equal(attachment.epoch, epoch);
    const state = await cluster.writers.loadAttached(attachment);
    assert.deepEqual(state.writer, { epoch, owner: attachment.owner });
    await cluster.writers.detachWriter(attachment);
    await cluster.writers.detachWriter(attachment);
    const { writer, lease } = await cluster.volumes.load(id);
    assert.deepEqual([writer, lease], [{ epoch, owner: "" }, null]);
  }
});

it("writers in the metadata: a live lease is refused by name, force takes it over, an expired one is free", async () => {
  const { cluster, id, ask, clock } = await openVolume();
  const first = await cluster.writers.attachWriter(id, ask(false, "n1 (pid 1)"));
  await assert.rejects(
    cluster.writers.attachWriter(id, ask()),
    (error) => error instanceof TorusError && error.details.holder === "n1 (pid 1)",
  );
  const second = await cluster.writers.attachWriter(id, ask(true));
  assert.equal(second.epoch, 2);
  await assert.rejects(cluster.writers.renewWriter(first), is("fenced"));
  await assert.rejects(cluster.writers.detachWriter(first), is("fenced"));
  await clock.advance(10_001);
  assert.equal((await cluster.writers.attachWriter(id, ask())).epoch, 3);
});

it("writers in the metadata: the epoch outlives the lease: what is committed is guarded by the epoch alone", async () => {
  const { cluster, id, ask, clock } = await openVolume();
  const attachment = await cluster.writers.attachWriter(id, ask());
  await clock.advance(60_000);
  const revision = await cluster.writers.commitHead(attachment, { head, logmap }, { head: 0, logmap: 0 });
  const state = await cluster.volumes.load(id);
  assert.deepEqual(
    [state.lease, state.writer.epoch, state.revisions.head, state.revisions.logmap],
    [null, 1, revision, revision],
  );
  assert.deepEqual([state.head, state.logmap], [head, logmap]);
});

it("writers in the metadata: a writer that was replaced commits nothing", async () => {
  const { cluster, id, ask } = await openVolume();
  const first = await cluster.writers.attachWriter(id, ask());
  const second = await cluster.writers.attachWriter(id, ask(true));
  await assert.rejects(
    cluster.writers.commitHead(first, { head, logmap }, { head: 0, logmap: 0 }),
    is("fenced"),
  );
  await assert.rejects(cluster.writers.setStatus(first, { condition: "x", updatedMs: 1 }), is("fenced"));
  const revision = await cluster.writers.commitLogmap(second, logmap, 0);
  await assert.rejects(cluster.writers.commitLogmap(second, { ...logmap, epoch: 2 }, 0), is("conflict"));
  assert.equal(
    await cluster.writers.commitLogmap(second, logmap, 0),
    revision,
    "again with the same value: its own",
  );
  await cluster.writers.commitLogmap(second, { ...logmap, epoch: 2 }, revision);
});

it("writers in the metadata: of many that attach at once with force, each has an epoch of its own and the last one holds", async () => {
  const { id, ask, connect, clock } = await openVolume();
  const clusters = Array.from({ length: 8 }, connect);
  const attached = await clock.run(
    Promise.all(clusters.map(({ writers }) => writers.attachWriter(id, ask(true)))),
  );
  assert.deepEqual(attached.map(({ epoch }) => epoch).sort(), [1, 2, 3, 4, 5, 6, 7, 8]);
  for (const [index, { writers }] of clusters.entries()) {
    const attempt = writers.commitLogmap(attached[index], logmap, 0);
    if (attached[index].epoch === 8) await attempt;
    else await assert.rejects(attempt, is("fenced"));
  }
});

it("writers in the metadata: the status goes with the lease", async () => {
  const { cluster, id, ask, clock } = await openVolume();
  const attachment = await cluster.writers.attachWriter(id, ask());
  await cluster.writers.setStatus(attachment, { condition: "waits for peers", updatedMs: 1 });
  assert.equal((await cluster.volumes.load(id)).status?.condition, "waits for peers");
  await clock.advance(10_001);
  assert.equal((await cluster.volumes.load(id)).status, null);
  await assert.rejects(
    cluster.writers.setStatus(attachment, { condition: "", updatedMs: 1 }),
    is("unavailable"),
  );
});

for (const outcome of ["happened", "did not happen", "happens late"] as const) {
  it(`writers in the metadata: attach, commit, detach: one that timed out and ${outcome} is read back [C25]`, async () => {
    const { cluster, id, ask, clock, faults } = await openVolume();
    faults.failNext(outcome);
    const attachment = await clock.run(cluster.writers.attachWriter(id, ask()));
    assert.equal(attachment.epoch, 1, "not two epochs for one attach");
    faults.failNext(outcome);
    const first = await clock.run(
      cluster.writers.commitHead(attachment, { head, logmap }, { head: 0, logmap: 0 }),
    );
    assert.equal((await cluster.volumes.load(id)).revisions.head, first);
    faults.failNext(outcome);
    const next = { ...logmap, struck: [{ peer: "a", fromIndex: 1, toIndex: 2 }] };
    const second = await clock.run(cluster.writers.commitLogmap(attachment, next, first));
    await faults.settleLate();
    assert.deepEqual((await cluster.volumes.load(id)).logmap, next);
    assert.equal((await cluster.volumes.load(id)).revisions.logmap, second);
    faults.failNext(outcome);
    await clock.run(cluster.writers.detachWriter(attachment));
    await faults.settleLate();
    assert.deepEqual((await cluster.volumes.load(id)).writer, { epoch: 1, owner: "" });
  });
}

it("writers in the metadata: an owner used before does not make an attach believe an epoch of old is its own", async () => {
  const { cluster, id, ask, clock, faults } = await openVolume();
  const request = ask();
  const first = await cluster.writers.attachWriter(id, request);
  faults.failNext("did not happen");
  const second = await clock.run(cluster.writers.attachWriter(id, { ...request, force: true }));
  assert.deepEqual([first.epoch, second.epoch], [1, 2]);
});

async function keep() {
  const fixture = await openVolume();
  const { cluster, id, ask, clock } = fixture;
  const attachment = await cluster.writers.attachWriter(id, ask());
  const heard: string[] = [];
  const keeper = new LeaseKeeper(attachment, {
    writers: cluster.writers,
    clock,
    log: quietLog,
    onHold: () => heard.push("hold"),
    onResume: () => heard.push("resume"),
    onLost: (reason) => heard.push(`lost: ${reason}`),
  });
  return { ...fixture, attachment, keeper, heard };
}

it("lease keeper: keeps the lease for as long as it runs, with a renewal each third of it", async () => {
  const { cluster, id, clock, keeper, heard, faults, ask } = await keep();
  await clock.advance(100_000);
  assert.deepEqual(heard, []);
  assert.ok(keeper.mayServe());
  assert.ok(faults.renewals >= 25 && faults.renewals <= 31, `${faults.renewals}`);
  assert.notEqual((await cluster.volumes.load(id)).lease, null);
  keeper.close();
  await clock.advance(11_000);
  assert.equal((await cluster.writers.attachWriter(id, ask())).epoch, 2);
  assert.deepEqual(heard, []);
});

it("lease keeper: an outage shorter than the lease is not noticed", async () => {
  const { clock, faults, heard, keeper } = await keep();
  faults.away = true;
  await clock.advance(6000);
  faults.away = false;
  await clock.advance(30_000);
  assert.deepEqual(heard, []);
  keeper.close();
});

it("lease keeper: an outage longer than the lease holds requests, and they go on under a new lease of the same epoch [C24]", async () => {
  const { cluster, clock, faults, heard, keeper, attachment, id } = await keep();
  faults.away = true;
  await clock.advance(7900);
  assert.deepEqual(heard, []);
  await clock.advance(200);
  assert.deepEqual(heard, ["hold"]);
  assert.ok(!keeper.mayServe());
  await clock.advance(600_000);
  faults.away = false;
  await clock.advance(2000);
  assert.deepEqual(heard, ["hold", "resume"]);
  assert.ok(keeper.mayServe());
  assert.notEqual(keeper.attachment.lease, attachment.lease);
  assert.equal((await cluster.volumes.load(id)).lease?.epoch, 1);
  await cluster.writers.setStatus(keeper.attachment, { condition: "", updatedMs: 1 });
  keeper.close();
});

it("lease keeper: another writer during the outage ends the attachment", async () => {
  const { clock, faults, heard, connect, id, ask } = await keep();
  faults.away = true;
  await clock.advance(20_000);
  await connect().writers.attachWriter(id, ask(false, "n2 (pid 9)"));
  faults.away = false;
  await clock.advance(2000);
  assert.equal(heard.length, 2);
  assert.match(heard[1], /^lost: volume "data" was taken over by n2 \(pid 9\): epoch 2 is in force/);
  await clock.advance(60_000);
  assert.equal(heard.length, 2);
});

it("lease keeper: a forced take-over is noticed at the next renewal", async () => {
  const { clock, heard, connect, id, ask } = await keep();
  await connect().writers.attachWriter(id, ask(true));
  await clock.advance(3500);
  assert.match(heard.join(), /^lost/);
});

it("lease keeper: a suspend longer than the lease holds until a renewal is answered", async () => {
  const { clock, heard, keeper } = await keep();
  clock.jumpWall(3_600_000);
  assert.ok(!keeper.mayServe(), "before any timer");
  await clock.advance(1100);
  assert.deepEqual(heard, ["hold", "resume"]);
  assert.ok(keeper.mayServe());
  keeper.close();
});
