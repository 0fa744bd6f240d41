// The extent map against an array of places, through checkpoints, reopening, loading and dropped leaves.

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

const span = 5 * leafPages;
const far = 700 * leafPages;

type Operation =
  | { kind: "set"; page: number; far: boolean }
  | { kind: "clear"; page: number; count: number }
  | { kind: "checkpoint" }
  | { kind: "reopen" };

const anyOperation: fc.Arbitrary<Operation> = fc.oneof(
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

/** A map beside what it should be. */
class Twin {
  readonly #nodes = new Nodes();
  readonly #model = new Map<number, { id: number; offset: number; checksum: number }>();
  #table = new BlockTable();
  readonly #ids = [1, 2, 3].map((index) => this.#table.add(dataRef(index)));
  #top: NodePointer | null = null;
  #map = openMap(this.#nodes, null, this.#table);
  #checkpoint = 0;
  #step = 0;

  constructor() {
    for (const id of this.#ids) this.#table.enter(id);
  }

  async apply(operation: Operation): Promise<void> {
    this.#step += 1;
    if (operation.kind === "set") this.#set(operation.page + (operation.far ? far : 0));
    else if (operation.kind === "clear") await this.#clear(operation.page, operation.count);
    else {
      await this.save();
      if (operation.kind === "reopen") this.#reopen();
    }
  }

  async save(): Promise<void> {
    for (let loads = this.#map.loads(); loads !== null; loads = this.#map.loads()) await loads;
    this.#checkpoint += 1;
    this.#top = this.#map.encodeDirty(this.#checkpoint, (bytes) => this.#nodes.place(bytes));
    this.#map.committed(this.#checkpoint);
  }

  async compare(): Promise<void> {
    assert.equal(this.#table.livePages, this.#model.size);
    for (const base of [0, far]) {
      for (let page = base; page < base + span; page++) {
        const leaf = this.#map.leafNow(page) ?? (await this.#map.load(page));
        const slot = page % leafPages;
        const place = this.#model.get(page);
        assert.equal(leaf.ids[slot], place?.id ?? 0);
        if (place !== undefined) {
          assert.deepEqual([leaf.offsets[slot], leaf.checksums[slot]], [place.offset, place.checksum >>> 0]);
        }
      }
    }
  }

  #set(page: number): void {
    const place = { id: this.#ids[this.#step % 3], offset: this.#step % 1000, checksum: this.#step * 77 };
    this.#map.set(page, place.id, place.offset, place.checksum);
    this.#model.set(page, place);
  }

  async #clear(first: number, count: number): Promise<void> {
    for await (const part of mappedParts(this.#map, first, count))
      clearPart(this.#map, part.first, part.count);
    for (let page = first; page < first + count; page++) this.#model.delete(page);
  }

  #reopen(): void {
    this.#table = reopened(this.#table);
    for (const id of this.#ids) if (this.#table.entry(id) !== null) this.#table.enter(id);
    this.#map = openMap(this.#nodes, this.#top, this.#table, 16);
  }
}

test("property: the map agrees with an array, through checkpoints, reopening and dropped leaves", async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(anyOperation, { maxLength: 60 }), async (operations) => {
      const twin = new Twin();
      for (const operation of operations) await twin.apply(operation);
      await twin.save();
      await twin.compare();
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
