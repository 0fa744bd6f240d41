// What I/O meets when a peer goes: the longest that any request took.

import { setTimeout as sleep } from "node:timers/promises";
import type { Bench, Figures, Measure } from "./bench.ts";

const watchedMs = 5000;
const writesAimMs = 2000;

/** The longest of each while `act` does what it does, and for a while after. */
async function during(bench: Bench, act: () => Promise<unknown>): Promise<Figures> {
  const load = await bench.load();
  await act();
  await sleep(watchedMs);
  const { writeMs, readMs, errors } = load.longest;
  if (errors > 0) throw new Error(`${errors} requests failed`);
  return { writes: writeMs, reads: readMs };
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
    aim: writesAimMs,
    run: (bench) => during(bench, () => bench.cluster.peers[1].node.kill()),
  },
  {
    name: "peer killed and started again",
    unit: "s",
    aim: writesAimMs,
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
    aim: writesAimMs,
    run: (bench) => during(bench, async () => bench.cluster.peers[1].node.signal("SIGSTOP")),
  },
  {
    name: "peer cut off (packets dropped)",
    unit: "s",
    aim: writesAimMs,
    run: (bench) =>
      during(bench, async () => {
        const { machine } = bench.cluster.peers[1].node;
        await Promise.all([machine.deafen(), machine.silence()]);
      }),
  },
];
