// Nodes: the processes of a cluster under test, each on a machine of its own, which are killed, frozen and started again. One that
// should run and does not is started again after a moment, as a supervisor would; one that ends by itself once it was ready is
// noted, with its last words.

import { setTimeout as sleep } from "node:timers/promises";
import type { Etcd, EtcdMember } from "../system/etcd.ts";
import type { Machine } from "../system/machines.ts";
import type { Outcome, Program } from "../system/programs.ts";
import { waitForLine } from "../system/programs.ts";

export interface Node {
  readonly name: string;
  readonly machine: Machine;
  /** SIGKILL; resolves when it is gone. It stays down until `up`. */
  kill(): Promise<void>;
  /** Resolves when it runs and is ready; at once when it is retired. */
  up(): Promise<void>;
  /** SIGKILL, for good. */
  retire(): Promise<void>;
  /** Of a process that is not there: nothing. */
  signal(signal: "SIGSTOP" | "SIGCONT"): void;
  /** What it printed, through all its lives; of a long time the end. */
  readonly words: string;
}

export interface UnexpectedEnd {
  readonly name: string;
  readonly code: number | null;
  readonly lastWords: string;
}

const startMsMax = 30_000;
const startRestMs = 300;
const stopMsMax = 60_000;
const wordsMax = 2 ** 20;
const lastWordsMax = 6000;

export interface DaemonDeps {
  readonly machine: Machine;
  readonly launch: () => Program;
  /** A line that says it is ready. */
  readonly ready: RegExp;
  readonly onUnexpectedEnd: (end: UnexpectedEnd) => void;
}

/** torusd or torusblk. */
export class DaemonNode implements Node {
  readonly name: string;
  readonly #deps: DaemonDeps;
  #program: Program | null = null;
  #past = "";
  #wanted = false;
  #retired = false;
  #starting: Promise<void> | null = null;
  #readyLine: RegExpExecArray | null = null;

  constructor(name: string, deps: DaemonDeps) {
    this.name = name;
    this.#deps = deps;
  }

  get machine(): Machine {
    return this.#deps.machine;
  }

  get pid(): number {
    return this.#program?.pid ?? 0;
  }

  /** The line with which it last said that it is ready. */
  get readyLine(): RegExpExecArray | null {
    return this.#readyLine;
  }

  get words(): string {
    return (this.#past + (this.#program?.output ?? "")).slice(-wordsMax);
  }

  retire(): Promise<void> {
    this.#retired = true;
    return this.kill();
  }

  async up(): Promise<void> {
    if (this.#retired) return;
    this.#wanted = true;
    this.#starting ??= this.#start().finally(() => {
      this.#starting = null;
    });
    await this.#starting;
  }

  async kill(): Promise<void> {
    this.#wanted = false;
    const program = this.#program;
    program?.killGroup();
    await program?.ended.catch(() => {});
    await this.#starting?.catch(() => {});
  }

  signal(signal: "SIGSTOP" | "SIGCONT"): void {
    if (this.#program !== null) signalNow(this.#program, signal);
  }

  /** Asks it to end in order; resolves with how it did. Killed when it takes too long. */
  async end(): Promise<Outcome | null> {
    this.#wanted = false;
    const program = this.#program;
    if (program === null) return null;
    signalNow(program, "SIGTERM");
    try {
      return await program.end(stopMsMax);
    } catch {
      return null;
    }
  }

  async #start(): Promise<void> {
    const { launch, ready, onUnexpectedEnd } = this.#deps;
    while (this.#wanted && this.#program === null) {
      const program = launch();
      this.#program = program;
      const ended = program.ended
        .catch((error: unknown) => ({ code: null, stdout: "", stderr: String(error) }))
        .then((outcome) => {
          const end = `--- ended with ${outcome.code} at ${new Date().toISOString()} ---\n`;
          this.#past = (this.#past + program.output + end).slice(-wordsMax);
          this.#program = null;
          return outcome;
        });
      try {
        this.#readyLine = await waitForLine(program, ready, startMsMax);
      } catch {
        // Whatever it needs is away; a supervisor tries again.
        program.killGroup();
        await ended;
        await sleep(startRestMs);
        continue;
      }
      void ended.then(({ code, stdout, stderr }) => {
        if (!this.#wanted) return;
        onUnexpectedEnd({ name: this.name, code, lastWords: (stdout + stderr).slice(-lastWordsMax) });
        void this.up();
      });
    }
  }
}

/** A member of etcd. */
export class EtcdNode implements Node {
  readonly member: EtcdMember;
  readonly machine: Machine;
  readonly #etcd: Etcd;
  #retired = false;

  constructor(etcd: Etcd, member: EtcdMember, machine: Machine) {
    this.#etcd = etcd;
    this.member = member;
    this.machine = machine;
  }

  get name(): string {
    return this.member.name;
  }

  get words(): string {
    return "";
  }

  kill(): Promise<void> {
    return this.member.kill();
  }

  /** Without waiting until it is healthy: alone it never is. */
  async up(): Promise<void> {
    if (this.member.pid === 0 && !this.#retired) this.#etcd.launch(this.member);
  }

  retire(): Promise<void> {
    this.#retired = true;
    return this.kill();
  }

  signal(signal: "SIGSTOP" | "SIGCONT"): void {
    if (this.member.pid !== 0) this.member.signal(signal);
  }
}

function signalNow(program: Program, signal: NodeJS.Signals): void {
  try {
    program.child.kill(signal);
  } catch {
    // It is gone.
  }
}
