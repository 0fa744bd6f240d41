// kill -9 of every process at once, in the middle of writes, again and again: what was flushed before is there
// afterwards, and of what was not, each page holds something that was written to it. The kernel lives on here, and what
// was given to it is kept; what a power cut takes as well is tried in the tests of the store.

import assert from "node:assert/strict";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import type { Server } from "./daemons.ts";
import { Daemons } from "./daemons.ts";
import { NbdClient } from "./nbd-client.ts";
import { PageLedger, pageBytes } from "./page-ledger.ts";
import { waitFor } from "./programs.ts";
import { dice, scale, seed } from "./scale.ts";

const rounds = Math.ceil(8 * scale);
const volumePages = 4096;

const roll = dice(seed);

/** How the client works in a round. */
interface Load {
  readonly writers: number;
  readonly pagesMax: number;
  /** Nothing is written while a flush is under way, so that the log ends where the flush does. */
  readonly quietFlush: boolean;
}

function rollLoad(): Load {
  return { writers: [1, 4, 16][roll(3)], pagesMax: [1, 8][roll(2)], quietFlush: roll(2) === 0 };
}

/** Writes and flushes until the server dies; calls `onFlush` at once when one is answered. Resolves with how many were. */
async function workUntilKilled(
  client: NbdClient,
  ledger: PageLedger,
  load: Load,
  onFlush: () => void,
): Promise<number> {
  const busy = new Set<number>();
  let flushes = 0;
  let quiet: Promise<void> | null = null;
  const write = async (): Promise<never> => {
    for (;;) {
      if (quiet !== null) await quiet;
      const count = 1 + roll(load.pagesMax);
      const first = roll(volumePages - count);
      const pages = Array.from({ length: count }, (_, i) => first + i);
      // Which of two writes in flight to one page comes last is nobody's promise.
      if (pages.some((page) => busy.has(page))) continue;
      for (const page of pages) busy.add(page);
      const { versions, bytes } = ledger.write(first, count);
      await client.write(first * pageBytes, bytes);
      ledger.answered(first, versions);
      for (const page of pages) busy.delete(page);
    }
  };
  const flush = async (): Promise<never> => {
    for (;;) {
      await sleep(roll(30));
      const flushed = ledger.flushSent();
      const answered = client.flush();
      if (load.quietFlush) quiet = answered;
      await answered;
      quiet = null;
      flushed();
      flushes += 1;
      onFlush();
    }
  };
  const workers = [flush(), ...Array.from({ length: load.writers }, write)];
  const ends = await Promise.allSettled(workers);
  for (const end of ends) {
    // Errors of the device are not what a kill looks like.
    assert.ok(end.status === "rejected" && /closed|write after/.test(String(end.reason)), String(end.status));
  }
  return flushes;
}

async function verify(server: Server, ledger: PageLedger): Promise<void> {
  const client = await NbdClient.connect({ kind: "unix", path: server.socket }, "v");
  for (const page of ledger.pages) ledger.found(page, await client.read(page * pageBytes, pageBytes));
  client.destroy();
}

/** Starts everything; sometimes a start is cut off by the next kill. */
async function startAgain(daemons: Daemons): Promise<Server> {
  if (roll(3) === 0) {
    const start = daemons.startPeers().then(() => daemons.startServer(["v"]));
    start.catch(() => {});
    await sleep(500 + roll(2500));
    await daemons.killAll();
    await start.catch(() => {});
    await daemons.killAll();
  }
  await daemons.startPeers();
  const server = await daemons.startServer(["v"]);
  // Everybody who held what was not flushed is gone, and so is whoever was told of it.
  await daemons.torusctl("volume", "accept-loss", "v");
  return server;
}

test(`${rounds} times everything is killed while it works (seed ${seed})`, async (t) => {
  const daemons = await Daemons.start(t, { blockSize: "256KiB" });
  await daemons.torusctl("volume", "create-block", "v", `${volumePages * 4}KiB`);
  const ledger = new PageLedger();
  let server = await daemons.startServer(["v"]);
  let flushesTotal = 0;
  for (let round = 1; round <= rounds; round++) {
    const client = await NbdClient.connect({ kind: "unix", path: server.socket }, "v");
    // The worst moment is the one at which a flush was answered; any other is tried as well.
    let killing: Promise<void> | null = null;
    const kill = { atFlush: false };
    const load = rollLoad();
    const working = workUntilKilled(client, ledger, load, () => {
      if (kill.atFlush) killing ??= daemons.killAll();
    });
    await sleep(200 + roll(1300));
    kill.atFlush = roll(3) > 0;
    if (kill.atFlush) await waitFor("a flush to be answered", () => killing !== null);
    else killing = daemons.killAll();
    await killing;
    const flushes = await working;
    ledger.crashed();
    flushesTotal += flushes;
    server = await startAgain(daemons);
    await verify(server, ledger);
    t.diagnostic(`round ${round}: ${flushes} flushes, ${JSON.stringify(load)}`);
  }
  assert.ok(flushesTotal >= rounds, `only ${flushesTotal} flushes were answered`);
  await daemons.stopAll();
});
