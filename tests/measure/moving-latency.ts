// What users notice of blocks being moved: how long 99 of 100 of their requests take before, while and after, on a cluster with the default
// budget. A fourth peer comes, is drained, and comes again: three moves, each with a load of its own before, during and after it.

import { setTimeout as sleep } from "node:timers/promises";
import { formatTable } from "../../src/cmd/shared/table.ts";
import { Daemons, uriOf } from "../system/daemons.ts";
import type { FioJob } from "../system/fio.ts";
import { Fio, p99Ms } from "../system/fio.ts";
import type { Scope } from "../system/programs.ts";
import { scratchDirectory, waitFor } from "../system/programs.ts";

const volumeMebibytes = 384;
/** Of a user who does some work, and not all that the cluster can do: that is how latency is felt. */
const load = ["--rw=randrw", "--bs=4k", "--iodepth=4", "--rate_iops=250,250", "--fsync=32", "--time_based"];
const phaseSeconds = 10;
/** Moving may go on for longer than it is looked at. */
const duringSecondsMax = 25;
const settleMsMax = 300_000;
const restMs = 4000;
const loadStopMs = 20_000;
/** During over before, at most. */
export const ratioAim = 2;

export type Phase = "before" | "during" | "after";

/** Milliseconds. */
export interface Latencies {
  readonly reads: number;
  readonly writes: number;
  readonly flushes: number;
}

export interface MovingRun {
  readonly move: string;
  readonly p99Ms: Readonly<Record<Phase, Latencies>>;
  /** How long the move took, and how many bytes were sent from peer to peer. */
  readonly movingSeconds: number;
  readonly movedBytes: number;
}

export interface MovingLatency {
  readonly runs: readonly MovingRun[];
  /** Medians over the runs of during over before, and of after over before. */
  readonly during: Latencies;
  readonly after: Latencies;
  readonly aim: number;
}

interface PeerReport {
  readonly peer: string;
  readonly upkeep: { readonly movedBytes: number } | null;
}

export async function measureMoving(
  scope: Scope,
  say: (line: string) => void,
  peerFlags: readonly string[] = [],
): Promise<MovingLatency> {
  const daemons = await Daemons.start(scope, { peerFlags });
  await daemons.torusctl("volume", "create-block", "v", `${volumeMebibytes}MiB`);
  const server = await daemons.startServer(["v"]);
  const directory = scratchDirectory(scope);
  const uri = uriOf(server, "v");
  const fio = (flags: readonly string[]): Fio => new Fio(directory, uri, flags);
  say(`writing ${volumeMebibytes} MiB`);
  await fio(["--rw=write", "--bs=1M", "--iodepth=4", `--size=${volumeMebibytes}m`]).end(settleMsMax);
  const underLoad = async (seconds: number): Promise<Latencies> => {
    const job = fio([...load, `--size=${volumeMebibytes}m`, `--runtime=${seconds}`]);
    return latenciesOf(await job.end((seconds + 30) * 1000));
  };
  const runs: MovingRun[] = [];
  const fourth = { id: "" };
  const moves: readonly { readonly what: string; act(): Promise<unknown> }[] = [
    { what: "a peer is added", act: async () => (fourth.id = (await daemons.startPeer(4)).id) },
    { what: "it is drained", act: () => daemons.torusctl("peer", "drain", fourth.id) },
    { what: "it is added again", act: () => daemons.torusctl("peer", "add", fourth.id) },
  ];
  for (const { what, act } of moves) {
    await sleep(restMs);
    const before = await underLoad(phaseSeconds);
    const sentBefore = await sentBytes(daemons);
    const job = fio([...load, `--size=${volumeMebibytes}m`, `--runtime=${duringSecondsMax}`]);
    const startedMs = performance.now();
    await act();
    await waitFor(
      "the load or the move to end",
      async () => job.hasEnded || (await isBalanced(daemons)),
      settleMsMax,
    );
    if (!job.hasEnded) job.stop();
    const during = latenciesOf(await job.end(loadStopMs));
    await waitFor("blocks to be in place", () => isBalanced(daemons), settleMsMax);
    const movingSeconds = (performance.now() - startedMs) / 1000;
    await sleep(restMs);
    const movedBytes = (await sentBytes(daemons)) - sentBefore;
    const after = await underLoad(phaseSeconds);
    const run = { move: what, p99Ms: { before, during, after }, movingSeconds, movedBytes };
    runs.push(run);
    say(formatRun(run));
  }
  await daemons.stopAll();
  return { runs, during: medianRatios(runs, "during"), after: medianRatios(runs, "after"), aim: ratioAim };
}

function latenciesOf({ read, write, sync }: FioJob): Latencies {
  return { reads: p99Ms(read.clat_ns), writes: p99Ms(write.clat_ns), flushes: p99Ms(sync.lat_ns) };
}

async function listPeers(daemons: Daemons): Promise<{ balanced: boolean; peers: readonly PeerReport[] }> {
  return JSON.parse(await daemons.torusctl("peer", "list", "-o", "json"));
}

async function isBalanced(daemons: Daemons): Promise<boolean> {
  await sleep(500);
  return (await listPeers(daemons)).balanced;
}

/** By all peers, of moved blocks, since they started. */
async function sentBytes(daemons: Daemons): Promise<number> {
  const { peers } = await listPeers(daemons);
  return peers.reduce((sum, { upkeep }) => sum + (upkeep?.movedBytes ?? 0), 0);
}

function medianRatios(runs: readonly MovingRun[], phase: Phase): Latencies {
  const median = (of: keyof Latencies): number => {
    const ratios = runs.map(({ p99Ms }) => p99Ms[phase][of] / p99Ms.before[of]).sort((a, b) => a - b);
    return Math.round(ratios[Math.floor(ratios.length / 2)] * 100) / 100;
  };
  return { reads: median("reads"), writes: median("writes"), flushes: median("flushes") };
}

function formatRun({ move, p99Ms, movingSeconds, movedBytes }: MovingRun): string {
  const of = (phase: Phase): string => {
    const { reads, writes, flushes } = p99Ms[phase];
    return `${phase} ${reads.toFixed(1)}/${writes.toFixed(1)}/${flushes.toFixed(1)}`;
  };
  const rate = `${Math.round(movedBytes / 2 ** 20)} MiB in ${movingSeconds.toFixed(0)} s`;
  return `${move}: ${rate}; p99 of reads/writes/flushes in ms: ${of("before")}, ${of("during")}, ${of("after")}`;
}

export function formatMoving({ runs, during, after, aim }: MovingLatency): string {
  const right = { align: "right" } as const;
  const columns = [
    { title: "MOVE" },
    { title: "REQUESTS" },
    { title: "BEFORE", ...right },
    { title: "DURING", ...right },
    { title: "AFTER", ...right },
    { title: "RATIO", ...right },
  ];
  const kinds = ["reads", "writes", "flushes"] as const;
  const rows = runs.flatMap(({ move, p99Ms }) =>
    kinds.map((kind) => [
      move,
      kind,
      `${p99Ms.before[kind].toFixed(1)} ms`,
      `${p99Ms.during[kind].toFixed(1)} ms`,
      `${p99Ms.after[kind].toFixed(1)} ms`,
      (p99Ms.during[kind] / p99Ms.before[kind]).toFixed(2),
    ]),
  );
  for (const kind of kinds)
    rows.push(["median of the ratios", kind, "", `${during[kind]}`, `${after[kind]}`, `aim: ${aim}`]);
  return formatTable(columns, rows, false);
}
