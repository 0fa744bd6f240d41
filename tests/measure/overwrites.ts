// A day of random overwrites, as fast as it goes: 4 KiB at random over a volume that is 70 % full, until many times its size was written. What it
// costs in space and in bytes written, and whether anything is left over: in the end every block of every peer is read and held against
// what the INodes need.

import { setTimeout as sleep } from "node:timers/promises";
import { createLog } from "#host/node";
import { openCluster } from "../../src/cmd/shared/metadata-options.ts";
import { formatTable } from "../../src/cmd/shared/table.ts";
import { Daemons, metricsOf, uriOf } from "../system/daemons.ts";
import type { FioJob } from "../system/fio.ts";
import { Fio, p99Ms } from "../system/fio.ts";
import type { PoolAudit } from "../system/pool-audit.ts";
import { auditPool, complaintsOf } from "../system/pool-audit.ts";
import type { Scope } from "../system/programs.ts";
import { scratchDirectory, waitFor } from "../system/programs.ts";

export interface OverwriteOptions {
  readonly volumeMebibytes: number;
  /** So many times the volume's size is written. */
  readonly times: number;
  /** Of the cluster, such as 4MiB. */
  readonly blockSize: string;
  /** Of each peer's store. */
  readonly poolMebibytes: number;
  readonly peerFlags?: readonly string[];
}

export interface Overwrites {
  readonly volumeMebibytes: number;
  readonly liveMebibytes: number;
  readonly writtenMebibytes: number;
  readonly seconds: number;
  readonly writesPerSecond: number;
  readonly p99Ms: number;
  /** (written + moved + checkpoints) / written. */
  readonly writeAmplification: number;
  /** Used by the fullest peer at most, over what is live; and once all had settled. */
  readonly spaceMost: number;
  readonly spaceAfter: number;
  readonly blocks: number;
  readonly neededBlocks: number;
  readonly auditedMebibytes: number;
  /** Neither needed by an INode nor by a log: must be none, as must be what is wrong. */
  readonly leaked: readonly string[];
  readonly wrong: readonly string[];
}

const mebibyte = 2 ** 20;
const filledPart = 0.7;
const sampleEveryMs = 1000;
const runMsMax = 3_600_000;
const settleMsMax = 120_000;

export async function measureOverwrites(
  scope: Scope,
  options: OverwriteOptions,
  say: (line: string) => void,
): Promise<Overwrites> {
  const { volumeMebibytes, times, blockSize, poolMebibytes } = options;
  const peerFlags = ["--size", `${poolMebibytes}MiB`, "--collect-grace", "2s", ...(options.peerFlags ?? [])];
  const daemons = await Daemons.start(scope, { blockSize, peerFlags });
  await daemons.torusctl("volume", "create-block", "v", `${volumeMebibytes}MiB`);
  const server = await daemons.startServer(["v"]);
  const directory = scratchDirectory(scope);
  const liveMebibytes = Math.floor(volumeMebibytes * filledPart);
  const fio = (flags: readonly string[]): Fio =>
    new Fio(directory, uriOf(server, "v"), [`--size=${liveMebibytes}m`, "--verify=crc32c", ...flags]);
  await fio(["--rw=write", "--bs=4k", "--iodepth=32", "--do_verify=0"]).end(runMsMax);
  const before = await metricsOf(server);
  const loops = Math.ceil((times * volumeMebibytes) / liveMebibytes);
  say(`${liveMebibytes} MiB are live; overwriting them ${loops} times`);
  const startedMs = performance.now();
  // At random indeed: fio would else write each page once a loop, and blocks die by themselves.
  const random = ["--rw=randwrite", "--norandommap", "--bs=4k", "--iodepth=32"];
  const job = fio([...random, "--do_verify=0", `--loops=${loops}`]);
  let usedMost = 0;
  for (let said = performance.now(); !job.hasEnded; await sleep(sampleEveryMs)) {
    usedMost = Math.max(usedMost, await usedMebibytes(daemons));
    if (performance.now() - said < 30_000) continue;
    said = performance.now();
    const written = ((await metricsOf(server)).get("torus_volume_written_bytes_total") ?? 0) / mebibyte;
    say(`${Math.round(written)} MiB written, ${Math.round(usedMost)} MiB used at most`);
  }
  const done = await job.end(runMsMax);
  const seconds = (performance.now() - startedMs) / 1000;
  const after = await metricsOf(server);
  await fio(["--rw=read", "--bs=4k", "--iodepth=32"]).end(runMsMax);
  await daemons.stop(server);
  const audit = await settledAudit(daemons);
  const settledMebibytes = await usedFrom(daemons, Date.now());
  await daemons.stopAll();
  const grew = (name: string): number => (after.get(name) ?? 0) - (before.get(name) ?? 0);
  const written = grew("torus_volume_written_bytes_total");
  const beside = grew("torus_volume_moved_bytes_total") + grew("torus_volume_checkpoint_bytes_total");
  return {
    volumeMebibytes,
    liveMebibytes,
    writtenMebibytes: Math.round(written / mebibyte),
    ...speedOf(done, seconds),
    writeAmplification: hundredths((written + beside) / written),
    spaceMost: hundredths(usedMost / liveMebibytes),
    spaceAfter: hundredths(settledMebibytes / liveMebibytes),
    blocks: audit.blocks,
    neededBlocks: audit.needed,
    auditedMebibytes: Math.round(audit.bytes / mebibyte),
    leaked: audit.leaked,
    wrong: audit.wrong,
  };
}

