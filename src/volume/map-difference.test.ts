// What differs between two INodes, against the place of every page of both; what it costs; and that nothing is left out in silence.

import assert from "node:assert/strict";
import { it } from "node:test";
import fc from "fast-check";
import type { NodePointer } from "#metadata";
import { isTorusError } from "#model";
import { TestCluster } from "./cluster.fixture.ts";
import { everyPlace, InodeSketch, NodeShelf } from "./inode.fixture.ts";
import { decodeInterior, decodeRoot } from "./inode-codec.ts";
import type { PageRange } from "./map-difference.ts";
import { MapDifference } from "./map-difference.ts";
import { SnapshotVolume } from "./snapshot-volume.ts";

async function pagesOf(difference: MapDifference, first = 0): Promise<number[]> {
  const pages: number[] = [];
  let page = first;
  while (page !== Number.POSITIVE_INFINITY) {
    const { ranges, end } = await difference.after(page);
    requireOrder(ranges, page, end);
    for (const range of ranges) for (let i = 0; i < range.count; i++) pages.push(range.first + i);
    assert.ok(end > page);
    page = end;
  }
  return pages;
}

function requireOrder(ranges: readonly PageRange[], from: number, end: number): void {
  let after = from - 1;
  for (const { first, count } of ranges) {
    assert.ok(first > after && count > 0 && first + count <= end);
    after = first + count;
  }
}

async function expectedPages(
  from: NodePointer | null,
  to: NodePointer | null,
  shelf: NodeShelf,
): Promise<number[]> {
  const places = async (root: NodePointer | null): Promise<Map<number, string>> =>
    root === null ? new Map() : everyPlace(root, shelf.read);
  const [before, after] = [await places(from), await places(to)];
  const pages = new Set([...before.keys(), ...after.keys()]);
  return [...pages].filter((page) => before.get(page) !== after.get(page)).sort((a, b) => a - b);
}

/** Few pages near each other, so that blocks die and their ids are given again; and some far off. */
const page = fc.oneof(
  { weight: 6, arbitrary: fc.nat(12) },
  { weight: 1, arbitrary: fc.nat(3000) },
  { weight: 1, arbitrary: fc.nat(2 ** 30) },
);
const step = fc.oneof(
  { weight: 6, arbitrary: fc.record({ write: fc.array(page, { minLength: 1, maxLength: 12 }) }) },
  { weight: 1, arbitrary: fc.record({ trim: page }) },
  { weight: 2, arbitrary: fc.constant({ checkpoint: true }) },
);

it("a difference of maps: is what comparing every page of both finds, from any page on", async () => {
  let reused = 0;
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 1, maxLength: 60 }), page, async (steps, start) => {
      const shelf = new NodeShelf();
      const sketch = new InodeSketch(7, shelf);
      const roots: (NodePointer | null)[] = [null];
      let adds = 0;
      for (const one of steps) {
        if ("write" in one) {
          adds += 1;
          sketch.write(one.write);
        } else if ("trim" in one) sketch.trim(one.trim);
        else roots.push(sketch.checkpoint());
      }
      if (Math.max(0, ...sketch.table.ids()) < adds) reused += 1;
      for (const to of roots) {
        for (const from of roots) {
          const expected = await expectedPages(from, to, shelf);
          const difference = new MapDifference({ from, to }, { readNode: shelf.read });
          assert.deepEqual(await pagesOf(difference), expected);
          const rest = expected.filter((one) => one >= start);
          assert.deepEqual(await pagesOf(difference, start), rest);
        }
      }
    }),
    { numRuns: 80, seed: 6 },
  );
  assert.ok(reused > 10, `ids meant several blocks in ${reused} histories`);
});

it("a difference of maps: an id that means another block in the other INode is no reason to pass a page over", async () => {
  const shelf = new NodeShelf();
  const sketch = new InodeSketch(7, shelf);
  sketch.write([5]);
  const before = sketch.checkpoint();
  sketch.write([6]);
  sketch.trim(5);
  sketch.write([5]);
  const after = sketch.checkpoint();
  assert.deepEqual([...sketch.table.ids()], [1, 2], "the first id was given again");
  const difference = new MapDifference({ from: before, to: after }, { readNode: shelf.read });
  assert.deepEqual(await pagesOf(difference), [5, 6]);
});

