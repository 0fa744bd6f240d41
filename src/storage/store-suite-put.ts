// Store suite: puts of whole blocks, reads, and what a store says of itself.

import assert from "node:assert/strict";
import type { BlockRef } from "#model";
import { blockRefKey, crc32, isTorusError, pageBytes } from "#model";
import { sampleBlock, samplePage } from "./record.fixture.ts";
import type { Case } from "./store-suite-support.ts";
import { appendSample, record, refOf, rejects, statusOf, suiteCapacityBytes } from "./store-suite-support.ts";

export const putCases: Record<string, Case> = {
  "a put stores a whole sealed block, of any length": async ({ store }) => {
    for (const [index, length] of [1, 5000, 3 * pageBytes].entries()) {
      const ref = refOf(index + 1, { type: 1 });
      const bytes = new Uint8Array(length).fill(index + 1);
      await store.put(ref, bytes, crc32(bytes), "write");
      const status = await statusOf(store, ref);
      assert.deepEqual([status.state, status.held, status.durable], ["sealed", length, length]);
      assert.equal(status.checksum, crc32(bytes));
      assert.deepEqual(Buffer.from(await store.read(ref, 0, length)), Buffer.from(bytes));
      await store.seal(ref, length, crc32(bytes));
    }
  },

  "a put whose bytes do not match its checksum is refused": async ({ store }) => {
    const page = samplePage(1);
    await rejects(store.put(refOf(1), page, (crc32(page) ^ 1) >>> 0, "repair"), "corrupt");
    await rejects(store.put(refOf(1), new Uint8Array(0), 0, "repair"), "invalid-argument");
    assert.equal((await statusOf(store, refOf(1))).state, "absent");
  },

  "a put over an equal sealed copy has no effect, over another is refused": async ({ store }) => {
    const ref = refOf(1);
    const [one, two] = [samplePage(1), samplePage(2)];
    for (const purpose of ["write", "repair"] as const) {
      await store.put(ref, one, crc32(one), purpose);
      await store.put(ref, one, crc32(one), purpose);
      await rejects(store.put(ref, two, crc32(two), purpose), "mismatch");
    }
    assert.deepEqual(Buffer.from(await store.read(ref, 0, pageBytes)), Buffer.from(one));
    assert.equal((await store.usage()).blocks, 1);
  },

  "a put replaces an open copy, longer or shorter": async ({ store }) => {
    for (const [index, records] of [1, 4].entries()) {
      const ref = refOf(index + 1);
      await appendSample(store, ref, 2);
      const whole = sampleBlock(ref, records, 1, 77);
      await store.put(ref, whole.bytes, whole.checksum, index === 0 ? "write" : "repair");
      const status = await statusOf(store, ref);
      assert.deepEqual([status.state, status.held, status.damaged], ["sealed", whole.bytes.length, false]);
      assert.deepEqual(Buffer.from(await store.read(ref, 0, whole.bytes.length)), Buffer.from(whole.bytes));
    }
    assert.equal((await store.usage()).blocks, 2);
  },

  "a put replaces a sealed copy that rotted": async ({ store, corrupt }) => {
    const ref = refOf(1);
    const block = await appendSample(store, ref, 2);
    await store.seal(ref, block.bytes.length, block.checksum);
    await corrupt?.(ref, 5000);
    await store.put(ref, block.bytes, block.checksum, "repair");
    assert.deepEqual(Buffer.from(await store.read(ref, 0, block.bytes.length)), Buffer.from(block.bytes));
  },
};

