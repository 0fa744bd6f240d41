// DiskStore passes the suite of every BlockStore, on a simulated drive and in a real directory.

import { closeSync, mkdtempSync, openSync, readSync, rmSync, writeSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openDisk } from "#host/node";
import type { BlockRef } from "#model";
import { keptLog, openOn, testDrive } from "./disk-store.fixture.ts";
import type { DiskStore } from "./disk-store.ts";
import { dataFileName } from "./identity.ts";
import { storeSuite } from "./store-suite.ts";

storeSuite("disk, simulated", async () => {
  const drive = testDrive();
  let { store } = await openOn(drive.mount());
  return {
    store,
    reopen: async ({ loseUnsynced }) => {
      if (loseUnsynced) drive.cutPower();
      else await store.close();
      ({ store } = await openOn(drive.mount()));
      return store;
    },
    corrupt: (ref, offset) => drive.rot(dataFileName, placeOf(store, ref) + offset),
    close: async () => {
      drive.killProcess();
    },
  };
});

storeSuite("disk, real directory", async () => {
  const directory = mkdtempSync(join(tmpdir(), "torus-store-"));
  const mount = () => openDisk(directory, { log: keptLog() });
  let { store } = await openOn(mount());
  return {
    store,
    // A process cannot lose power: what was held is closed cleanly instead, which the suite allows for.
    reopen: async () => {
      await store.close();
      ({ store } = await openOn(mount()));
      return store;
    },
    corrupt: (ref, offset) => flipByte(join(directory, dataFileName), placeOf(store, ref) + offset),
    close: async () => {
      await store.close();
      rmSync(directory, { recursive: true });
    },
  };
});

function placeOf(store: DiskStore, ref: BlockRef): number {
  const place = store.placeOf(ref);
  if (place === null) throw new Error("the block is not here");
  return place;
}

function flipByte(path: string, offset: number): void {
  const file = openSync(path, "r+");
  const byte = Buffer.alloc(1);
  readSync(file, byte, 0, 1, offset);
  byte[0] ^= 0xff;
  writeSync(file, byte, 0, 1, offset);
  closeSync(file);
}
