import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import type { NodePointer } from "#metadata";
import { blockType } from "#model";
import { BlockTable } from "./block-table.ts";
import { ExtentMap } from "./extent-map.ts";
import { leafPages } from "./inode-codec.ts";
import { clearPart, mappedParts } from "./replay.ts";

/** Nodes kept in memory under their place. */
class Nodes {
  readonly kept = new Map<string, Uint8Array>();
  reads = 0;
  #next = 1;

  place(bytes: Uint8Array): NodePointer {
    const ref = { type: blockType.inode, volume: 1, epoch: 1, index: this.#next };
    this.#next += 1;
    this.kept.set(`${ref.index}`, bytes);
    return { ref, offset: 0, length: bytes.length, checksum: 0 };
  }

  async read(pointer: NodePointer): Promise<Uint8Array> {
    this.reads += 1;
    const bytes = this.kept.get(`${pointer.ref.index}`);
    assert.ok(bytes !== undefined);
    return bytes;
  }
}

function dataRef(index: number) {
  return { type: blockType.data, volume: 1, epoch: 1, index };
}

function openMap(nodes: Nodes, top: NodePointer | null, table: BlockTable, leaves = 1000): ExtentMap {
  return new ExtentMap(
    { top, cacheBytes: leaves * 6000 },
    { table, readNode: (pointer) => nodes.read(pointer) },
  );
}

/** The table as a later process would read it. */
function reopened(table: BlockTable): BlockTable {
  const copy = new BlockTable();
  for (const id of table.ids()) {
    const entry = table.entry(id);
    if (entry !== null) copy.restore(id, entry);
  }
  return copy;
}

test("property: the map agrees with an array, through checkpoints, reopening and dropped leaves", async () => {
  const span = 5 * leafPages;
  const far = 700 * leafPages;
  const operation = fc.oneof(
    {
      weight: 6,
      arbitrary: fc.record({ kind: fc.constant("set" as const), page: fc.nat(span - 1), far: fc.boolean() }),
    },
    {
      weight: 2,
      arbitrary: fc.record({
        kind: fc.constant("clear" as const),
        page: fc.nat(span - 1),
        count: fc.integer({ min: 1, max: 900 }),
      }),
    },
    { weight: 1, arbitrary: fc.record({ kind: fc.constant("checkpoint" as const) }) },
    { weight: 1, arbitrary: fc.record({ kind: fc.constant("reopen" as const) }) },
  );
  await fc.assert(
    fc.asyncProperty(fc.array(operation, { maxLength: 60 }), async (operations) => {
      const nodes = new Nodes();
      let table = new BlockTable();
      let top: NodePointer | null = null;
      let map = openMap(nodes, top, table);
      const model = new Map<number, { id: number; offset: number; checksum: number }>();
      let checkpoint = 0;
      let step = 0;
      const ids = [1, 2, 3].map((index) => table.add(dataRef(index)));
      for (const id of ids) table.enter(id);
      const save = async (): Promise<void> => {
        for (let loads = map.loads(); loads !== null; loads = map.loads()) await loads;
        checkpoint += 1;
        top = map.encodeDirty(checkpoint, (bytes) => nodes.place(bytes));
        map.committed(checkpoint);
      };
      for (const op of operations) {
        step += 1;
        if (op.kind === "set") {
          const page = op.page + (op.far ? far : 0);
          const place = { id: ids[step % 3], offset: step % 1000, checksum: step * 77 };
          map.set(page, place.id, place.offset, place.checksum);
          model.set(page, place);
        } else if (op.kind === "clear") {
          for await (const part of mappedParts(map, op.page, op.count))
            clearPart(map, part.first, part.count);
          for (let page = op.page; page < op.page + op.count; page++) model.delete(page);
        } else {
          await save();
          if (op.kind === "reopen") {
            table = reopened(table);
            for (const id of ids) if (table.entry(id) !== null) table.enter(id);
            map = openMap(nodes, top, table, 16);
          }
        }
      }
      await save();
      assert.equal(table.livePages, model.size);
      for (const base of [0, far]) {
        for (let page = base; page < base + span; page++) {
          const leaf = map.leafNow(page) ?? (await map.load(page));
          const slot = page % leafPages;
          const place = model.get(page);
          assert.equal(leaf.ids[slot], place?.id ?? 0);
          if (place !== undefined)
            assert.deepEqual(
              [leaf.offsets[slot], leaf.checksums[slot]],
              [place.offset, place.checksum >>> 0],
            );
        }
      }
    }),
    { numRuns: 40 },
  );
});

test("a checkpoint writes what changed, not the map", async () => {
  const nodes = new Nodes();
  const table = new BlockTable();
  const id = table.add(dataRef(1));
  table.enter(id);
  const map = openMap(nodes, null, table, 5000);
  for (let leaf = 0; leaf < 2000; leaf++) map.set(leaf * leafPages, id, leaf % 1000, leaf);
  const place = (bytes: Uint8Array): NodePointer => nodes.place(bytes);
  map.encodeDirty(1, place);
  map.committed(1);
  const before = nodes.kept.size;
  map.set(1234 * leafPages + 5, id, 7, 7);
  map.encodeDirty(2, place);
  assert.equal(nodes.kept.size - before, 4, "one leaf and the three nodes above it");
});

test("memory follows use: clean leaves beyond the cache are dropped, and holes take none", async () => {
  const nodes = new Nodes();
  const table = new BlockTable();
  const id = table.add(dataRef(1));
  table.enter(id);
  const map = openMap(nodes, null, table, 32);
  for (let leaf = 0; leaf < 500; leaf++) map.set(leaf * leafPages, id, 1, 1);
  map.encodeDirty(1, (bytes) => nodes.place(bytes));
  assert.equal(map.leavesLoaded, 500, "nothing is dropped before its checkpoint is committed");
  map.committed(1);
  assert.ok(map.leavesLoaded <= 40);
  const loaded = map.leavesLoaded;
  for (let page = 10_000_000; page < 20_000_000; page += 100_000) await map.load(page);
  assert.equal(map.leavesLoaded, loaded);
});

test("a write to a leaf that is still being loaded wins over what is loaded", async () => {
  const nodes = new Nodes();
  const table = new BlockTable();
  const [a, b] = [table.add(dataRef(1)), table.add(dataRef(2))];
  for (const id of [a, b]) table.enter(id);
  const first = openMap(nodes, null, table);
  first.set(5, a, 1, 1);
  first.set(6, a, 2, 2);
  const top = first.encodeDirty(1, (bytes) => nodes.place(bytes));
  const map = openMap(nodes, top, table);
  map.set(5, b, 9, 9);
  const leaf = await map.load(5);
  assert.deepEqual([leaf.ids[5], leaf.offsets[5], leaf.ids[6], leaf.offsets[6]], [b, 9, a, 2]);
  assert.equal(table.entry(a)?.live, 1);
  assert.equal(table.entry(b)?.live, 1);
});