export const readCases: Record<string, Case> = {
  "reads give any range that is held, and nothing beyond": async ({ store }) => {
    const ref = refOf(1);
    const block = await appendSample(store, ref, 2);
    const end = block.bytes.length;
    for (const [offset, length] of [
      [0, 1],
      [1, 4096],
      [4095, 2],
      [pageBytes, pageBytes],
      [end - 1, 1],
      [0, end],
    ]) {
      const bytes = await store.read(ref, offset, length);
      assert.deepEqual(Buffer.from(bytes), Buffer.from(block.bytes.subarray(offset, offset + length)));
    }
    await rejects(store.read(ref, 0, end + 1), "not-found");
    await rejects(store.read(ref, end, 1), "not-found");
    await rejects(store.read(refOf(2), 0, 1), "not-found");
    for (const [offset, length] of [
      [-1, 10],
      [0, 0],
      [0, -4],
      [0.5, 1],
      [0, 2 ** 40],
    ]) {
      await rejects(store.read(ref, offset, length), "invalid-argument");
    }
  },

  "stat answers in order, also for what is absent": async ({ store }) => {
    await appendSample(store, refOf(2), 1);
    const statuses = await store.stat([
      refOf(3),
      refOf(2),
      refOf(1, { volume: 2 ** 40 - 1, epoch: 2 ** 40 }),
    ]);
    assert.deepEqual(
      statuses.map(({ state }) => state),
      ["absent", "open", "absent"],
    );
    assert.deepEqual(statuses[2].ref, { type: 0, volume: 2 ** 40 - 1, epoch: 2 ** 40, index: 1 });
    assert.deepEqual(await store.stat([]), []);
    assert.deepEqual(await store.sync([]), []);
  },

  "list goes through all blocks in order, page by page": async ({ store }) => {
    const page = samplePage(1);
    const refs = [
      refOf(1, { volume: 1, epoch: 9 }),
      refOf(1, { volume: 7, epoch: 2, type: 1 }),
      refOf(2, { volume: 7, epoch: 3 }),
      refOf(10, { volume: 7, epoch: 3 }),
      refOf(1, { volume: 7, epoch: 3, type: 1 }),
      refOf(1, { volume: 7, epoch: 20 }),
      refOf(5, { volume: 300, epoch: 1 }),
    ];
    for (const ref of [...refs].reverse()) await store.put(ref, page, crc32(page), "repair");
    for (const limit of [1, 3, 7, 1000]) {
      const found: string[] = [];
      let after: BlockRef | null = null;
      do {
        const answer = await store.list(after, limit);
        assert.ok(answer.blocks.length <= limit);
        for (const status of answer.blocks) {
          assert.equal(status.state, "sealed");
          found.push(blockRefKey(status.ref));
        }
        after = answer.next;
      } while (after !== null);
      assert.deepEqual(found, refs.map(blockRefKey), `limit ${limit}`);
    }
    const between = await store.list(refOf(5, { volume: 7, epoch: 3 }), 1);
    assert.deepEqual(between.blocks[0].ref, refs[3]);
    await rejects(store.list(null, 0), "invalid-argument");
  },

  "usage grows with blocks and stays within the size": async ({ store }) => {
    const before = await store.usage();
    assert.equal(before.blocks, 0);
    await appendSample(store, refOf(1), 1);
    const page = samplePage(1);
    await store.put(refOf(2), page, crc32(page), "write");
    const after = await store.usage();
    assert.equal(after.blocks, 2);
    assert.equal(after.sizeBytes, before.sizeBytes);
    assert.ok(after.usedBytes >= before.usedBytes + suiteCapacityBytes + pageBytes);
    assert.ok(after.usedBytes <= after.sizeBytes);
  },

  "a full store refuses new blocks and keeps what it has": async ({ store }) => {
    const { sizeBytes } = await store.usage();
    if (sizeBytes > 2 ** 26) return; // Too long to fill: stores pass a small size to run this.
    const first = await appendSample(store, refOf(1), 1);
    let refused = false;
    for (let index = 2; index <= sizeBytes / pageBytes + 1 && !refused; index++) {
      const append = store.append(refOf(index), 0, sampleBlock(refOf(index), 1).bytes, suiteCapacityBytes);
      refused = await append.then(
        () => false,
        (error) => isTorusError(error, "full") || Promise.reject(error),
      );
    }
    assert.ok(refused, "the store became full");
    const longer = sampleBlock(refOf(1), 2);
    await store.append(refOf(1), first.offsets[1], record(longer, 1), suiteCapacityBytes);
    await store.seal(refOf(1), longer.bytes.length, longer.checksum);
    assert.deepEqual(
      Buffer.from(await store.read(refOf(1), 0, longer.bytes.length)),
      Buffer.from(longer.bytes),
    );
  },
};
