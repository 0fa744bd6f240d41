// Store suite: what appends and seals promise.

import assert from "node:assert/strict";
import { crc32, pageBytes } from "#model";
import { sampleBlock, samplePage, sampleRecord } from "./record.fixture.ts";
import type { Case } from "./store-suite-support.ts";
import { appendSample, record, refOf, rejects, statusOf, suiteCapacityBytes } from "./store-suite-support.ts";

export const appendCases: Record<string, Case> = {
  "appends in order are held, and durable after sync": async ({ store }) => {
    const ref = refOf(1);
    const block = sampleBlock(ref, 3);
    const first = await store.append(ref, 0, record(block, 0), suiteCapacityBytes);
    assert.equal(first.held, block.offsets[1]);
    assert.ok(first.durable <= first.held);
    const rest = await store.append(ref, block.offsets[1], record(block, 1, 3), suiteCapacityBytes);
    assert.equal(rest.held, block.offsets[3]);
    assert.deepEqual(await store.sync([ref, refOf(99)]), [
      { held: block.offsets[3], durable: block.offsets[3] },
      { held: 0, durable: 0 },
    ]);
    assert.deepEqual(await statusOf(store, ref), {
      ref,
      state: "open",
      held: block.bytes.length,
      durable: block.bytes.length,
      checksum: block.checksum,
      cut: false,
      damaged: false,
    });
    assert.deepEqual(Buffer.from(await store.read(ref, 0, block.bytes.length)), Buffer.from(block.bytes));
  },

  "appends made at once take effect in the order made": async ({ store }) => {
    const ref = refOf(1);
    const block = sampleBlock(ref, 16);
    const answers = await Promise.all(
      Array.from({ length: 16 }, (_, i) =>
        store.append(ref, block.offsets[i], record(block, i), suiteCapacityBytes),
      ),
    );
    for (const [i, answer] of answers.entries()) assert.ok(answer.held >= block.offsets[i + 1]);
    await store.seal(ref, block.bytes.length, block.checksum);
  },

  "a seal made right after appends covers them": async ({ store }) => {
    const ref = refOf(1);
    const block = sampleBlock(ref, 2);
    await Promise.all([
      store.append(ref, 0, record(block, 0), suiteCapacityBytes),
      store.append(ref, block.offsets[1], record(block, 1), suiteCapacityBytes),
      store.seal(ref, block.bytes.length, block.checksum),
    ]);
    assert.equal((await statusOf(store, ref)).state, "sealed");
  },

  "an append beyond what is held is refused and told where to go on": async ({ store }) => {
    const ref = refOf(1);
    const block = sampleBlock(ref, 3);
    await rejects(store.append(ref, block.offsets[1], record(block, 1), suiteCapacityBytes), "out-of-order", {
      held: 0,
    });
    await store.append(ref, 0, record(block, 0), suiteCapacityBytes);
    await rejects(store.append(ref, block.offsets[2], record(block, 2), suiteCapacityBytes), "out-of-order", {
      held: block.offsets[1],
    });
    assert.equal((await statusOf(store, ref)).held, block.offsets[1]);
  },

  "an equal overlap is accepted and continued, another is refused": async ({ store }) => {
    const ref = refOf(1);
    const block = await appendSample(store, ref, 2);
    const more = sampleBlock(ref, 4);
    const again = await store.append(ref, 0, record(block, 0), suiteCapacityBytes);
    assert.equal(again.held, block.bytes.length);
    const longer = await store.append(ref, block.offsets[1], record(more, 1, 4), suiteCapacityBytes);
    assert.equal(longer.held, more.bytes.length);
    const other = sampleBlock(ref, 2, 1, 555);
    await rejects(store.append(ref, 0, record(other, 0), suiteCapacityBytes), "mismatch");
    await rejects(store.append(ref, 0, sampleBlock(ref, 5, 1, 555).bytes, suiteCapacityBytes), "mismatch");
    assert.deepEqual(Buffer.from(await store.read(ref, 0, more.bytes.length)), Buffer.from(more.bytes));
    assert.equal((await statusOf(store, ref)).checksum, more.checksum);
  },

  "records that do not verify are refused and leave nothing": async ({ store }) => {
    const ref = refOf(1);
    const block = sampleBlock(ref, 2);
    for (const at of [0, 60, 200, pageBytes + 17]) {
      const bytes = record(block, 0).slice();
      bytes[at] ^= 1;
      await rejects(store.append(ref, 0, bytes, suiteCapacityBytes), "corrupt");
    }
    await rejects(store.append(refOf(2), 0, record(block, 0), suiteCapacityBytes), "corrupt");
    await rejects(
      store.append(ref, 0, record(block, 0).subarray(0, pageBytes), suiteCapacityBytes),
      "corrupt",
    );
    await store.append(ref, 0, record(block, 0), suiteCapacityBytes);
    const unchained = sampleRecord(ref, 2, 12345, block.offsets[1], [samplePage(1)]);
    await rejects(store.append(ref, block.offsets[1], unchained.bytes, suiteCapacityBytes), "corrupt");
    assert.equal((await statusOf(store, ref)).held, block.offsets[1]);
    assert.equal((await statusOf(store, refOf(2))).state, "absent");
  },

  "an append of half pages or past the block's capacity is refused": async ({ store }) => {
    const ref = refOf(1);
    const block = sampleBlock(ref, 3);
    await rejects(
      store.append(ref, 0, record(block, 0).subarray(0, 5000), suiteCapacityBytes),
      "invalid-argument",
    );
    await rejects(store.append(ref, 0, new Uint8Array(0), suiteCapacityBytes), "invalid-argument");
    await rejects(store.append(ref, 100, record(block, 0), suiteCapacityBytes), "invalid-argument");
    await store.append(ref, 0, record(block, 0, 2), block.offsets[2]);
    await rejects(
      store.append(ref, block.offsets[2], record(block, 2), block.offsets[2]),
      "invalid-argument",
    );
    assert.equal((await statusOf(store, ref)).held, block.offsets[2]);
  },

  "nothing is appended to a sealed block; what it has is confirmed": async ({ store }) => {
    const ref = refOf(1);
    const block = await appendSample(store, ref, 2);
    await store.seal(ref, block.bytes.length, block.checksum);
    const progress = await store.append(ref, 0, record(block, 0), suiteCapacityBytes);
    assert.deepEqual(progress, { held: block.bytes.length, durable: block.bytes.length });
    const longer = sampleBlock(ref, 3);
    await rejects(store.append(ref, block.offsets[2], record(longer, 2), suiteCapacityBytes), "mismatch");
    assert.equal((await statusOf(store, ref)).held, block.bytes.length);
  },
};

