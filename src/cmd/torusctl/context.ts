// What every command of torusctl has: the global flags, the output, and a cluster that is closed again whatever happens.

import type { Command } from "commander";
import type { OpenVolumes } from "#client";
import { Cluster, openVolumes } from "#client";
import type { Log } from "#host";
import { Metrics } from "#host";
import { createLog, systemClock, systemRandom } from "#host/node";
import type { ClusterMetadata } from "#metadata";
import { leaseTtlMsDefault, messageOf, TorusError } from "#model";
import type { ClusterVolumes } from "#volume";
import { type MetadataFlags, metadataUrl, openCluster } from "../shared/metadata-options.ts";
import { Output } from "../shared/output.ts";
import type { ProgramIo } from "../shared/program-io.ts";

export interface GlobalFlags extends MetadataFlags {
  readonly output: "table" | "json";
  readonly csv?: boolean;
  readonly si?: boolean;
}

/** For a volume that is attached for a moment, and serves nobody. */
const briefly = {
  writeCacheBytes: 16 * 2 ** 20,
  mapCacheBytes: 64 * 2 ** 20,
  readCacheBytes: 16 * 2 ** 20,
  here: null,
  clients: "none",
  cleaner: null,
} as const;

export class TorusctlContext {
  readonly program: Command;
  readonly io: ProgramIo;
  readonly log: Log;

  constructor(program: Command, io: ProgramIo) {
    this.program = program;
    this.io = io;
    this.log = createLog(
      { level: "warn", name: "torusctl", format: "readable" },
      { write: (line) => io.err(line) },
    );
  }

  get flags(): GlobalFlags {
    return this.program.opts<GlobalFlags>();
  }

  get output(): Output {
    this.#requireFlags();
    const { output, csv = false, si = false } = this.flags;
    return new Output({ format: csv ? "csv" : output, si }, this.io);
  }

  /** Runs `work` on the cluster the flags name. `create`: make the database when it is missing. */
  async withCluster<Result>(
    work: (cluster: ClusterMetadata) => Promise<Result>,
    options: { readonly create: boolean } = { create: false },
  ): Promise<Result> {
    const url = metadataUrl(this.flags, this.io);
    this.#requireFlags();
    const cluster = await openCluster(url, options, { log: this.log });
    try {
      return await work(cluster);
    } finally {
      await cluster.close();
    }
  }

  /** The same, with the volumes themselves: for what only their writer can do. */
  withVolumes<Result>(
    work: (volumes: ClusterVolumes, cluster: ClusterMetadata) => Promise<Result>,
  ): Promise<Result> {
    return this.#withOpened((opened, cluster) => work(opened.volumes, cluster));
  }

  /** The same, with the cluster's files. */
  withFiles<Result>(work: (files: Cluster, cluster: ClusterMetadata) => Promise<Result>): Promise<Result> {
    const deps = { clock: systemClock, log: this.log };
    return this.#withOpened((opened, cluster) => work(new Cluster(cluster, opened, deps), cluster));
  }

  #withOpened<Result>(
    work: (opened: OpenVolumes, cluster: ClusterMetadata) => Promise<Result>,
  ): Promise<Result> {
    return this.withCluster(async (cluster) => {
      const { pid, host } = this.io;
      const holder = `torusctl ${pid} on ${host}`;
      const options = { ...briefly, leaseTtlMs: leaseTtlMsDefault, holder };
      const { log } = this;
      const deps = { clock: systemClock, random: systemRandom, log, metrics: new Metrics() };
      const opened = await openVolumes(cluster, options, deps);
      try {
        return await work(opened, cluster);
      } finally {
        // What was done is done; who attaches next recovers what was not let go of cleanly.
        await opened.close().catch((error: unknown) => this.output.warn(messageOf(error)));
      }
    });
  }

  /** Something to know, for people, on standard error. */
  tell(message: string): void {
    if (this.flags.output !== "json") this.io.err(`${message}\n`);
  }

  /** Runs `work`, which a signal asks to come to an end: it puts its things in order and rejects. */
  async untilStopped<Result>(work: (signal: AbortSignal) => Promise<Result>): Promise<Result> {
    const controller = new AbortController();
    const forget = this.io.onStop((signal) => controller.abort(signal));
    try {
      return await work(controller.signal);
    } finally {
      forget();
    }
  }

  /** Told before anything is opened or changed. */
  #requireFlags(): void {
    const { output, csv } = this.flags;
    if (csv && output === "json") throw new TorusError("invalid-argument", "use --csv or -o json, not both");
  }
}
