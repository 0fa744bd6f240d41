// torusd as a process, on a database and directories of its own.

import assert from "node:assert/strict";
import type { ChildProcess } from "node:child_process";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import type { TestContext } from "node:test";
import { createLog } from "#host/node";
import type { ClusterMetadata } from "#metadata";
import { blockBytesMin } from "#model";
import { openCluster } from "../shared/metadata-options.ts";

const program = join(import.meta.dirname, "main.ts");
export const log = createLog({ level: "silent", name: "test" });
const readyLine = /^torusd: peer (\S+) ready at (\S+)$/;

export interface Bench {
  readonly directory: string;
  readonly url: string;
  readonly cluster: ClusterMetadata;
  start(...flags: string[]): Torusd;
}

export async function bench(context: TestContext, init = true): Promise<Bench> {
  const directory = mkdtempSync(join(tmpdir(), "torusd-"));
  const url = `sqlite:${join(directory, "metadata.db")}`;
  const cluster = await openCluster(url, { create: true }, { log });
  if (init) {
    const ring = { version: 1, type: "empty", replicas: 1, members: [] } as const;
    await cluster.init({ blockBytes: blockBytesMin, ring });
  }
  const started: Torusd[] = [];
  context.after(async () => {
    for (const daemon of started) daemon.child.kill("SIGKILL");
    await cluster.close();
    rmSync(directory, { recursive: true });
  });
  const start = (...flags: string[]): Torusd => {
    const daemon = new Torusd(["-C", url, "--peer-address", "127.0.0.1:0", "--log-level", "error", ...flags]);
    started.push(daemon);
    return daemon;
  };
  return { directory, url, cluster, start };
}

export class Torusd {
  readonly child: ChildProcess;
  readonly ended: Promise<number | null>;
  readonly #lines: string[] = [];
  stderr = "";

  constructor(flags: readonly string[]) {
    this.child = spawn(process.execPath, [program, ...flags], { stdio: ["pipe", "pipe", "pipe"] });
    this.child.stderr?.on("data", (text) => {
      this.stderr += text;
    });
    createInterface({ input: this.child.stdout! }).on("line", (line) => this.#lines.push(line));
    this.ended = once(this.child, "close").then(([code]) => code as number | null);
  }

  /** The peers, when all are ready. */
  async ready(count = 1): Promise<{ peer: string; address: string }[]> {
    while (this.#lines.length < count) {
      const race = [once(this.child.stdout!, "data"), this.ended.then(() => "ended" as const)];
      if ((await Promise.race(race)) === "ended") throw new Error(`torusd ended: ${this.stderr}`);
      await new Promise(setImmediate);
    }
    return this.#lines.map((line) => {
      const [, peer, address] = readyLine.exec(line) ?? [];
      return { peer, address };
    });
  }

  /** It ends by itself with `code` and one line that matches. */
  async refuses(code: number, line: RegExp): Promise<void> {
    assert.equal(await this.ended, code, this.stderr);
    assert.match(this.stderr, line);
    assert.equal(this.stderr.trim().split("\n").length, 1, this.stderr);
  }
}
