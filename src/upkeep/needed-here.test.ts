// What INodes need of a peer's own blocks, remembered from pass to pass, against the truth: blocks come and go between passes, INodes come and
// go, name blocks of other volumes, and passes fail half way.

import assert from "node:assert/strict";
import { it } from "node:test";
import fc from "fast-check";
import type { NodePointer } from "#metadata";
import type { BlockRef } from "#model";
import { TorusError } from "#model";
import { SimClock } from "../sim/clock.ts";
import { CollectMachine } from "./collect-machine.ts";
import { NeededHere } from "./needed-here.ts";
import { refOf, sketchSnapshot, statusOf } from "./snapshot.fixture.ts";

/** Of two volumes whose log is at epoch 2, all of epoch 1: what no INode needs is dead. */
const universe = [1, 2].flatMap((volume) => Array.from({ length: 6 }, (_, i) => `${volume}.1.0.${i + 1}`));
const snapshot = sketchSnapshot({
  volumes: {
    1: { epoch: 2, replayFrom: 1, root: null },
    2: { epoch: 2, replayFrom: 1, root: null },
  },
});

const rootAt = (number: number): NodePointer => ({
  ref: { type: 1, volume: 1, epoch: 1, index: 100 + number },
  offset: 0,
  length: 1,
  checksum: number,
});

class Bench {
  readonly truth = new Map<number, ReadonlySet<string>>();
  failing = -1;
  readonly machine = new CollectMachine({ graceMs: 0 });
  readonly here: NeededHere;

  constructor(memoryBytesMax = 2 ** 20) {
    const walk = async ([root]: readonly NodePointer[], _: unknown, note: (ref: BlockRef) => void) => {
      if (root.checksum === this.failing) throw new TorusError("timeout", "nobody has it");
      for (const key of this.truth.get(root.checksum) ?? []) note(refOf(key));
    };
    this.here = new NeededHere({ memoryBytesMax }, { needed: { walk }, clock: new SimClock() });
  }

  /** What a pass over `blocks` takes for needed. */
  async pass(blocks: ReadonlySet<string>, roots: readonly number[]): Promise<string[]> {
    const pass = this.machine.begin(0);
    const listed = universe.filter((key) => blocks.has(key));
    pass.listed(listed.map((key) => statusOf(key)));
    pass.read(snapshot);
    await this.here.mark(pass, roots.map(rootAt), async () => new Uint8Array(0));
    this.machine.finish(pass, 0);
    this.here.commit();
    return listed.filter((_, place) => pass.isNeeded(place));
  }
}

const keys = fc.subarray(universe);
const step = fc.record({
  come: keys,
  go: keys,
  roots: fc.subarray([0, 1, 2, 3, 4]),
  failing: fc.oneof({ weight: 4, arbitrary: fc.constant(-1) }, { weight: 1, arbitrary: fc.nat(4) }),
});

it("what INodes need here: is what walking all of them finds, whatever came and went and failed between passes", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(keys, { minLength: 5, maxLength: 5 }),
      fc.array(step, { minLength: 2, maxLength: 12 }),
      fc.constantFrom(0, 600, 2 ** 20),
      async (needs, steps, memoryBytesMax) => {
        const bench = new Bench(memoryBytesMax);
        for (const [number, named] of needs.entries()) bench.truth.set(number, new Set(named));
        const blocks = new Set<string>();
        for (const { come, go, roots, failing } of steps) {
          for (const key of go) blocks.delete(key);
          for (const key of come) blocks.add(key);
          bench.failing = failing;
          const found = await bench.pass(blocks, roots).catch(() => null);
          if (found === null) continue;
          const needed = roots.flatMap((number) => [...(bench.truth.get(number) ?? [])]);
          assert.deepEqual(
            found,
            universe.filter((key) => blocks.has(key) && needed.includes(key)),
          );
        }
      },
    ),
    { numRuns: 400, seed: 11 },
  );
});

it("what INodes need here: one that is known is not walked again, unless a block came that it may name", async () => {
  const bench = new Bench();
  bench.truth.set(0, new Set(["1.1.0.1", "1.1.0.2"]));
  bench.truth.set(1, new Set(["2.1.0.1"]));
  const walked: number[] = [];
  const look = async (...blocks: string[]): Promise<void> => {
    await bench.pass(new Set(blocks), [0, 1]);
    walked.push(bench.here.walked);
  };
  await look("1.1.0.1", "2.1.0.1");
  await look("1.1.0.1", "2.1.0.1");
  await look("2.1.0.1");
  await look("1.1.0.2", "2.1.0.1");
  await look("1.1.0.2", "2.1.0.1");
  assert.deepEqual(walked, [2, 0, 0, 1, 0]);
});
