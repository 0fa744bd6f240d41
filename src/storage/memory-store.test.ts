// MemoryStore passes the suite of every store; what it offers beyond that is tested here.

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { isTorusError } from "#model";
import { MemoryStore } from "./memory-store.ts";
import { sampleBlock, samplePage, sampleRecord } from "./record.fixture.ts";
import { storeSuite } from "./store-suite.ts";

storeSuite("memory", async () => {
  const store = new MemoryStore({ peer: "p1", sizeBytes: 32 * 2 ** 20 });
  return {
    store,
    reopen: async (options) => {
      await store.close();
      store.restart(options);
      return store;
    },
    corrupt: (ref, offset) => store.corrupt(ref, offset),
    close: () => store.close(),
  };
});

describe("memory store", () => {
  const ref = { type: 0, volume: 1, epoch: 1, index: 1 };

  test("a restart raises the incarnation and frees blocks of which nothing was durable", async () => {
    const store = new MemoryStore({ peer: "p1", sizeBytes: 2 ** 20 });
    await store.append(ref, 0, sampleBlock(ref, 1).bytes, 65536);
    store.restart({ loseUnsynced: true });
    assert.equal(store.incarnation, 2);
    assert.deepEqual(await store.usage(), {
      sizeBytes: 2 ** 20,
      usedBytes: 0,
      blocks: 0,
      availableBytes: 1024 * 1024,
    });
  });

  test("a poisoned store answers nothing until it restarts", async () => {
    const store = new MemoryStore({ peer: "p1", sizeBytes: 2 ** 20 });
    store.poison();
    await assert.rejects(store.sync([ref]), (error) => isTorusError(error, "poisoned"));
    store.restart({ loseUnsynced: true });
    assert.deepEqual(await store.sync([ref]), [{ held: 0, durable: 0 }]);
  });

  test("a durable position is reported from a header beyond the rot that hides it", async () => {
    const store = new MemoryStore({ peer: "p1", sizeBytes: 2 ** 20 });
    const first = sampleRecord(ref, 1, 0, 0, [samplePage(1)]);
    const at = first.bytes.length;
    const second = sampleRecord(ref, 2, first.checksum, at, [], { durableIndex: 1, durableOffset: at });
    await store.append(ref, 0, first.bytes, 65536);
    await store.append(ref, at, second.bytes, 65536);
    store.corrupt(ref, 10);
    store.restart({ loseUnsynced: false });
    const report = await store.fence(1, 2, 1, 1, null);
    assert.deepEqual([report.blocks[0].held, report.blocks[0].damaged], [0, true]);
    assert.deepEqual([report.durableIndex, report.durableOffset], [1, at]);
  });

  test("a deleted block is absent and its room is free", async () => {
    const store = new MemoryStore({ peer: "p1", sizeBytes: 65536 });
    await store.append(ref, 0, sampleBlock(ref, 1).bytes, 65536);
    assert.equal(await store.remove(ref, () => false), false);
    assert.equal(await store.remove(ref), true);
    assert.equal((await store.stat([ref]))[0].state, "absent");
    await store.append({ ...ref, index: 2 }, 0, sampleBlock({ ...ref, index: 2 }, 1).bytes, 65536);
  });
});