export const sealCases: Record<string, Case> = {
  "a seal is durable, and repeated has no effect": async ({ store }) => {
    const ref = refOf(1);
    const block = await appendSample(store, ref, 2);
    await store.seal(ref, block.bytes.length, block.checksum);
    await store.seal(ref, block.bytes.length, block.checksum);
    const status = await statusOf(store, ref);
    assert.equal(status.state, "sealed");
    assert.equal(status.durable, block.bytes.length);
    assert.equal(status.checksum, block.checksum);
    await rejects(store.seal(ref, block.offsets[1], crc32(record(block, 0))), "mismatch");
    await rejects(store.seal(ref, block.bytes.length, (block.checksum ^ 1) >>> 0), "mismatch");
  },

  "a seal that does not match what is held is refused": async ({ store }) => {
    const ref = refOf(1);
    const block = await appendSample(store, ref, 2);
    await rejects(store.seal(ref, block.bytes.length, (block.checksum ^ 1) >>> 0), "mismatch");
    await rejects(store.seal(ref, block.bytes.length + pageBytes, 1), "out-of-order", {
      held: block.bytes.length,
    });
    await rejects(store.seal(refOf(2), pageBytes, 1), "out-of-order", { held: 0 });
    await rejects(store.seal(ref, 0, 0), "invalid-argument");
    assert.equal((await statusOf(store, ref)).state, "open");
    await appendSample(store, ref, 3);
  },

  "a seal drops what is held beyond its length": async ({ store }) => {
    const ref = refOf(1);
    const block = await appendSample(store, ref, 3);
    const kept = block.bytes.subarray(0, block.offsets[2]);
    await store.seal(ref, kept.length, crc32(kept));
    const status = await statusOf(store, ref);
    assert.deepEqual([status.state, status.held, status.checksum], ["sealed", kept.length, crc32(kept)]);
    await rejects(store.read(ref, 0, kept.length + 1), "not-found");
    assert.deepEqual(Buffer.from(await store.read(ref, 0, kept.length)), Buffer.from(kept));
  },
};
