// What the metadata knows of clients that outlive their writer, and of those that were cut off [C2].

import assert from "node:assert/strict";
import { it } from "node:test";
import { isTorusError } from "#model";
import { openFixture } from "./cluster.fixture.ts";
import type { ClientsRecord, CutRecord, HeadRecord, LogMapRecord } from "./records.ts";

const rows = [{ fromIndex: 1, ringVersion: 1, replicas: 3, without: [] }];
const logmap: LogMapRecord = { epoch: 1, rows, struck: [] };
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
const records = { head, logmap };
const unread = { head: 0, logmap: 0 };
const clients: ClientsRecord = { epoch: 1, holder: "n1", boot: { machine: "m", id: "b" } };
const cut: CutRecord = { epoch: 1, atMs: 5, previousHolder: "n0" };

async function attached() {
  const fixture = openFixture();
  const { cluster, random } = fixture;
  const ring = { version: 1, type: "rendezvous", replicas: 3, members: [] } as const;
  await cluster.init({ blockBytes: 2 ** 20, ring });
  const request = { name: "data", sizeBytes: 2 ** 30, acknowledge: "replicated", minReplicas: 2 } as const;
  const { id } = await cluster.volumes.create(request);
  const attach = (force = false) =>
    cluster.writers.attachWriter(id, { owner: random.uuid(), holder: "n1", leaseTtlMs: 10_000, force });
  return { ...fixture, id, attach };
}

it("sessions in the metadata: clients come with the first head, outlive the lease, and go when all they were told is kept", async () => {
  const { cluster, id, attach, clock } = await attached();
  const first = await attach();
  assert.equal((await cluster.volumes.load(id)).clients, null);
  await cluster.writers.commitHead(first, records, unread, { clients, cut: null });
  await clock.advance(10_001);
  assert.deepEqual((await cluster.volumes.load(id)).clients, clients);
  await cluster.writers.detachWriter(first);
  assert.deepEqual((await cluster.volumes.load(id)).clients, clients, "not all was kept");
  const second = await attach();
  await cluster.writers.detachWriter(second, true);
  await cluster.writers.detachWriter(second, true);
  assert.equal((await cluster.volumes.load(id)).clients, null);
});

it("sessions in the metadata: an attach without clients takes those of before off the record, and leaves a cut", async () => {
  const { cluster, id, attach } = await attached();
  const first = await attach();
  await cluster.writers.commitHead(first, records, unread, { clients, cut });
  const second = await attach(true);
  const { revisions } = await cluster.volumes.load(id);
  await cluster.writers.commitHead(second, records, revisions, { clients: null, cut: null });
  const state = await cluster.volumes.load(id);
  assert.deepEqual([state.clients, state.cut], [null, cut]);
  await cluster.volumes.delete("data", { force: true, fence: async () => {} });
  await assert.rejects(cluster.volumes.load(id), (error) => isTorusError(error, "not-found"));
});

it("sessions in the metadata: a replaced writer changes nothing of them", async () => {
  const { cluster, id, attach } = await attached();
  const first = await attach();
  await attach(true);
  const late = cluster.writers.commitHead(first, records, unread, { clients, cut });
  await assert.rejects(late, (error) => isTorusError(error, "fenced"));
  const { clients: found, cut: foundCut } = await cluster.volumes.load(id);
  assert.deepEqual([found, foundCut], [null, null]);
});

for (const outcome of ["happened", "did not happen", "happens late"] as const) {
  it(`sessions in the metadata: committing and accepting that timed out and ${outcome} is read back [C25]`, async () => {
    const { cluster, id, attach, clock, faults } = await attached();
    const first = await attach();
    faults.failNext(outcome);
    await clock.run(cluster.writers.commitHead(first, records, unread, { clients, cut }));
    await faults.settleLate();
    const state = await cluster.volumes.load(id);
    assert.deepEqual([state.clients, state.cut], [clients, cut]);
    faults.failNext(outcome);
    await clock.run(cluster.volumes.acceptLoss(state, cut));
    await faults.settleLate();
    assert.equal((await cluster.volumes.load(id)).cut, null);
  });
}

it("sessions in the metadata: only the loss that was seen is accepted", async () => {
  const { cluster, id, attach } = await attached();
  await cluster.writers.commitHead(await attach(), records, unread, { clients, cut });
  const state = await cluster.volumes.load(id);
  await assert.rejects(cluster.volumes.acceptLoss(state, { ...cut, atMs: 4 }), (error) =>
    isTorusError(error, "conflict"),
  );
  await cluster.volumes.acceptLoss(state, cut);
  await cluster.volumes.acceptLoss(state, cut);
  assert.equal((await cluster.volumes.load(id)).cut, null);
});
