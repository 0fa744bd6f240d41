// What I/O meets when a peer goes: the longest that any request took.

import { setTimeout as sleep } from "node:timers/promises";
import type { NbdClient } from "../../system/nbd-client.ts";
import { NbdError } from "../../system/nbd-client.ts";
import type { Bench, Figures, Measure } from "./bench.ts";
import { readBytes } from "./io-load.ts";

const watchedMs = 5000;
const aim = { writes: 2000, reads: 200 };
const fullMsMax = 120_000;
const writersWhileFilling = 8;
const refusedRestMs = 20;
const enospc = 28;
const piece = Buffer.alloc(2 ** 20, 5);

/** The longest of each while `act` does what it does, and for a while after. */
async function during(bench: Bench, act: () => Promise<unknown>): Promise<Figures> {
  const load = await bench.load();
  await act();
  await sleep(watchedMs);
  const { writeMs, readMs, errors } = load.longest;
  if (errors > 0) throw new Error(`${errors} requests failed`);
  return { writes: writeMs, reads: readMs };
}

/** From the moment at which a disk that was full has space again, until writes are answered. */
async function freed(bench: Bench): Promise<Figures> {
  const { disk } = bench.cluster.peers.find((peer) => peer.disk !== null)!;
  const client = await bench.open(bench.hosts[0]);
  await disk!.fill();
  await untilFull(client);
  disk!.free();
  const freedMs = performance.now();
  while (!(await isTaken(client))) await sleep(refusedRestMs);
  client.destroy();
  return { writes: performance.now() - freedMs };
}

/** The store goes on for as long as the file has room that it took before. */
async function untilFull(client: NbdClient): Promise<void> {
  const endMs = performance.now() + fullMsMax;
  const writing = async (): Promise<void> => {
    while (await isTaken(client)) if (performance.now() > endMs) throw new Error("the disk did not fill up");
  };
  await Promise.all(Array.from({ length: writersWhileFilling }, writing));
}

/** A write is answered; false when there is no space for it. */
async function isTaken(client: NbdClient): Promise<boolean> {
  try {
    await client.write(readBytes, piece);
    return true;
  } catch (error) {
    if (error instanceof NbdError && error.errno === enospc) return false;
    throw error;
  }
}

export const peerStalls: readonly Measure[] = [
  {
    name: "nothing happens",
    unit: "s",
    aim: null,
    run: (bench) => during(bench, async () => {}),
  },
  {
    name: "peer killed",
    unit: "s",
    aim,
    run: (bench) => during(bench, () => bench.cluster.peers[1].node.kill()),
  },
  {
    name: "peer killed and started again",
    unit: "s",
    aim,
    run: (bench) =>
      during(bench, async () => {
        const { node } = bench.cluster.peers[1];
        await node.kill();
        await node.up();
      }),
  },
  {
    name: "peer frozen (SIGSTOP)",
    unit: "s",
    aim,
    run: (bench) => during(bench, async () => bench.cluster.peers[1].node.signal("SIGSTOP")),
  },
  {
    name: "peer cut off (packets dropped)",
    unit: "s",
    aim,
    run: (bench) =>
      during(bench, async () => {
        const { machine } = bench.cluster.peers[1].node;
        await Promise.all([machine.deafen(), machine.silence()]);
      }),
  },
  // Once: a store that was given space keeps it, and takes long to fill again.
  { name: "disk of a peer full, then freed", unit: "s", aim: null, times: 1, run: freed },
];