function speedOf({ write }: FioJob, seconds: number) {
  return {
    seconds: Math.round(seconds),
    writesPerSecond: Math.round(write.total_ios / seconds),
    p99Ms: hundredths(p99Ms(write.clat_ns)),
  };
}

interface PeerUse {
  readonly usedBytes: number | null;
  readonly updatedMs: number;
}

async function peerUses(daemons: Daemons): Promise<readonly PeerUse[]> {
  return (JSON.parse(await daemons.torusctl("peer", "list", "-o", "json")) as { peers: PeerUse[] }).peers;
}

function fullest(peers: readonly PeerUse[]): number {
  return Math.max(...peers.map(({ usedBytes }) => usedBytes ?? 0)) / mebibyte;
}

/** By the fullest peer, as it last said. */
async function usedMebibytes(daemons: Daemons): Promise<number> {
  return fullest(await peerUses(daemons));
}

/** The same, once each peer has said something after `wallMs`. */
async function usedFrom(daemons: Daemons, wallMs: number): Promise<number> {
  return waitFor("peers to say what they use now", async () => {
    const peers = await peerUses(daemons);
    return peers.every(({ updatedMs }) => updatedMs > wallMs) ? fullest(peers) : null;
  });
}

/** An audit that finds nothing to say, or the last one, when there is something to say for long. */
async function settledAudit(daemons: Daemons): Promise<PoolAudit> {
  const log = createLog({ level: "silent", name: "audit" });
  const cluster = await openCluster(daemons.metadataUrl, { create: false }, { log });
  let last: PoolAudit | null = null;
  try {
    await waitFor(
      "nothing to be left over",
      async () => {
        last = await auditPool(cluster);
        return last.leaked.length === 0 && last.wrong.length === 0;
      },
      settleMsMax,
    );
  } catch (error) {
    if (last === null) throw error;
  } finally {
    await cluster.close();
  }
  return last!;
}

function hundredths(value: number): number {
  return Math.round(value * 100) / 100;
}

export function formatOverwrites(found: Overwrites): string {
  const rows = [
    ["volume, and live part of it", `${found.volumeMebibytes} MiB, ${found.liveMebibytes} MiB`],
    ["written, 4 KiB at random", `${found.writtenMebibytes} MiB in ${found.seconds} s`],
    ["writes a second, p99", `${found.writesPerSecond}, ${found.p99Ms} ms`],
    ["write amplification", `${found.writeAmplification}`],
    ["space at most, over live", `${found.spaceMost}`],
    ["space in the end, over live", `${found.spaceAfter}`],
    ["blocks, needed by INodes", `${found.blocks}, ${found.neededBlocks}`],
    ["read from all peers", `${found.auditedMebibytes} MiB`],
    ["left over", found.leaked.length === 0 ? "nothing" : complaintsOf(found.leaked)],
    ["wrong", found.wrong.length === 0 ? "nothing" : complaintsOf(found.wrong)],
  ];
  return formatTable([{ title: "WHAT" }, { title: "FOUND" }], rows, false);
}
