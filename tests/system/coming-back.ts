// A client that comes back by itself when its server has gone (QEMU's, with reconnect-delay), and what works through it.

import { join } from "node:path";
import type { Server } from "./daemons.ts";
import { metricsOf } from "./daemons.ts";
import type { FioJob } from "./fio.ts";
import { Fio } from "./fio.ts";
import type { Scope } from "./programs.ts";
import { Program, scratchDirectory, tryRun, waitFor } from "./programs.ts";

const writesBetween = 300;
const progressMsMax = 90_000;
export const fioMsMax = 240_000;

/** A client of `server` that comes back, and gives the volume on at a socket of its own: the address of that. */
export async function bridge(t: Scope, server: Server, reconnectSeconds: number): Promise<string> {
  const socket = join(scratchDirectory(t), "bridge.sock");
  const file = [
    "driver=raw,file.driver=nbd,file.server.type=unix",
    `file.server.path=${server.socket},file.export=v,file.reconnect-delay=${reconnectSeconds}`,
  ];
  const flags = ["--persistent", "--shared=0", `--socket=${socket}`, "--image-opts", file.join(",")];
  const program = new Program("qemu-nbd", flags);
  t.after(() => program.killGroup());
  const uri = `nbd+unix:///?socket=${socket}`;
  await waitFor("qemu-nbd to serve", async () => (await tryRun("nbdinfo", [uri], 5000)).code === 0);
  return uri;
}

/** Writes for a while, flushes now and then, and verifies what it wrote. */
export function startFio(t: Scope, uri: string): Fio {
  return new Fio(scratchDirectory(t), uri, [
    ...["--rw=randwrite", "--bs=4k", "--iodepth=8", "--fsync=100", "--size=16m", "--thinktime=2ms"],
    ...["--verify=crc32c", "--verify_backlog=512", "--do_verify=1", "--verify_fatal=1"],
  ]);
}

/** One after the other until told to stop; rejects with the first that met an error. */
export async function keepWorking(t: Scope, uri: string, work: { isOver: boolean }): Promise<FioJob[]> {
  const jobs: FioJob[] = [];
  while (!work.isOver) jobs.push(await startFio(t, uri).end(fioMsMax));
  return jobs;
}

/** Waits until the server has taken some writes. */
export async function works(server: Server): Promise<void> {
  const writes = async () => (await metricsOf(server)).get("torus_nbd_writes_total") ?? 0;
  await waitFor("writes to go on", async () => (await writes()) >= writesBetween, progressMsMax);
}
