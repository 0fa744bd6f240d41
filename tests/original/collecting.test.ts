// The defect of the original Torus that deleted whole nodes, as the test it never had. The names are those of the list in
// docs/original.md.

import assert from "node:assert/strict";
import { test } from "node:test";
import { TorusError } from "#model";
import { CollectedCluster, running } from "../../src/upkeep/collected-cluster.fixture.ts";

test("D1: a read of the metadata that fails, again and again, deletes nothing", async () => {
  const at = await CollectedCluster.open();
  await at.cluster.createVolume("a", 2 ** 26);
  await at.overwrite("a", 60, 1);
  await at.overwrite("a", 60, 2);
  const before = await at.count();
  const { snapshot } = at.metadata;
  const failures = [
    () => Promise.reject(new TorusError("unavailable", "the metadata service is away")),
    () => Promise.reject(new TorusError("corrupt", "half of it cannot be decoded")),
  ];
  for (const failure of failures) {
    at.metadata.snapshot = failure;
    for (let pass = 0; pass < 3; pass++)
      for (const collector of at.collectors) await collector.pass(running).catch(() => {});
    assert.equal(await at.count(), before);
  }
  at.metadata.snapshot = snapshot;
  await at.settle();
  assert.ok((await at.count()) < before, "what is dead goes once the metadata can be read");
  await at.audit(2);
  await at.requireContent("a", 60, 2);
});
