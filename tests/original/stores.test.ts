// The defects of the original Torus in its storage nodes, each as the test it never had. The names are those of the list in
// docs/original.md.

import assert from "node:assert/strict";
import { test } from "node:test";
import { crc32, isTorusError, pageBytes } from "#model";
import { dataRef, openOn, testBlockBytes, testDrive } from "../../src/storage/disk-store.fixture.ts";
import { sampleBlock } from "../../src/storage/record.fixture.ts";

test("D7: a put that was cut short leaves no block behind, and its retry keeps the good bytes", async () => {
  const drive = testDrive();
  const { store } = await openOn(drive.mount());
  const ref = dataRef(1);
  const good = new Uint8Array(16 * pageBytes).map((_, i) => (i * 7) & 255);
  const torn = good.slice(0, 3 * pageBytes);
  await assert.rejects(store.put(ref, torn, crc32(good), "write"), (error) => isTorusError(error, "corrupt"));
  assert.equal((await store.stat([ref]))[0].state, "absent");
  // The power fails in the middle of the next attempt.
  const unfinished = store.put(ref, good, crc32(good), "write");
  unfinished.catch(() => {});
  drive.cutPower();
  const again = await openOn(drive.mount(), {}, 2);
  const [status] = await again.store.stat([ref]);
  assert.ok(status.state === "absent" || status.checksum === crc32(good), `a torn block is ${status.state}`);
  await again.store.put(ref, good, crc32(good), "write");
  assert.deepEqual(Buffer.from(await again.store.read(ref, 0, good.length)), Buffer.from(good));
  await again.store.close();
});

test("D9: the same block sent again takes no more space", async () => {
  const { store } = await openOn(testDrive().mount());
  const bytes = new Uint8Array(8 * pageBytes).fill(3);
  await store.put(dataRef(1), bytes, crc32(bytes), "write");
  const opened = sampleBlock(dataRef(2), 3);
  await store.append(dataRef(2), 0, opened.bytes, testBlockBytes);
  const before = await store.usage();
  for (let i = 0; i < 20; i++) {
    await store.put(dataRef(1), bytes, crc32(bytes), i % 2 === 0 ? "write" : "repair");
    await store.append(dataRef(2), 0, opened.bytes, testBlockBytes);
  }
  assert.deepEqual(await store.usage(), before);
  await store.close();
});
