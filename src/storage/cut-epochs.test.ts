// Which logs a store may have lost something of: after a crash those of every epoch it knew, after a closing in order none that
// were whole before, and rot after such a closing makes it a crash.

import assert from "node:assert/strict";
import { test } from "node:test";
import { messageOf } from "#model";
import { dataRef, openOn, testBlockBytes, testDrive } from "./disk-store.fixture.ts";
import type { DiskStore } from "./disk-store.ts";
import { dataFileName } from "./identity.ts";
import { sampleBlock } from "./record.fixture.ts";

const volume = dataRef(1).volume;
const epoch = dataRef(1).epoch;

async function append(store: DiskStore, index: number, inEpoch = epoch): Promise<void> {
  const ref = dataRef(index, { epoch: inEpoch });
  await store.append(ref, 0, sampleBlock(ref, 2).bytes, testBlockBytes);
}

/** As the writer of `epoch + 1` is told. */
async function cutEpoch(store: DiskStore, fenceEpoch: number): Promise<number> {
  return (await store.fence(volume, fenceEpoch, fenceEpoch - 1, 1, null)).cutEpoch;
}

test("a store that never restarted lost nothing, whatever epochs come", async () => {
  const { store } = await openOn(testDrive().mount());
  await append(store, 1);
  assert.equal(await cutEpoch(store, epoch + 1), 0);
  await append(store, 1, epoch + 1);
  assert.equal(await cutEpoch(store, epoch + 5), 0);
});

test("after a crash the logs of all epochs it knew may be cut, also where no block is left to tell", async () => {
  for (const power of [false, true]) {
    const drive = testDrive();
    const first = await openOn(drive.mount());
    await append(first.store, 1);
    // Held in memory alone: the crash takes all of it.
    if (power) drive.cutPower();
    else drive.killProcess();
    const { store } = await openOn(drive.mount());
    assert.deepEqual((await store.list(null, 9)).blocks, []);
    await append(store, 1);
    assert.equal(
      await cutEpoch(store, epoch + 1),
      epoch,
      "block 1 is new here, and may have been longer before",
    );
    await append(store, 1, epoch + 1);
    assert.equal(await cutEpoch(store, epoch + 2), epoch, "what came later is whole");
  }
});

test("a closing in order loses nothing, and does not heal what a crash had cut", async () => {
  const drive = testDrive();
  let { store } = await openOn(drive.mount());
  await append(store, 1);
  await store.close();
  ({ store } = await openOn(drive.mount()));
  assert.equal(await cutEpoch(store, epoch + 1), 0);
  await append(store, 2, epoch + 1);
  drive.killProcess();
  ({ store } = await openOn(drive.mount()));
  assert.equal(await cutEpoch(store, epoch + 2), epoch + 1, "the closing was of the life before the last");
  await store.close();
  ({ store } = await openOn(drive.mount()));
  assert.equal(await cutEpoch(store, epoch + 3), epoch + 1);
});

test("rot after a closing in order counts as a crash, in the blocks or in what was left", async () => {
  for (const where of ["block", "closing"]) {
    const drive = testDrive();
    const { store } = await openOn(drive.mount());
    await append(store, 1);
    const place = store.placeOf(dataRef(1)) ?? assert.fail("it is there");
    await store.close();
    if (where === "block") drive.rot(dataFileName, place + 4096 + 100);
    else drive.setText("closed.json", drive.text("closed.json")?.replace('"cuts":[]', '"cuts":{}') ?? "");
    const opened = await openOn(drive.mount());
    assert.equal(await cutEpoch(opened.store, epoch + 1), epoch);
    assert.ok(opened.lines.some(({ message }) => message.includes("counts as a crash")));
  }
});

test("a store that was poisoned has not closed in order", async () => {
  const drive = testDrive();
  const { store } = await openOn(drive.mount());
  await append(store, 1);
  drive.failDataSyncs(1);
  await store.close().catch((error: unknown) => assert.match(messageOf(error), /disk error/));
  drive.killProcess();
  const again = await openOn(drive.mount());
  assert.equal(await cutEpoch(again.store, epoch + 1), epoch);
});
