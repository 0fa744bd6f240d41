// Inside the guest: the programs that a scenario starts, and waiting for what they say and do.

import type { ChildProcess } from "node:child_process";
import { execFile, spawn } from "node:child_process";
import { setTimeout as sleep } from "node:timers/promises";
import { promisify } from "node:util";

const waitMsMax = 90_000;
const metadata = ["--metadata", "sqlite:/data/metadata.db"];
const lookMs = 100;

export function since(began: number): string {
  return `${((performance.now() - began) / 1000).toFixed(1)} s`;
}

/** Waits for a condition, however slow the machine is. */
export async function waitFor(what: string, condition: () => boolean | Promise<boolean>): Promise<void> {
  const deadline = performance.now() + waitMsMax;
  while (!(await condition())) {
    if (performance.now() > deadline) throw new Error(`waited for ${what} for ${waitMsMax / 1000} s`);
    await sleep(lookMs);
  }
}

/** The output of a program that has to succeed. */
export async function run(program: string, ...args: string[]): Promise<string> {
  const { stdout } = await promisify(execFile)(program, args);
  return stdout;
}

export function torusctl(...args: string[]): Promise<string> {
  return run("node", "/torus/torusctl.js", ...metadata, ...args);
}

/** A daemon. */
export class Daemon {
  readonly child: ChildProcess;
  readonly ended: Promise<number | null>;
  output = "";

  constructor(program: string, ...args: string[]) {
    this.child = spawn("node", [`/torus/${program}.js`, ...metadata, ...args]);
    const keep = (part: Buffer): void => {
      this.output += part.toString();
    };
    this.child.stdout?.on("data", keep);
    this.child.stderr?.on("data", keep);
    this.ended = new Promise((resolve) => this.child.once("exit", (code) => resolve(code)));
  }

  async says(pattern: RegExp): Promise<string> {
    const over = this.ended.then(() => true);
    await waitFor(`${pattern} of: ${this.output}`, async () => {
      if (pattern.test(this.output)) return true;
      if (await Promise.race([over, sleep(1, false)]))
        throw new Error(`ended without ${pattern}: ${this.output}`);
      return false;
    });
    return pattern.exec(this.output)?.[0] ?? "";
  }

  async stop(signal: NodeJS.Signals): Promise<number | null> {
    this.child.kill(signal);
    return this.ended;
  }
}