it("a difference of maps: costs what changed, whatever the size of the volume", async () => {
  const readsFor = async (leaves: number): Promise<number> => {
    const shelf = new NodeShelf();
    const sketch = new InodeSketch(7, shelf);
    for (let i = 0; i < leaves; i++) sketch.write([i * 512, i * 512 + 1, i * 512 + 2]);
    const before = sketch.checkpoint();
    sketch.write([512 * 9 + 1, 512 * 77]);
    const difference = new MapDifference({ from: before, to: sketch.checkpoint() }, { readNode: shelf.read });
    assert.deepEqual(await pagesOf(difference), [512 * 9 + 1, 512 * 77]);
    return difference.reads;
  };
  const small = await readsFor(100);
  assert.ok(small <= 24, `roots, paths, two leaves and the chunk of their blocks, of both: ${small} nodes`);
  assert.ok((await readsFor(20_000)) <= small, "no more for two hundred times the map");
});

it("a difference of maps: of an INode and itself reads nothing, and many calls at once read a node once", async () => {
  const shelf = new NodeShelf();
  const sketch = new InodeSketch(7, shelf);
  for (let i = 0; i < 40; i++) sketch.write([i * 512]);
  const root = sketch.checkpoint();
  const none = new MapDifference({ from: root, to: root }, { readNode: shelf.read });
  assert.deepEqual(await none.after(0), { ranges: [], end: Number.POSITIVE_INFINITY });
  assert.equal(none.reads, 0);
  const all = new MapDifference({ from: null, to: root }, { readNode: shelf.read });
  const parts = await Promise.all([0, 16 * 512, 32 * 512].map((first) => all.after(first)));
  assert.equal(parts.flatMap(({ ranges }) => ranges).length, 40);
  assert.equal(all.reads, 1 + 3 + 40, "the root, the path, the leaves; no table");
});

it("a difference of maps: a node that is missing rejects, and can be had by a later call", async () => {
  const shelf = new NodeShelf();
  const sketch = new InodeSketch(7, shelf);
  for (let i = 0; i < 20; i++) sketch.write([i * 512]);
  const before = sketch.checkpoint();
  sketch.write([512 * 17]);
  const after = sketch.checkpoint();
  const { map } = decodeRoot(await shelf.read(after));
  const lost = map as NodePointer;
  const bytes = await shelf.read(lost);
  assert.equal(decodeInterior(bytes).size, 1);
  shelf.lose(lost);
  const difference = new MapDifference({ from: before, to: after }, { readNode: shelf.read });
  await assert.rejects(difference.after(0), (error) => isTorusError(error, "corrupt"));
  shelf.put(lost, bytes);
  assert.deepEqual(await pagesOf(difference), [512 * 17]);
});

it("a difference of maps: of snapshots of a volume, through its peers", async () => {
  const cluster = await TestCluster.open({ peers: 3, replicas: 3, blockBytes: 64 * 1024 });
  await cluster.createVolume("disk", 2 ** 30);
  const { volume, client } = await cluster.attach("disk");
  const order = { volume: "disk", labels: {}, timeoutMs: 5000 };
  await volume.write(0, new Uint8Array(16 * 4096).fill(1), false);
  await client.volumes.takeSnapshot({ ...order, name: "one" });
  await volume.write(3 * 4096, new Uint8Array(2 * 4096).fill(2), false);
  await volume.write(2 ** 29, new Uint8Array(4096).fill(2), false);
  await volume.trim(8 * 4096, 4096, false);
  await client.volumes.takeSnapshot({ ...order, name: "two" });
  const [one, two] = [
    await client.volumes.openSnapshot("disk", "one"),
    await client.volumes.openSnapshot("disk", "two"),
  ];
  assert.ok(two instanceof SnapshotVolume);
  const changed = await pagesOf(two.differenceFrom(one.found.snapshot.root));
  assert.deepEqual(changed, [3, 4, 8, 2 ** 29 / 4096]);
  assert.equal((await pagesOf(two.differenceFrom(null))).length, 16);
  await client.close();
});
