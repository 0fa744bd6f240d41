// A daemon that `torus up` runs: one child process, started again after a moment when it ends unasked. Its stderr goes
// straight to its log file, so nothing is lost whoever dies first; its stdout is read for the line that says it is ready.
// It shares our process group. A terminal's Ctrl-C reaches it too, which it leaves to us (--exit-with-parent).

import type { ChildProcess } from "node:child_process";
import { spawn } from "node:child_process";
import { closeSync, openSync, readFileSync } from "node:fs";
import { createInterface } from "node:readline";
import { readableLine } from "#host/node";
import { messageOf, TorusError } from "#model";

export interface DaemonOptions {
  /** For people, and of the log. */
  readonly name: string;
  readonly program: string;
  readonly args: readonly string[];
  readonly logPath: string;
  /** Matches the line of stdout that says it is ready. */
  readonly ready: RegExp;
}

export interface DaemonDeps {
  /** Tells the user one thing. */
  readonly say: (line: string) => void;
}

const restartMsFirst = 1000;
const restartMsMax = 30_000;
/** Having run this long, the next end counts as the first again. */
const steadyMs = 60_000;
const tailBytes = 4096;
const tailLines = 5;
/** What Node adds below the error it ended with. */
const crashNoise = /^\s*$|^ {4}at |^Node\.js v/;

interface Ending {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

export class Daemon {
  readonly name: string;
  readonly #options: DaemonOptions;
  readonly #deps: DaemonDeps;
  #child: ChildProcess | null = null;
  #ended: Promise<Ending> = Promise.resolve({ code: 0, signal: null });
  #restart: NodeJS.Timeout | null = null;
  #restartMs = restartMsFirst;
  #stopping = false;
  /** Whether it was ever ready: until then its end is a failure to start, not to be repaired. */
  #settled = false;

  constructor(options: DaemonOptions, deps: DaemonDeps) {
    this.name = options.name;
    this.#options = options;
    this.#deps = deps;
  }

  get pid(): number | undefined {
    return this.#child?.pid;
  }

  /**
   * Starts it and waits for `proof` that it works (given its own word that it is ready). Rejects when it ends before, with its
   * last words. From then on it is started again whenever it ends.
   */
  async start<T>(proof: (ready: Promise<void>) => Promise<T>): Promise<T> {
    const ready = this.#spawn();
    const ended = this.#ended.then((ending): never => {
      throw this.#failure(ending);
    });
    const working = proof(ready).catch((error): never => {
      throw new TorusError("unavailable", `${messageOf(error)}; ${this.name} says: ${this.#lastLine()}`);
    });
    const proven = await Promise.race([working, ended]);
    this.#settled = true;
    return proven;
  }

  #spawn(): Promise<void> {
    const log = openSync(this.#options.logPath, "a", 0o600);
    const startedMs = performance.now();
    const child = spawn(process.execPath, [this.#options.program, ...this.#options.args], {
      stdio: ["pipe", "pipe", log],
    });
    closeSync(log);
    this.#child = child;
    // The pipe to its stdin is only there to close when we die.
    child.stdin?.on("error", () => {});
    this.#ended = new Promise((resolve) => {
      child.once("error", () => resolve({ code: -1, signal: null }));
      child.once("close", (code, signal) => resolve({ code, signal }));
    });
    void this.#ended.then((ending) => this.#onEnd(ending, performance.now() - startedMs));
    return new Promise((resolve) => {
      createInterface({ input: child.stdout! }).on("line", (line) => {
        if (this.#options.ready.test(line)) resolve();
      });
    });
  }

  #onEnd(ending: Ending, ranMs: number): void {
    this.#child = null;
    if (this.#stopping || !this.#settled) return;
    if (ranMs >= steadyMs) this.#restartMs = restartMsFirst;
    const delayMs = this.#restartMs;
    this.#restartMs = Math.min(delayMs * 2, restartMsMax);
    this.#deps.say(
      `${this.name} ${describeEnding(ending)}; starting it again in ${delayMs / 1000} s.${this.#lastWords()}`,
    );
    this.#restart = setTimeout(() => this.#startAgain(), delayMs);
  }

  #startAgain(): void {
    try {
      void this.#spawn().then(() => this.#deps.say(`${this.name} is back.`));
    } catch (error) {
      this.#deps.say(`${this.name} cannot be started again: ${messageOf(error)}`);
    }
  }

  /** Its end is no surprise any more: a signal to the whole process group may have reached it before us. */
  expectEnd(): void {
    this.#stopping = true;
  }

  /** Asks it to end and waits; kills it after `graceMs`. Resolves with whether it ended by itself. */
  async stop(graceMs: number): Promise<boolean> {
    this.#stopping = true;
    if (this.#restart !== null) clearTimeout(this.#restart);
    const child = this.#child;
    if (child === null) return true;
    child.kill("SIGTERM");
    const kill = setTimeout(() => child.kill("SIGKILL"), graceMs);
    const { signal } = await this.#ended;
    clearTimeout(kill);
    return signal !== "SIGKILL";
  }

  /** For a user who cannot wait. */
  kill(): void {
    this.#stopping = true;
    this.#child?.kill("SIGKILL");
  }

  #failure(ending: Ending): TorusError {
    const how = describeEnding(ending);
    return new TorusError("unavailable", `${this.name} did not start (it ${how}): ${this.#lastLine()}`);
  }

  /** What it said last, which is why it ended if it could say anything. */
  #lastLine(): string {
    const line = lastLines(this.#options.logPath).at(-1) ?? "nothing";
    return `${line} (log: ${this.#options.logPath})`;
  }

  #lastWords(): string {
    const lines = lastLines(this.#options.logPath);
    return lines.length === 0
      ? ""
      : ` The end of ${this.#options.logPath}:\n${lines.map((line) => `  ${line}`).join("\n")}`;
  }
}

function describeEnding({ code, signal }: Ending): string {
  return signal === null ? `ended with exit code ${code}` : `was ended by ${signal}`;
}

/** The last lines of a log, as people read them; none when it cannot be read. */
function lastLines(path: string): string[] {
  let text: string;
  try {
    text = readFileSync(path).subarray(-tailBytes).toString("utf8");
  } catch {
    return [];
  }
  const lines = text.split("\n").filter((line) => !crashNoise.test(line));
  return lines.slice(-tailLines).map(readable);
}

function readable(line: string): string {
  try {
    return line.startsWith("{") ? readableLine(line).trimEnd() : line;
  } catch {
    return line;
  }
}
