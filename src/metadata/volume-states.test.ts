// All volumes, decoded again and again: what did not change is not decoded anew, what did is, whatever its revision says.

import assert from "node:assert/strict";
import { it } from "node:test";
import { isTorusError } from "#model";
import { SimClock } from "../sim/clock.ts";
import { openFixture } from "./cluster.fixture.ts";
import { volumeKey, volumesPrefix } from "./keys.ts";
import type { KeyValue } from "./service.ts";
import { VolumeStates } from "./volume-states.ts";

async function entriesOf(volumes: number): Promise<KeyValue[]> {
  const { cluster } = openFixture();
  await cluster.init({ blockBytes: 2 ** 20, ring: { version: 1, type: "empty", replicas: 3, members: [] } });
  for (let i = 1; i <= volumes; i++)
    await cluster.volumes.create({
      name: `v${i}`,
      sizeBytes: 2 ** 20,
      acknowledge: "replicated",
      minReplicas: 2,
    });
  return [...(await cluster.service.read([{ prefix: volumesPrefix }])).ranges[0]];
}

const renamed = (entries: readonly KeyValue[], id: number): KeyValue[] =>
  entries.map((entry) =>
    entry.key === volumeKey(id, "spec")
      ? { ...entry, value: entry.value.replace(`"v${id}"`, '"other"') }
      : entry,
  );

it("a volume that did not change is the same object, another text is decoded though its revision is the same", async () => {
  const entries = await entriesOf(3);
  const states = new VolumeStates({}, { clock: new SimClock() });
  const first = await states.decode(entries);
  const second = await states.decode(renamed(entries, 2));
  assert.deepEqual(
    [1, 2, 3].map((id) => first.get(id) === second.get(id)),
    [true, false, true],
  );
  assert.deepEqual([first.get(2)?.spec.name, second.get(2)?.spec.name], ["v2", "other"]);
  const without = entries.filter(({ key }) => !key.startsWith(volumeKey(1, "spec").slice(0, -4)));
  assert.deepEqual([...(await states.decode(without)).keys()], [2, 3]);
});

it("a key that came or went changes a volume, and one that cannot be read is told each time", async () => {
  const entries = await entriesOf(1);
  const states = new VolumeStates({}, { clock: new SimClock() });
  await states.decode(entries);
  const headless = entries.filter(({ key }) => key !== volumeKey(1, "spec"));
  for (let i = 0; i < 2; i++)
    await assert.rejects(states.decode(headless), (error) => isTorusError(error, "corrupt"));
  assert.equal((await states.decode(entries)).size, 1);
});

it("what does not fit the memory is decoded each time", async () => {
  const entries = await entriesOf(4);
  const bytes = entries.reduce((sum, { key, value }) => sum + key.length + value.length, 0);
  const states = new VolumeStates({ rememberedBytesMax: bytes / 2 }, { clock: new SimClock() });
  const first = await states.decode(entries);
  const second = await states.decode(entries);
  assert.deepEqual(
    [1, 2, 3, 4].map((id) => first.get(id) === second.get(id)),
    [true, true, false, false],
  );
  assert.deepEqual(first, second);
});

it("many volumes are decoded in several turns, and those that are known in one", async () => {
  const entries = await entriesOf(600);
  const clock = new SimClock();
  const states = new VolumeStates({}, { clock });
  const first = await clock.run(states.decode(entries));
  assert.equal(clock.steps, 2);
  assert.deepEqual(await states.decode(entries), first);
  assert.equal(clock.steps, 2);
});
