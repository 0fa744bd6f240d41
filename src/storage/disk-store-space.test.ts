// DiskStore without space: its own size is used up, or the file system is full, and has room again.

import assert from "node:assert/strict";
import { test } from "node:test";
import { crc32, isTorusError } from "#model";
import { SimulatedDrive } from "../sim/disk.ts";
import { SeededRandom } from "../sim/random.ts";
import { dataRef, openOn, SteppedClock, testBlockBytes, testDrive } from "./disk-store.fixture.ts";
import { sampleBlock, samplePage } from "./record.fixture.ts";

const inodeRef = (index: number) => dataRef(index, { type: 1 });

test("[C16] new data stops at the reserve; what frees space, recovery and checkpoints go on; removal makes room", async () => {
  const { store } = await openOn(testDrive().mount());
  let refs = 0;
  for (let index = 5; ; index++) {
    const ref = dataRef(index);
    const bytes = sampleBlock(ref, 1).bytes;
    const refused = await store.append(ref, 0, bytes, testBlockBytes).then(
      () => false,
      (error) => isTorusError(error, "full"),
    );
    if (refused) break;
    refs += 1;
  }
  assert.ok(refs > 20, `${refs} blocks fit`);
  assert.equal((await store.usage()).availableBytes, 0);
  const freeing = (index: number) => {
    const ref = dataRef(index);
    return store.append(ref, 0, sampleBlock(ref, 1).bytes, testBlockBytes, "reserve");
  };
  let freed = 0;
  while (
    await freeing(1000 + freed).then(
      () => true,
      (error) => !isTorusError(error, "full"),
    )
  )
    freed += 1;
  assert.ok(freed >= 2, `${freed} blocks that free space fit`);
  const recovery = dataRef(1, { epoch: 4 });
  await store.append(recovery, 0, sampleBlock(recovery, 2).bytes, testBlockBytes);
  const page = samplePage(1);
  let inodes = 0;
  for (let index = 1; index < 1000; index++) {
    const put = store.put(inodeRef(index), page, crc32(page), "repair");
    if (
      await put.then(
        () => false,
        (error) => isTorusError(error, "full"),
      )
    )
      break;
    inodes += 1;
  }
  assert.ok(inodes >= 2, `${inodes} checkpoints found room`);
  const { usedBytes, sizeBytes } = await store.usage();
  assert.ok(usedBytes <= sizeBytes);
  for (let index = 5; index < 15; index++) await store.remove(dataRef(index, { epoch: 3 }));
  const again = dataRef(100, { epoch: 4 });
  await store.append(again, 0, sampleBlock(again, 2).bytes, testBlockBytes);
  await store.close();
});

test("a file system that fills up says full, and the store goes on when there is space", async () => {
  const space = { capacityBytes: 24 * 2 ** 20 };
  const drive = new SimulatedDrive(space, { random: new SeededRandom(1) });
  const clock = new SteppedClock();
  const { store } = await openOn(drive.mount(), { sizeBytes: 64 * 2 ** 20 }, 1, clock);
  let index = 5;
  /** Blocks that find room, up to so many. */
  const fill = async (max: number): Promise<number> => {
    for (let count = 0; count < max; count++) {
      const ref = dataRef(index++);
      const append = store.append(ref, 0, sampleBlock(ref, 1).bytes, testBlockBytes);
      // One that waits for ever fails here.
      const refused = await clock.until(
        append.then(
          () => false,
          (error) => isTorusError(error, "full"),
        ),
      );
      if (refused) return count;
    }
    return max;
  };
  const first = await fill(300);
  assert.ok(first > 5 && first < 300, `${first} blocks`);
  assert.equal(await fill(300), 0);
  assert.equal(store.poison, null);
  await store.sync([dataRef(5)]);
  space.capacityBytes = 48 * 2 ** 20;
  const later = clock.monotonicMs() + 5001;
  while (clock.monotonicMs() < later) {
    clock.setTimer(later - clock.monotonicMs(), () => {});
    await clock.step();
  }
  // Far more than slots of segments that were made before.
  const more = await fill(300);
  assert.ok(more > first / 2 && more < 300, `${more} blocks more`);
  await clock.until(store.close());
});
