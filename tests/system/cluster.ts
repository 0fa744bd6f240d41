// A cluster that a system test starts with `up`, stops, kills and starts again.

import { join } from "node:path";
import type { TestContext } from "node:test";
import type { Outcome } from "./programs.ts";
import { freePort, Program, processesNaming, root, scratchDirectory, waitFor } from "./programs.ts";

const startMsMax = 60_000;
const stopMsMax = 60_000;

export interface ClusterOptions {
  /** More flags of `up`. */
  readonly flags?: readonly string[];
  /** Where its data is; by default a directory that goes with the test. */
  readonly data?: string;
}

export class Cluster {
  readonly data: string;
  readonly port: number;
  readonly #flags: readonly string[];
  #up: Program | null = null;

  private constructor(data: string, port: number, flags: readonly string[]) {
    this.data = data;
    this.port = port;
    this.#flags = flags;
  }

  /** A cluster that runs and serves, and is dead when the test has ended. */
  static async start(t: TestContext, options: ClusterOptions = {}): Promise<Cluster> {
    const data = options.data ?? join(scratchDirectory(t), "data");
    const cluster = new Cluster(data, await freePort(), options.flags ?? ["--size", "1GiB"]);
    t.after(() => cluster.killAll());
    await cluster.start();
    return cluster;
  }

  /** Starts it (again); resolves with what it printed. */
  async start(flags: readonly string[] = this.#flags): Promise<string> {
    const up = launchUp(["--data", this.data, "--listen", String(this.port), ...flags]);
    this.#up = up;
    const end: { outcome: Outcome | null } = { outcome: null };
    up.ended.then((outcome) => (end.outcome = outcome)).catch(() => {});
    await waitFor("up to serve", () => end.outcome ?? /^Torus is up/m.test(up.output), startMsMax);
    if (end.outcome !== null)
      throw new Error(`up ended with ${end.outcome.code} before it served:\n${up.output}`);
    return up.output;
  }

  /** The volume over TCP. */
  get uri(): string {
    return `nbd://127.0.0.1:${this.port}/demo`;
  }

  /** The volume over the Unix socket that `up` told of. */
  get unixUri(): string {
    const uri = /nbd\+unix:\S+(?=')/.exec(this.output);
    if (uri === null) throw new Error(`up named no Unix socket:\n${this.output}`);
    return uri[0];
  }

  get metadataUrl(): string {
    return `sqlite:${join(this.data, "metadata.db")}`;
  }

  get output(): string {
    return this.#up?.output ?? "";
  }

  get upPid(): number {
    return this.#up?.pid ?? 0;
  }

  /** Ends it in order, as Ctrl-C does. */
  async stop(signal: NodeJS.Signals = "SIGINT"): Promise<Outcome> {
    const up = this.#up!;
    up.child.kill(signal);
    const outcome = await up.end(stopMsMax);
    this.#up = null;
    return outcome;
  }

  /** kill -9 of everything at once. */
  async killAll(): Promise<void> {
    this.#up?.killGroup();
    await waitFor("every process to be gone", () => this.processes().length === 0, 10_000);
    this.#up = null;
  }

  processes(): { readonly pid: number; readonly command: string }[] {
    return processesNaming(this.data);
  }

  /** Process of peer `number`, from 1; fails when it does not run. */
  peerPid(number: number): number {
    return this.#pidOf(`${this.data}/peer-${number} `);
  }

  get serverPid(): number {
    return this.#pidOf("/torusblk/");
  }

  #pidOf(text: string): number {
    const found = this.processes().find(({ command }) => `${command} `.includes(text));
    if (found === undefined) throw new Error(`no process of ${this.data} names ${text}`);
    return found.pid;
  }
}

/** `up` with these flags, in a process group of its own. */
export function launchUp(flags: readonly string[]): Program {
  return new Program(process.execPath, [join(root, "src/cmd/up/main.ts"), ...flags]);
}
