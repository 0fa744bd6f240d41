// BenchRun: a cluster of three peers and a server with default settings, one copy served by nbdkit beside it, and fio on
// one after the other, so that what the machine does otherwise is nearly the same for both.

import { join } from "node:path";
import { Daemons, uriOf } from "../system/daemons.ts";
import type { FioJob } from "../system/fio.ts";
import { Fio } from "../system/fio.ts";
import type { Scope } from "../system/programs.ts";
import { Program, run, scratchDirectory, waitFor } from "../system/programs.ts";
import { cpuSeconds, machineSeconds, residentBytes } from "./process-cost.ts";
import type { Workload } from "./workloads.ts";
import { fill } from "./workloads.ts";

export interface BenchOptions {
  readonly passes: number;
  readonly secondsEach: number;
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
}

export interface Memory {
  readonly process: string;
  readonly idleBytes: number;
  readonly afterBytes: number;
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
  readonly idleBytes: number;
}

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
    const daemons = await Daemons.start(scope);
    const { workset, acknowledge } = this.#options;
    await daemons.torusctl("volume", "create-block", volume, workset, "--acknowledge", acknowledge);
    const server = await daemons.startServer([volume], ["--lease", "10s"]);
    const programs = [
      { name: "torusblk", pid: server.program.pid },
      ...[...daemons.peers].map(([number, { program }]) => ({ name: `torusd ${number}`, pid: program.pid })),
    ];
    this.#daemons = programs.map((program) => ({ ...program, idleBytes: residentBytes(program.pid) }));
    this.#torus = { uri: uriOf(server, volume), pids: programs.map(({ pid }) => pid) };
  }

  async measure(workload: Workload): Promise<Passes> {
    const torus: Figures[] = [];
    const oneCopy: Figures[] = [];
    for (let pass = 1; pass <= this.#options.passes; pass++) {
      oneCopy.push(await this.#drive(this.#oneCopy, workload));
      torus.push(await this.#drive(this.#torus, workload));
      const [ours, theirs] = [torus, oneCopy].map((figures) => figures[pass - 1]);
      this.#say(
        `${workload.name}, ${pass} of ${this.#options.passes}: ${Math.round(ours.perSecond)}/s at ` +
          `${ours.cpuMicroseconds.toFixed(0)} us of CPU, one copy ${Math.round(theirs.perSecond)}/s at ` +
          `${theirs.cpuMicroseconds.toFixed(0)} us`,
      );
    }
    return { workload: workload.name, torus, oneCopy };
  }

  /** What each daemon took before there was any load, and takes now. */
  memory(): Memory[] {
    return this.#daemons.map(({ name, pid, idleBytes }) => ({
      process: name,
      idleBytes,
      afterBytes: residentBytes(pid),
    }));
  }

  async #fill(): Promise<void> {
    this.#say(`filling ${this.#options.workset} of both`);
    for (const { uri } of [this.#oneCopy, this.#torus])
      await new Fio(this.#directory, uri, [`--size=${this.#options.workset}`, ...fill.flags]).end(
        10 * fioMsGrace,
      );
  }

  async #drive({ uri, pids }: Target, workload: Workload): Promise<Figures> {
    const { secondsEach, workset } = this.#options;
    await run("sync", []);
    const [before, machineBefore] = [cpuSeconds(pids), machineSeconds()];
    const timed = ["--time_based", `--runtime=${secondsEach}`, "--norandommap", "--randrepeat=0"];
    const fio = new Fio(this.#directory, uri, [`--size=${workset}`, ...timed, ...workload.flags]);
    const job = await fio.end(secondsEach * 1000 + fioMsGrace);
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

async function startOneCopy(directory: string, size: string, scope: Scope): Promise<Target> {
  const [file, socket] = [join(directory, "one-copy"), join(directory, "one-copy.sock")];
  await run("truncate", ["-s", size.replace(/iB$/, ""), file]);
  const nbdkit = new Program("nbdkit", ["-f", "--unix", socket, "file", file]);
  scope.after(() => nbdkit.killGroup());
  const uri = `nbd+unix:///?socket=${socket}`;
  await waitFor("nbdkit to serve", async () => (await run("nbdinfo", ["--size", uri])) !== "");
  return { uri, pids: [nbdkit.pid] };
}
