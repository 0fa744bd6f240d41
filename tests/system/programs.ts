// Programs that system tests run: each has a deadline, and whatever a test file started is dead when the file ends,
// also when the file itself is killed.

import type { ChildProcess } from "node:child_process";
import { spawn } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

export const root = join(import.meta.dirname, "../..");
const runMsMax = 60_000;
const waitPollMs = 50;

/** Leaders of process groups that may still run. */
const groups = new Set<number>();
const directories = new Set<string>();

process.once("exit", () => {
  for (const group of groups) signalGroup(group, "SIGKILL");
  for (const path of directories) removeDirectory(path);
});
for (const signal of ["SIGTERM", "SIGINT"] as const) process.once(signal, () => process.exit(1));

function signalGroup(group: number, signal: NodeJS.Signals): void {
  try {
    process.kill(-group, signal);
  } catch {
    // Nobody of the group is left.
  }
}

/** Whatever ends, and then undoes what was begun in it: a test, or a run of a script. */
export interface Scope {
  after(undo: () => void | Promise<void>): void;
}

function isGroup(group: number): boolean {
  try {
    return process.kill(-group, 0);
  } catch {
    return false;
  }
}

export interface Outcome {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** A program in a process group of its own. What it prints is kept. */
export class Program {
  readonly child: ChildProcess;
  readonly pid: number;
  readonly ended: Promise<Outcome>;
  readonly #title: string;
  #stdout = "";
  #stderr = "";

  constructor(program: string, args: readonly string[], options: { cwd?: string } = {}) {
    this.#title = [program, ...args].join(" ");
    const child = spawn(program, args, { ...options, detached: true, stdio: ["ignore", "pipe", "pipe"] });
    this.child = child;
    this.pid = child.pid ?? 0;
    if (child.pid !== undefined) groups.add(child.pid);
    child.once("exit", () => {
      // Its number may be another's from now on, unless something of its group still runs.
      if (!isGroup(this.pid)) groups.delete(this.pid);
    });
    child.stdout.on("data", (chunk) => (this.#stdout += chunk));
    child.stderr.on("data", (chunk) => (this.#stderr += chunk));
    this.ended = new Promise((resolve, reject) => {
      child.once("error", reject);
      child.once("close", (code) => resolve({ code, stdout: this.#stdout, stderr: this.#stderr }));
    });
    this.ended.catch(() => {});
  }

  get output(): string {
    return this.#stdout + this.#stderr;
  }

  /** How it ended; fails when it has not within `timeoutMs`. */
  async end(timeoutMs = runMsMax): Promise<Outcome> {
    const late = Symbol("late");
    const outcome = await Promise.race([this.ended, sleep(timeoutMs, late, { ref: false })]);
    if (outcome !== late) return outcome as Outcome;
    this.killGroup();
    throw new Error(`${this.#title} did not end within ${timeoutMs / 1000} s:\n${this.output}`);
  }

  /** Kills it and all that it started and that stayed in its process group, as a power cut would. */
  killGroup(): void {
    if (groups.delete(this.pid)) signalGroup(this.pid, "SIGKILL");
  }
}

/** Where daemons run: here, or on a machine of a network of their own. */
export interface Place {
  readonly address: string;
  launch(program: string, args: readonly string[]): Program;
}

export const here: Place = {
  address: "127.0.0.1",
  launch: (program, args) => new Program(program, args),
};

/** Runs a program to its end and returns what it printed on stdout; fails unless it ended with 0. */
export async function run(program: string, args: readonly string[], timeoutMs = runMsMax): Promise<string> {
  const outcome = await tryRun(program, args, timeoutMs);
  if (outcome.code === 0) return outcome.stdout;
  throw new Error(
    `${program} ${args.join(" ")} ended with ${outcome.code}:\n${outcome.stdout}${outcome.stderr}`,
  );
}

/** The same for programs that may fail. */
export function tryRun(program: string, args: readonly string[], timeoutMs = runMsMax): Promise<Outcome> {
  return new Program(program, args).end(timeoutMs);
}

/** One of ours, such as `torusctl`. */
export function torus(name: string, args: readonly string[]): Program {
  return new Program(process.execPath, [join(root, "src/cmd", name, "main.ts"), ...args]);
}

/** Waits until `probe` returns something other than null, undefined or false. Errors of `probe` count as not yet. */
export async function waitFor<T>(
  what: string,
  probe: () => T | Promise<T>,
  timeoutMs = 30_000,
): Promise<NonNullable<T>> {
  const deadlineMs = performance.now() + timeoutMs;
  let problem: unknown = null;
  while (performance.now() < deadlineMs) {
    try {
      const found = await probe();
      if (found !== null && found !== undefined && found !== false) return found;
    } catch (error) {
      problem = error;
    }
    await sleep(waitPollMs);
  }
  throw new Error(`waited ${timeoutMs / 1000} s for ${what}`, { cause: problem });
}

/** Waits until a daemon prints a line like `pattern`; fails when it ends before. */
export async function waitForLine(
  program: Program,
  pattern: RegExp,
  timeoutMs = 60_000,
): Promise<RegExpExecArray> {
  const end: { outcome: Outcome | null } = { outcome: null };
  program.ended.then((outcome) => (end.outcome = outcome)).catch(() => {});
  const probe = () => pattern.exec(program.output) ?? end.outcome;
  const found = await waitFor(`a line like ${pattern}`, probe, timeoutMs);
  if ("code" in found) {
    throw new Error(`a daemon ended with ${found.code} before it was ready:\n${found.stdout}${found.stderr}`);
  }
  return found;
}

/** A directory that goes with the test. TORUS_TEST_KEEP=1 keeps them, with the daemons' data, to be looked at. */
export function scratchDirectory(t: Scope): string {
  const path = mkdtempSync("/tmp/torus-test-");
  if (process.env["TORUS_TEST_KEEP"] === "1") return path;
  directories.add(path);
  t.after(() => removeDirectory(path));
  return path;
}

function removeDirectory(path: string): void {
  rmSync(path, { recursive: true, force: true, maxRetries: 5 });
  directories.delete(path);
}

/** A TCP port of loopback that is free now. */
export function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once("error", reject);
    server.listen({ host: "127.0.0.1", port: 0 }, () => {
      const { port } = server.address() as { port: number };
      server.close(() => resolve(port));
    });
  });
}

/** Processes whose command line names `text`: pid and command line. */
export function processesNaming(text: string): { readonly pid: number; readonly command: string }[] {
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name) && Number(name) !== process.pid)
    .flatMap((name) => {
      try {
        const command = readFileSync(`/proc/${name}/cmdline`, "utf8").replaceAll("\0", " ").trim();
        return command.includes(text) ? [{ pid: Number(name), command }] : [];
      } catch {
        return []; // It ended meanwhile.
      }
    });
}
