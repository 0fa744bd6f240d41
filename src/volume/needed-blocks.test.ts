// What INodes need, against reading all of them; what is remembered from walk to walk; and that nothing is left out in silence.

import assert from "node:assert/strict";
import { it } from "node:test";
import fc from "fast-check";
import type { NodePointer } from "#metadata";
import { blockRefKey, crc32, isTorusError } from "#model";
import { bruteForce, InodeSketch, NodeShelf } from "./inode.fixture.ts";
import { decodeRoot, encodeRoot } from "./inode-codec.ts";
import { NeededBlocks } from "./needed-blocks.ts";

const roomy = { cacheBytesMax: 2 ** 24 };

async function needs(
  needed: NeededBlocks,
  roots: readonly NodePointer[],
  shelf: NodeShelf,
): Promise<Set<string>> {
  const found = new Set<string>();
  await needed.walk(roots, shelf.read, (ref) => found.add(blockRefKey(ref)));
  return found;
}

async function union(roots: readonly NodePointer[], shelf: NodeShelf): Promise<Set<string>> {
  const found = new Set<string>();
  for (const root of roots) for (const key of await bruteForce(root, shelf.read)) found.add(key);
  return found;
}

const sorted = (keys: Set<string>): string[] => [...keys].sort();

/** Few pages near each other, and some far off, so that all levels of the trees are there. */
const page = fc.oneof(fc.nat(40), fc.nat(3000), fc.nat(2 ** 30));
const step = fc.oneof(
  { weight: 6, arbitrary: fc.record({ write: fc.array(page, { minLength: 1, maxLength: 16 }) }) },
  { weight: 1, arbitrary: fc.record({ trim: page }) },
  { weight: 2, arbitrary: fc.constant({ checkpoint: true }) },
);

it("the blocks INodes need: are those that reading every leaf finds, whatever was kept and whatever is remembered", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(step, { minLength: 1, maxLength: 60 }),
      fc.constantFrom(0, 2000, 2 ** 24),
      fc.array(fc.boolean(), { minLength: 10, maxLength: 10 }),
      async (steps, cacheBytesMax, kept) => {
        const shelf = new NodeShelf();
        const sketch = new InodeSketch(7, shelf);
        const needed = new NeededBlocks({ cacheBytesMax });
        let roots: NodePointer[] = [];
        for (const [i, one] of steps.entries()) {
          if ("write" in one) sketch.write(one.write);
          else if ("trim" in one) sketch.trim(one.trim);
          else {
            roots = [...roots.filter((_, at) => kept[(at + i) % 10]), sketch.checkpoint()];
            assert.deepEqual(sorted(await needs(needed, roots, shelf)), sorted(await union(roots, shelf)));
          }
        }
      },
    ),
    { numRuns: 60, seed: 6 },
  );
});

it("the blocks INodes need: a node that an earlier walk visited is not read again", async () => {
  const shelf = new NodeShelf();
  const sketch = new InodeSketch(7, shelf);
  for (let i = 0; i < 300; i++) sketch.write([i * 600, i]);
  const needed = new NeededBlocks(roomy);
  const first = sketch.checkpoint();
  await needs(needed, [first], shelf);
  const whole = needed.reads;
  await needs(needed, [first], shelf);
  assert.equal(needed.reads, whole + 1, "only the root");
  sketch.write([5]);
  await needs(needed, [first, sketch.checkpoint()], shelf);
  assert.ok(needed.reads - whole < 14, `only the paths that changed: ${needed.reads - whole}`);
});

it("the blocks INodes need: a walk that fails leaves nothing behind that a later one would take for visited", async () => {
  const shelf = new NodeShelf();
  const sketch = new InodeSketch(7, shelf);
  for (let i = 0; i < 300; i++) sketch.write([i]);
  const root = sketch.checkpoint();
  const needed = new NeededBlocks(roomy);
  const whole = await union([root], shelf);
  for (let failing = 1; failing < 12; failing++) {
    let count = 0;
    const flaky = async (pointer: NodePointer): Promise<Uint8Array> => {
      count += 1;
      if (count === failing) throw new Error("a node that cannot be read");
      // Siblings answer later than the one that fails.
      await new Promise(setImmediate);
      return shelf.read(pointer);
    };
    const failed = needed
      .walk([root], flaky, () => {})
      .then(
        () => false,
        () => true,
      );
    const isFailed = await failed;
    assert.deepEqual(sorted(await needs(needed, [root], shelf)), sorted(whole), `${failing} ${isFailed}`);
  }
});

it("the blocks INodes need: a node that is missing, or an INode that contradicts itself, rejects", async () => {
  const shelf = new NodeShelf();
  const sketch = new InodeSketch(7, shelf);
  sketch.write([1, 2, 3]);
  const root = sketch.checkpoint();
  const { map } = decodeRoot(await shelf.read(root));
  const isCorrupt = (error: unknown): boolean => isTorusError(error, "corrupt");
  shelf.lose(map as NodePointer);
  await assert.rejects(needs(new NeededBlocks(roomy), [root], shelf), isCorrupt);
  const other = new InodeSketch(8, shelf);
  other.write([1, 2]);
  const whole = other.checkpoint();
  const bytes = (await shelf.read(whole)).slice();
  const { sizeBytes, livePages, map: mapTop, table } = decodeRoot(bytes);
  const forged = encodeRoot({ sizeBytes, livePages: livePages + 1, map: mapTop, table });
  const pointer = { ...whole, checksum: crc32(forged) };
  shelf.put(pointer, forged);
  await assert.rejects(needs(new NeededBlocks(roomy), [pointer], shelf), isCorrupt);
});
