// Store suite: fences, and what is left after a restart or a close.

import assert from "node:assert/strict";
import type { BlockRef, FenceBasis } from "#model";
import { blockRefKey, crc32, pageBytes } from "#model";
import { sampleBlock, samplePage, sampleRecord } from "./record.fixture.ts";
import type { Case } from "./store-suite-support.ts";
import {
  appendSample,
  epoch,
  record,
  refOf,
  rejects,
  statusOf,
  suiteCapacityBytes,
  volume,
} from "./store-suite-support.ts";

export const fenceCases: Record<string, Case> = {
  "a fence refuses older writers and lists the log": async ({ store }) => {
    const one = await appendSample(store, refOf(1), 2);
    await appendSample(store, refOf(2), 1);
    await appendSample(store, refOf(3), 1);
    await appendSample(store, refOf(1, { volume: 8 }), 1);
    await store.put(refOf(1, { type: 1 }), samplePage(1), crc32(samplePage(1)), "write");
    await store.seal(refOf(2), 2 * pageBytes, sampleBlock(refOf(2), 1).checksum);
    const report = await store.fence(volume, epoch + 1, epoch, 2, null);
    assert.equal(report.epoch, epoch + 1);
    assert.deepEqual(
      report.blocks.map(({ ref, state }) => `${blockRefKey(ref)} ${state}`),
      ["7.3.0.2 sealed", "7.3.0.3 open"],
    );
    const longer = sampleBlock(refOf(1), 3);
    await rejects(store.append(refOf(1), one.offsets[2], record(longer, 2), suiteCapacityBytes), "fenced");
    await rejects(store.append(refOf(9), 0, sampleBlock(refOf(9), 1).bytes, suiteCapacityBytes), "fenced");
    await rejects(store.append(refOf(1), 0, record(one, 0), suiteCapacityBytes), "fenced");
    await rejects(store.seal(refOf(1), one.bytes.length, one.checksum), "fenced");
    await rejects(store.sync([refOf(1)]), "fenced");
    await store.sync([]);
    await rejects(store.put(refOf(1), one.bytes, one.checksum, "write"), "fenced");
    await store.put(refOf(1), one.bytes, one.checksum, "repair");
    await appendSample(store, refOf(2, { volume: 8 }), 1);
    await appendSample(store, refOf(1, { epoch: epoch + 1 }), 1);
  },

  "a fence below the stored epoch is refused, an equal one repeats": async ({ store }) => {
    await store.fence(volume, 5, 4, 1, null);
    await rejects(store.fence(volume, 4, 3, 1, null), "fenced");
    const report = await store.fence(volume, 5, 4, 1, null);
    assert.deepEqual(report, { epoch: 5, blocks: [], durableIndex: 0, durableOffset: 0, cutEpoch: 0 });
    await store.fence(volume, 6, 5, 1, null);
  },

  "an append of a newer epoch fences too": async ({ store }) => {
    await appendSample(store, refOf(1), 1);
    await appendSample(store, refOf(1, { epoch: epoch + 2 }), 1);
    const longer = sampleBlock(refOf(1), 2);
    await rejects(store.append(refOf(1), longer.offsets[1], record(longer, 1), suiteCapacityBytes), "fenced");
    await rejects(store.fence(volume, epoch + 1, epoch, 1, null), "fenced");
    await rejects(store.fence(volume, epoch + 2, epoch, 1, null), "fenced", { epoch: epoch + 2, used: true });
    await store.fence(volume, epoch + 3, epoch, 1, null);
  },

  "a fence for an epoch of which blocks are here is refused: it was taken before [C7]": async ({ store }) => {
    await store.fence(volume, epoch, epoch - 1, 1, null);
    await store.fence(volume, epoch, epoch - 1, 1, null);
    await store.put(refOf(1, { type: 1 }), samplePage(1), crc32(samplePage(1)), "write");
    await rejects(store.fence(volume, epoch, epoch - 1, 1, null), "fenced", { epoch, used: true });
    await store.put(refOf(1, { epoch: epoch + 4 }), samplePage(1), crc32(samplePage(1)), "repair");
    await rejects(store.fence(volume, epoch + 4, epoch, 1, null), "fenced", { used: true });
    await store.fence(volume, epoch + 5, epoch, 1, null);
  },

  "an epoch that served is kept from a fence which knows only an older head; one that did not is not [C7]":
    async ({ store }) => {
      await appendSample(store, refOf(1), 1);
      await store.fence(volume, epoch + 1, epoch - 1, 1, decidedBy(epoch - 1));
      const ref = refOf(1, { epoch: epoch + 1 });
      const tail = sampleRecord(ref, 1, 0, 0, [samplePage(1)]);
      await store.append(ref, 0, tail.bytes, suiteCapacityBytes);
      await store.fence(volume, epoch + 2, epoch - 1, 1, decidedBy(epoch - 1));
      const next = refOf(1, { epoch: epoch + 2 });
      await store.append(next, 0, servedAfter(next, 1), suiteCapacityBytes);
      const behind = { servedEpoch: epoch + 2 };
      await rejects(
        store.fence(volume, epoch + 3, epoch, 1, decidedBy(epoch + 1)),
        "metadata-behind",
        behind,
      );
      await store.append(next, servedAfter(next, 1).length, servedAfter(next, 2), suiteCapacityBytes);
      await store.fence(8, 1, 0, 1, decidedBy(0));
      await store.fence(volume, epoch + 3, epoch + 2, 1, decidedBy(epoch + 2));
      await store.fence(volume, epoch + 4, epoch + 2, 1, null);
    },

  "a copy that is moved here says that its epoch served, too [C7]": async ({ store }) => {
    const bytes = servedAfter(refOf(1), 1);
    await store.put(refOf(1), bytes, crc32(bytes), "repair");
    const behind = { servedEpoch: epoch };
    await rejects(store.fence(volume, epoch + 1, 1, 1, decidedBy(epoch - 1)), "metadata-behind", behind);
    await store.fence(volume, epoch + 1, epoch, 1, decidedBy(epoch));
  },

  "appends made after a fence, before its answer, are refused": async ({ store }) => {
    const block = await appendSample(store, refOf(1), 1);
    const longer = sampleBlock(refOf(1), 2);
    const fence = store.fence(volume, epoch + 1, epoch, 1, null);
    const append = store.append(refOf(1), block.offsets[1], record(longer, 1), suiteCapacityBytes);
    await rejects(append, "fenced");
    assert.equal((await fence).blocks[0].held, block.bytes.length);
  },

  "a fence reports the highest position any header names as durable": async ({ store }) => {
    const one = refOf(1);
    const first = sampleRecord(one, 1, 0, 0, [samplePage(1)], { durableIndex: 1, durableOffset: 8192 });
    const at = first.bytes.length;
    const second = sampleRecord(one, 2, first.checksum, at, [], { durableIndex: 2, durableOffset: 4096 });
    await store.append(one, 0, first.bytes, suiteCapacityBytes);
    await store.append(one, at, second.bytes, suiteCapacityBytes);
    const other = sampleRecord(refOf(2), 3, 0, 0, [], { durableIndex: 1, durableOffset: 65536 });
    await store.append(refOf(2), 0, other.bytes, suiteCapacityBytes);
    const put = sampleRecord(refOf(1, { epoch: 2 }), 1, 0, 0, [], { durableIndex: 9, durableOffset: 4096 });
    await store.put(refOf(1, { epoch: 2 }), put.bytes, crc32(put.bytes), "repair");
    const report = await store.fence(volume, epoch + 1, epoch, 2, null);
    assert.deepEqual([report.durableIndex, report.durableOffset], [2, 4096]);
    const older = await store.fence(volume, epoch + 1, 2, 1, null);
    assert.deepEqual([older.durableIndex, older.durableOffset], [9, 4096]);
  },
};

