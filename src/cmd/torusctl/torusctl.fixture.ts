// torusctl in a test: a directory of its own, outputs kept, a person who types what the test says.

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { PassThrough } from "node:stream";
import { createLog, systemClock } from "#host/node";
import type { ClusterMetadata } from "#metadata";
import { openCluster } from "../shared/metadata-options.ts";
import type { ProgramIo } from "../shared/program-io.ts";
import { runTorusctl } from "./program.ts";

export interface Result {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

export class TorusctlFixture {
  readonly home = mkdtempSync(join(tmpdir(), "torusctl-"));
  readonly url = `sqlite:${join(this.home, "metadata.db")}`;
  readonly env: Record<string, string | undefined> = { TORUS_METADATA: this.url };
  /** What the person types; null: nobody is there. */
  typed: string | null = null;
  terminal = false;
  /** What the next commands read and write as bytes. */
  stdin = new PassThrough();
  stdout = new PassThrough();
  /** Told of what commands write to standard error, as they do. */
  onErr: (text: string) => void = () => {};
  /** Asks the command that runs to end, as Ctrl-C does; null when none listens. */
  interrupt: ((signal: string) => void) | null = null;

  /** `args` as one line, words divided by blanks. */
  async run(args: string): Promise<Result> {
    let out = "";
    let err = "";
    const io: ProgramIo = {
      out: (text) => {
        out += text;
      },
      err: (text) => {
        err += text;
        this.onErr(text);
      },
      outIsTerminal: this.terminal,
      errIsTerminal: this.terminal,
      stdin: () => this.stdin,
      stdout: () => this.stdout,
      onStop: (listener) => {
        this.interrupt = listener;
        return () => {
          this.interrupt = null;
        };
      },
      env: this.env,
      home: this.home,
      host: "test",
      pid: 1,
      ask: async () => this.typed,
    };
    const code = await runTorusctl(args.split(" ").filter(Boolean), io);
    return { code, out, err };
  }

  async json(args: string): Promise<unknown> {
    const { code, out, err } = await this.run(`${args} -o json`);
    if (code !== 0) throw new Error(err);
    return JSON.parse(out);
  }

  /** The cluster beside torusctl, as daemons have it. */
  async withCluster<Value>(work: (cluster: ClusterMetadata) => Promise<Value>): Promise<Value> {
    const log = createLog({ level: "silent", name: "test" }, { write: () => {} });
    const cluster = await openCluster(this.url, { create: false }, { log });
    try {
      return await work(cluster);
    } finally {
      await cluster.close();
    }
  }

  /** A peer that registered and beat its heart once; it lives for a minute. */
  startPeer(peer: string, address: string, sizeBytes: number, condition = "ok"): Promise<number> {
    return this.withCluster(async ({ peers }) => {
      const lease = await peers.grantLease(60_000);
      await peers.register({
        peer,
        address,
        sizeBytes,
        labels: { host: address.split(":")[0] },
        protocolVersion: 1,
      });
      const alive = {
        incarnation: 1,
        usedBytes: sizeBytes / 4,
        blocks: 7,
        updatedMs: systemClock.wallMs(),
        condition,
        upkeep: null,
        collected: {
          revision: 1,
          neededBytes: 0,
          reclaimableBytes: Math.floor(sizeBytes / 16),
          buriedHere: [],
        },
        scrub: null,
      };
      await peers.beat(peer, alive, lease);
      return lease;
    });
  }

  async stopPeer(lease: number): Promise<void> {
    await this.withCluster(({ peers }) => peers.stop(lease));
  }

  close(): void {
    rmSync(this.home, { recursive: true });
  }
}

export const peerIds = [
  "6f1c1f0e-54d7-4c3e-9a43-000000000001",
  "9a2b7d31-54d7-4c3e-9a43-000000000002",
  "b7e8a001-54d7-4c3e-9a43-000000000003",
  "c0ffee00-54d7-4c3e-9a43-000000000004",
];
