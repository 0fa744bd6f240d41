// BenchRun: a cluster of three peers and a server with default settings, one copy served by nbdkit beside it, and fio on
// one after the other, so that what the machine does otherwise is nearly the same for both.

import { join } from "node:path";
import { setTimeout } from "node:timers/promises";
import { Daemons, metricsOf, uriOf } from "../system/daemons.ts";
import type { FioJob } from "../system/fio.ts";
import { Fio } from "../system/fio.ts";
import type { Scope } from "../system/programs.ts";
import { freePort, Program, run, scratchDirectory, waitFor } from "../system/programs.ts";
import { median } from "./median.ts";
import type { MemoryUse } from "./process-cost.ts";
import { cpuSeconds, machineSeconds, memoryUse, mostBytes } from "./process-cost.ts";
import type { Workload } from "./workloads.ts";
import { fill } from "./workloads.ts";

export interface BenchOptions {
  readonly passes: number;
  readonly secondsEach: number;
  /** Before the first pass of each workload, unmeasured. */
  readonly warmSeconds: number;
  /** What is filled first and then touched. */
  readonly workset: string;
  readonly acknowledge: "replicated" | "writeback";
}

/** One run of fio. */
export interface Figures {
  readonly perSecond: number;
  readonly bytesPerSecond: number;
  /** Of all server processes together, for each request. */
  readonly cpuMicroseconds: number;
  readonly medianMicroseconds: number;
  readonly p99Microseconds: number;
  /** How much of the machine neither servers nor fio used, though it was used. */
  readonly othersShare: number;
}

export interface Passes {
  readonly workload: string;
  readonly torus: readonly Figures[];
  /** One copy, in the same minute. */
  readonly oneCopy: readonly Figures[];
  /** 99 of 100 took no longer at half of the median speed, where clients do not wait for each other; null: not measured. */
  readonly halfP99Microseconds: number | null;
}

/** Of a server process. */
export interface ProcessReport {
  readonly process: string;
  /** Before there was any load, and in the end. */
  readonly idle: MemoryUse;
  readonly after: MemoryUse;
  /** The most that it ever took. */
  readonly mostBytes: number;
  readonly pauses: Pauses;
}

/** What kept a process from its clients, since it had started. */
export interface Pauses {
  readonly over25ms: number;
  readonly over50ms: number;
  readonly longestMs: number;
  readonly collections: number;
  readonly collectionMs: number;
  readonly longestCollectionMs: number;
}

interface Target {
  readonly uri: string;
  readonly pids: readonly number[];
}

const volume = "bench";
const fioMsGrace = 120_000;

interface Daemon {
  readonly name: string;
  readonly pid: number;
  readonly httpPort: number;
  readonly idle: MemoryUse;
}

/** A daemon is idle when what it does after its start is over. */
const restMs = 10_000;

interface BenchDeps {
  readonly scope: Scope;
  readonly say: (line: string) => void;
}

export class BenchRun {
  readonly #options: BenchOptions;
  readonly #say: (line: string) => void;
  readonly #directory: string;
  #daemons: readonly Daemon[] = [];
  #torus: Target = { uri: "", pids: [] };
  #oneCopy: Target = { uri: "", pids: [] };

  /** Both are filled when it resolves. */
  static async start(options: BenchOptions, deps: BenchDeps): Promise<BenchRun> {
    const run = new BenchRun(options, deps);
    deps.say("starting three peers, a server, and nbdkit with one copy");
    await run.#startTorus(deps.scope);
    run.#oneCopy = await startOneCopy(run.#directory, options.workset, deps.scope);
    await run.#fill();
    return run;
  }

  private constructor(options: BenchOptions, { scope, say }: BenchDeps) {
    this.#options = options;
    this.#say = say;
    this.#directory = scratchDirectory(scope);
  }