const metadata = {
  clusterId: "c",
  identity: "m",
  generation: 0,
  revision: 1,
  ringVersion: 1,
  lastVolumeId: 9,
};

const decidedBy = (headEpoch: number): FenceBasis => ({ view: metadata, headEpoch });

/** The record of that number in block `ref`, each one page, of an epoch that has served. */
function servedAfter(ref: BlockRef, sequence: number): Uint8Array {
  let previous = 0;
  for (let i = 1; ; i++) {
    const at = (i - 1) * 2 * pageBytes;
    const record = sampleRecord(ref, i, previous, at, [samplePage(i)], { isServed: true });
    if (i === sequence) return record.bytes;
    previous = record.checksum;
  }
}

export const lifeCases: Record<string, Case> = {
  "a closed store answers nothing": async ({ store }) => {
    await appendSample(store, refOf(1), 1);
    await store.close();
    await store.close();
    const page = samplePage(1);
    await rejects(store.append(refOf(2), 0, sampleBlock(refOf(2), 1).bytes, suiteCapacityBytes), "closed");
    await rejects(store.sync([refOf(1)]), "closed");
    await rejects(store.read(refOf(1), 0, 1), "closed");
    await rejects(store.seal(refOf(1), pageBytes, 1), "closed");
    await rejects(store.put(refOf(3), page, crc32(page), "repair"), "closed");
    await rejects(store.stat([refOf(1)]), "closed");
    await rejects(store.list(null, 1), "closed");
    await rejects(store.fence(volume, 9, 8, 1, null), "closed");
    await rejects(store.usage(), "closed");
  },

  "after a restart what was durable is there, open blocks are cut, fences stand": async ({
    store,
    reopen,
  }) => {
    const open = await appendSample(store, refOf(1), 2);
    await store.sync([refOf(1)]);
    const sealed = await appendSample(store, refOf(2), 2);
    await store.seal(refOf(2), sealed.bytes.length, sealed.checksum);
    const page = samplePage(9);
    await store.put(refOf(3, { type: 1 }), page, crc32(page), "write");
    await store.fence(8, 5, 4, 1, null);
    const again = await reopen!({ loseUnsynced: true });
    const one = await statusOf(again, refOf(1));
    assert.deepEqual([one.state, one.cut, one.damaged, one.checksum], ["open", true, false, open.checksum]);
    assert.deepEqual([one.held, one.durable], [open.bytes.length, open.bytes.length]);
    const two = await statusOf(again, refOf(2));
    assert.deepEqual([two.state, two.held, two.checksum], ["sealed", sealed.bytes.length, sealed.checksum]);
    assert.deepEqual(Buffer.from(await again.read(refOf(3, { type: 1 }), 0, pageBytes)), Buffer.from(page));
    await rejects(again.fence(8, 4, 3, 1, null), "fenced");
    // A store that can be closed in order has lost nothing.
    assert.ok([0, 5].includes((await again.fence(8, 6, 5, 1, null)).cutEpoch));
    const longer = sampleBlock(refOf(1), 3);
    await again.append(refOf(1), open.offsets[1], record(longer, 1, 3), suiteCapacityBytes);
    await again.append(refOf(4), 0, sampleBlock(refOf(4), 1).bytes, suiteCapacityBytes);
    assert.equal((await statusOf(again, refOf(1))).cut, true);
    assert.equal((await statusOf(again, refOf(4))).cut, false);
  },

  "after a restart it is still known which epoch served [C7]": async ({ store, reopen }) => {
    await store.append(refOf(1), 0, servedAfter(refOf(1), 1), suiteCapacityBytes);
    const again = await reopen!({ loseUnsynced: true });
    const fence = again.fence(volume, epoch + 1, epoch - 1, 1, decidedBy(epoch - 1));
    await rejects(fence, "metadata-behind", { servedEpoch: epoch });
    const second = await reopen!({ loseUnsynced: true });
    await rejects(second.fence(volume, epoch + 1, 1, 1, decidedBy(0)), "metadata-behind");
    await second.fence(volume, epoch + 1, epoch, 1, decidedBy(epoch));
  },

  "after a restart without power what is held is a prefix, and all of it durable": async ({
    store,
    reopen,
  }) => {
    const block = await appendSample(store, refOf(1), 2);
    await store.sync([refOf(1)]);
    const longer = sampleBlock(refOf(1), 5);
    await store.append(refOf(1), block.offsets[2], record(longer, 2, 5), suiteCapacityBytes);
    const again = await reopen!({ loseUnsynced: true });
    const status = await statusOf(again, refOf(1));
    assert.ok(status.held >= block.bytes.length && longer.offsets.includes(status.held));
    assert.equal(status.durable, status.held);
    assert.equal(status.checksum, crc32(longer.bytes.subarray(0, status.held)));
    const at = longer.offsets.indexOf(status.held);
    if (at < 5) await again.append(refOf(1), longer.offsets[at], record(longer, at, 5), suiteCapacityBytes);
    await again.seal(refOf(1), longer.bytes.length, longer.checksum);
  },

  "after a restart rot in an open block is reported, not erased, until the writer replaces it": async (
    opened,
  ) => {
    const { store, reopen, corrupt } = opened;
    const block = sampleBlock(refOf(1), 3);
    await store.append(refOf(1), 0, block.bytes, suiteCapacityBytes);
    await store.sync([refOf(1)]);
    await corrupt!(refOf(1), block.offsets[1] + 100);
    const again = await reopen!({ loseUnsynced: false });
    const status = await statusOf(again, refOf(1));
    assert.deepEqual([status.state, status.held, status.damaged], ["open", block.offsets[1], true]);
    await again.append(refOf(1), block.offsets[1], record(block, 1, 3), suiteCapacityBytes);
    assert.equal((await statusOf(again, refOf(1))).damaged, false);
    await again.seal(refOf(1), block.bytes.length, block.checksum);
  },
};
