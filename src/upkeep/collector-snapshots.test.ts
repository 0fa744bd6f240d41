// The collector and what keeps INodes besides heads: snapshots, clones and their chains hold the blocks they name, of whatever volume, and
// nothing else does.

import assert from "node:assert/strict";
import { it } from "node:test";
import type { TestClient } from "../volume/cluster.fixture.ts";
import { CollectedCluster } from "./collected-cluster.fixture.ts";

const pages = 60;
const same = { sizeBytes: null, acknowledge: null, minReplicas: null };

/** Volume "a", written and kept as snapshot s1, and written again. */
async function withSnapshot(): Promise<{ at: CollectedCluster; operator: TestClient }> {
  const at = await CollectedCluster.open();
  await at.cluster.createVolume("a", 2 ** 26);
  await at.overwrite("a", pages, 1);
  const operator = await at.cluster.client();
  await take(operator, "a", "s1");
  await at.overwrite("a", pages, 2);
  return { at, operator };
}

function take({ volumes }: TestClient, volume: string, name: string) {
  return volumes.takeSnapshot({ volume, name, labels: {}, timeoutMs: 5000 });
}

it("collector: a snapshot keeps its blocks while the volume is overwritten; when it goes, so do they", async () => {
  const { at, operator } = await withSnapshot();
  for (let i = 3; i < 6; i++) await at.overwrite("a", pages, i);
  await at.settle();
  await at.audit(2);
  await at.requireContent("a@s1", pages, 1);
  await at.metadata.snapshots.delete("a", "s1");
  const before = await at.count();
  await at.settle();
  assert.ok((await at.count()) < before);
  await at.audit(2);
  await at.requireContent("a", pages, 5);
  await operator.close();
});

it("collector [C6]: a clone keeps its base's blocks after the snapshot is gone, attached or not", async () => {
  const { at, operator } = await withSnapshot();
  await at.metadata.clones.create({ volume: "a", snapshot: "s1", name: "copy", ...same });
  await at.metadata.snapshots.delete("a", "s1");
  await at.settle();
  await at.requireContent("copy", pages, 1);
  await at.settle();
  await at.requireContent("copy", pages, 1);
  await at.overwrite("copy", pages, 7);
  await at.settle();
  await at.requireContent("a", pages, 2);
  await at.requireContent("copy", pages, 7);
  await operator.close();
});

it("collector [C23]: a volume that is put back keeps the old blocks, and what it was only as long as that is kept", async () => {
  const { at, operator } = await withSnapshot();
  const { kept } = await operator.volumes.restoreSnapshot({ volume: "a", snapshot: "s1", force: false });
  await at.settle();
  await at.requireContent("a", pages, 1);
  await at.settle();
  await at.requireContent(`a@${kept.name}`, pages, 2);
  await at.metadata.snapshots.delete("a", kept.name);
  await at.settle();
  await at.metadata.snapshots.delete("a", "s1");
  await at.settle();
  await at.requireContent("a", pages, 1);
  await operator.close();
});

it("collector: a clone that was flattened outlives its base; one that was not keeps it from being deleted", async () => {
  const { at, operator } = await withSnapshot();
  await at.metadata.clones.create({ volume: "a", snapshot: "s1", name: "copy", ...same });
  await at.metadata.snapshots.delete("a", "s1");
  await assert.rejects(at.delete("a"), /clones need blocks of volume "a" \(copy\)/);
  const attached = await operator.volumes.attachNow("copy", { force: false });
  await attached.orders.flatten(() => {});
  await attached.close();
  await at.settle();
  await at.delete("a");
  await at.settle();
  for (const { ref } of [...(await at.blocks()).values()].flat()) assert.notEqual(ref.volume, 1);
  await at.requireContent("copy", pages, 1);
  await operator.close();
});