  async #startTorus(scope: Scope): Promise<void> {
    const daemons = await Daemons.start(scope, { peers: 0 });
    const httpPorts = new Map<number, number>();
    for (const number of [1, 2, 3]) httpPorts.set(number, await freePort());
    const start = ([number, port]: [number, number]) =>
      daemons.startPeer(number, ["--http", `127.0.0.1:${port}`]);
    await Promise.all([...httpPorts].map(start));
    const { workset, acknowledge } = this.#options;
    await daemons.torusctl("volume", "create-block", volume, workset, "--acknowledge", acknowledge);
    const server = await daemons.startServer([volume], ["--lease", "10s"]);
    const programs = [
      { name: "torusblk", pid: server.program.pid, httpPort: server.httpPort },
      ...[...daemons.peers].map(([number, { program }]) => ({
        name: `torusd ${number}`,
        pid: program.pid,
        httpPort: httpPorts.get(number) as number,
      })),
    ];
    await setTimeout(restMs);
    this.#daemons = programs.map((program) => ({ ...program, idle: memoryUse(program.pid) }));
    this.#torus = { uri: uriOf(server, volume), pids: programs.map(({ pid }) => pid) };
  }

  async measure(workload: Workload): Promise<Passes> {
    const torus: Figures[] = [];
    const oneCopy: Figures[] = [];
    const { warmSeconds } = this.#options;
    if (warmSeconds > 0)
      for (const target of [this.#oneCopy, this.#torus]) await this.#drive(target, workload, warmSeconds);
    for (let pass = 1; pass <= this.#options.passes; pass++) {
      oneCopy.push(await this.#drive(this.#oneCopy, workload, this.#options.secondsEach));
      torus.push(await this.#drive(this.#torus, workload, this.#options.secondsEach));
      const [ours, theirs] = [torus, oneCopy].map((figures) => figures[pass - 1]);
      this.#say(
        `${workload.name}, ${pass} of ${this.#options.passes}: ${Math.round(ours.perSecond)}/s at ` +
          `${ours.cpuMicroseconds.toFixed(0)} us of CPU, one copy ${Math.round(theirs.perSecond)}/s at ` +
          `${theirs.cpuMicroseconds.toFixed(0)} us`,
      );
    }
    return {
      workload: workload.name,
      torus,
      oneCopy,
      halfP99Microseconds: workload.isHalvedToo ? await this.#halved(workload, torus) : null,
    };
  }

  async #halved(workload: Workload, full: readonly Figures[]): Promise<number> {
    const rate = Math.max(1, Math.round(median(full.map(({ perSecond }) => perSecond)) / 2));
    const { p99Microseconds } = await this.#drive(this.#torus, workload, this.#options.secondsEach, [
      `--rate_iops=${rate}`,
    ]);
    this.#say(`${workload.name} at ${rate}/s: p99 ${p99Microseconds.toFixed(0)} us`);
    return p99Microseconds;
  }

  /** What each daemon took before there was any load, takes now, and took at most, and what kept it from its clients. */
  processes(): Promise<ProcessReport[]> {
    return Promise.all(
      this.#daemons.map(async ({ name, pid, httpPort, idle }) => ({
        process: name,
        idle,
        after: memoryUse(pid),
        mostBytes: mostBytes(pid),
        pauses: pausesOf(await metricsOf({ httpPort })),
      })),
    );
  }

  async #fill(): Promise<void> {
    this.#say(`filling ${this.#options.workset} of both`);
    for (const { uri } of [this.#oneCopy, this.#torus])
      await new Fio(this.#directory, uri, [`--size=${this.#options.workset}`, ...fill.flags]).end(
        10 * fioMsGrace,
      );
  }

  async #drive(
    { uri, pids }: Target,
    workload: Workload,
    seconds: number,
    more: readonly string[] = [],
  ): Promise<Figures> {
    const { workset } = this.#options;
    await run("sync", []);
    const [before, machineBefore] = [cpuSeconds(pids), machineSeconds()];
    const timed = ["--time_based", `--runtime=${seconds}`, "--norandommap", "--randrepeat=0"];
    const fio = new Fio(this.#directory, uri, [`--size=${workset}`, ...timed, ...workload.flags, ...more]);
    const job = await fio.end(seconds * 1000 + fioMsGrace);
    const [after, machineAfter] = [cpuSeconds(pids), machineSeconds()];
    const fioSeconds = ((job.usr_cpu + job.sys_cpu) / 100) * (job.job_runtime / 1000);
    const others = machineAfter.busy - machineBefore.busy - (after - before) - fioSeconds;
    return {
      ...figuresOf(job, after - before),
      othersShare: Math.max(0, others / (machineAfter.total - machineBefore.total)),
    };
  }
}

function figuresOf(job: FioJob, serverSeconds: number): Omit<Figures, "othersShare"> {
  const { read, write } = job;
  const most = read.total_ios >= write.total_ios ? read : write;
  return {
    perSecond: read.iops + write.iops,
    bytesPerSecond: read.bw_bytes + write.bw_bytes,
    cpuMicroseconds: (serverSeconds * 1e6) / (read.total_ios + write.total_ios),
    medianMicroseconds: most.clat_ns.percentile["50.000000"] / 1000,
    p99Microseconds: most.clat_ns.percentile["99.000000"] / 1000,
  };
}

function pausesOf(metrics: ReadonlyMap<string, number>): Pauses {
  const read = (what: string): number => metrics.get(`torus_thread_${what}`) ?? Number.NaN;
  return {
    over25ms: read("pauses_over_25ms_total"),
    over50ms: read("pauses_over_50ms_total"),
    longestMs: read("longest_pause_seconds") * 1000,
    collections: read("collections_total"),
    collectionMs: read("collection_seconds_total") * 1000,
    longestCollectionMs: read("longest_collection_seconds") * 1000,
  };
}

async function startOneCopy(directory: string, size: string, scope: Scope): Promise<Target> {
  const [file, socket] = [join(directory, "one-copy"), join(directory, "one-copy.sock")];
  await run("truncate", ["-s", size.replace(/iB$/, ""), file]);
  const nbdkit = new Program("nbdkit", ["-f", "--unix", socket, "file", file]);
  scope.after(() => nbdkit.killGroup());
  const uri = `nbd+unix:///?socket=${socket}`;
  await waitFor("nbdkit to serve", async () => (await run("nbdinfo", ["--size", uri])) !== "");
  return { uri, pids: [nbdkit.pid] };
}
