// fio on a volume, and what it measured.

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { Program } from "./programs.ts";

/** Of one direction of a job, in fio's own terms. */
interface FioSide {
  readonly total_ios: number;
  readonly iops: number;
  readonly bw_bytes: number;
  readonly clat_ns: FioLatency;
}

export interface FioLatency {
  readonly max: number;
  readonly mean: number;
  /** By percentage, such as "99.000000". */
  readonly percentile: Readonly<Record<string, number>>;
}

export interface FioJob {
  readonly error: number;
  /** Of fio's own thread, in percent of its run. */
  readonly usr_cpu: number;
  readonly sys_cpu: number;
  /** In milliseconds. */
  readonly job_runtime: number;
  readonly read: FioSide;
  readonly write: FioSide;
  /** Flushes. */
  readonly sync: { readonly total_ios: number; readonly lat_ns: FioLatency };
}

/** A run of fio on its way. */
export class Fio {
  readonly #program: Program;
  readonly #report: string;
  #stopped = false;

  /** One job against `uri`; `directory` takes what it writes. */
  constructor(directory: string, uri: string, flags: readonly string[]) {
    this.#report = join(directory, "fio.json");
    const own = ["--name=job", "--ioengine=nbd", `--uri=${uri}`, "--verify_state_save=0"];
    const report = ["--output-format=json", `--output=${this.#report}`];
    this.#program = new Program("fio", [...own, ...report, ...flags], { cwd: directory });
  }

  get hasEnded(): boolean {
    return this.#program.child.exitCode !== null || this.#program.child.signalCode !== null;
  }

  /** Asks it to finish now; `end` then tells what it measured until here. */
  stop(): void {
    this.#stopped = true;
    this.#program.child.kill("SIGINT");
  }

  /** What it measured; fails when it reports any error, verification's too. */
  async end(timeoutMs: number): Promise<FioJob> {
    const { code, stdout, stderr } = await this.#program.end(timeoutMs);
    const text = readFileSync(this.#report, "utf8");
    // What it complains of stands before the JSON.
    const begin = Math.max(0, text.indexOf("{"));
    const said = text.slice(0, begin) + stdout + stderr;
    const complaint = this.#stopped
      ? said.replaceAll(/^fio: (?:terminating on signal 2|connected to NBD server)$/gm, "")
      : said;
    if (code !== (this.#stopped ? 128 : 0) || complaint.trim() !== "")
      throw new Error(`fio ended with ${code}: ${complaint}`);
    const [job] = JSON.parse(text.slice(begin)).jobs as FioJob[];
    if (job.error !== 0) throw new Error(`fio reports error ${job.error}`);
    return job;
  }
}

/** What 99 of 100 requests took at most, in milliseconds. */
export function p99Ms({ percentile }: FioLatency): number {
  return (percentile["99.000000"] ?? 0) / 1e6;
}

/** The longest any request took, in seconds. */
export function longestStall({ read, write, sync }: FioJob): number {
  return Math.max(read.clat_ns.max, write.clat_ns.max, sync.lat_ns.max) / 1e9;
}
