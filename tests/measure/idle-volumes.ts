// Many volumes at rest: what a server that has them attached takes of memory and of a core, beside one that has none, and how long it takes to
// attach them all.

import { setTimeout as sleep } from "node:timers/promises";
import { connect } from "torus";
import { formatTable } from "../../src/cmd/shared/table.ts";
import type { MemoryUse } from "../bench/process-cost.ts";
import { cpuSeconds, memoryUse } from "../bench/process-cost.ts";
import type { Server } from "../system/daemons.ts";
import { Daemons } from "../system/daemons.ts";
import type { Scope } from "../system/programs.ts";

export interface IdleVolumes {
  readonly volumes: number;
  /** From the start of the server until it serves all of them, less what it takes without any. */
  readonly attachSeconds: number;
  readonly without: ServerAtRest;
  readonly withAll: ServerAtRest;
}

export interface ServerAtRest {
  readonly startSeconds: number;
  readonly memory: MemoryUse;
  /** Of a core. */
  readonly cpuShare: number;
}

const restMs = 10_000;
const watchedMs = 20_000;
const volumeBytes = 2 ** 30;

export async function measureIdleVolumes(
  scope: Scope,
  volumes: number,
  say: (line: string) => void,
): Promise<IdleVolumes> {
  const daemons = await Daemons.start(scope);
  const names = Array.from({ length: volumes }, (_, index) => `v${index + 1}`);
  say(`making ${volumes} volumes`);
  const cluster = await connect(daemons.metadataUrl);
  for (const name of names) await cluster.createVolume(name, { sizeBytes: volumeBytes });
  await cluster.close();
  const measured: ServerAtRest[] = [];
  for (const attached of [[], names]) {
    say(`a server with ${attached.length} volumes`);
    const startedMs = performance.now();
    const server = await daemons.startServer(attached, ["--lease", "10s"]);
    measured.push(await atRest(server, (performance.now() - startedMs) / 1000));
    await daemons.stop(server);
  }
  const [without, withAll] = measured;
  return { volumes, attachSeconds: withAll.startSeconds - without.startSeconds, without, withAll };
}

async function atRest({ program }: Server, startSeconds: number): Promise<ServerAtRest> {
  await sleep(restMs);
  const before = cpuSeconds([program.pid]);
  await sleep(watchedMs);
  const cpuShare = (cpuSeconds([program.pid]) - before) / (watchedMs / 1000);
  return { startSeconds, memory: memoryUse(program.pid), cpuShare };
}

export function formatIdleVolumes({ volumes, attachSeconds, without, withAll }: IdleVolumes): string {
  const titles = ["START S", "RSS MIB", "PRIVATE MIB", "CPU %"];
  const columns = [{ title: "VOLUMES" }, ...titles.map((title) => ({ title, align: "right" as const }))];
  const row = (count: number, { startSeconds, memory, cpuShare }: ServerAtRest): string[] => [
    `${count}`,
    startSeconds.toFixed(1),
    (memory.residentBytes / 2 ** 20).toFixed(1),
    (memory.privateBytes / 2 ** 20).toFixed(1),
    (cpuShare * 100).toFixed(1),
  ];
  const eachKibibytes = (withAll.memory.privateBytes - without.memory.privateBytes) / volumes / 1024;
  const eachShare = ((withAll.cpuShare - without.cpuShare) / volumes) * 100;
  return [
    formatTable(columns, [row(0, without), row(volumes, withAll)], false),
    `a volume at rest: ${eachKibibytes.toFixed(0)} KiB, ${eachShare.toFixed(3)} % of a core; attached in ` +
      `${((attachSeconds / volumes) * 1000).toFixed(0)} ms, all at once`,
  ].join("\n");
}
