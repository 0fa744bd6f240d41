// MemoryDevice passes the suite of every BlockDevice, is sparse, and fails when told to.

import assert from "node:assert/strict";
import { test } from "node:test";
import { isTorusError, TorusError } from "#model";
import { blockDeviceSuite } from "./device-suite.ts";
import { MemoryDevice } from "./memory-device.ts";

blockDeviceSuite("MemoryDevice", async (sizeBytes) => {
  const device = new MemoryDevice({ name: "memory", sizeBytes });
  return { device, takeSnapshot: async (name) => device.takeSnapshot(name), close: async () => {} };
});

test("a large device holds memory only for what was written, and gives it back", async () => {
  const device = new MemoryDevice({ name: "sparse", sizeBytes: 2 ** 48 });
  await device.write(2 ** 47 + 1, new Uint8Array(4096), false);
  await device.write(12, new Uint8Array(10), false);
  assert.ok(device.heldBytes <= 256 * 1024);
  await device.trim(0, 2 ** 48, false);
  assert.equal(device.heldBytes, 0);
});

test("a read-only device refuses what would change it", async () => {
  const device = new MemoryDevice({ name: "fixed", sizeBytes: 8192, readOnly: true });
  const refused = (error: unknown) => isTorusError(error, "invalid-argument");
  await assert.rejects(device.write(0, new Uint8Array(1), false), refused);
  await assert.rejects(device.trim(0, 4096, false), refused);
  await assert.rejects(device.writeZeroes(0, 4096, false), refused);
  assert.equal((await device.read(0, 8192)).length, 8192);
});

test("a device told to fail fails every request", async () => {
  const device = new MemoryDevice({ name: "broken", sizeBytes: 8192 });
  device.failure = new TorusError("attachment-lost", "attach anew");
  const lost = (error: unknown) => isTorusError(error, "attachment-lost");
  await assert.rejects(device.read(0, 1), lost);
  await assert.rejects(device.write(0, new Uint8Array(1), false), lost);
  await assert.rejects(device.flush(), lost);
});
