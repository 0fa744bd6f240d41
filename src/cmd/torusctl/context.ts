// What every command of torusctl has: the global flags, the output, and a cluster that is closed again whatever happens.

import type { Command } from "commander";
import type { Log } from "#host";
import { createLog } from "#host/node";
import type { ClusterMetadata } from "#metadata";
import { TorusError } from "#model";
import { type MetadataFlags, metadataUrl, openCluster } from "../shared/metadata-options.ts";
import { Output } from "../shared/output.ts";
import type { ProgramIo } from "../shared/program-io.ts";

export interface GlobalFlags extends MetadataFlags {
  readonly output: "table" | "json";
  readonly csv?: boolean;
  readonly si?: boolean;
}

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

  /** Told before anything is opened or changed. */
  #requireFlags(): void {
    const { output, csv } = this.flags;
    if (csv && output === "json") throw new TorusError("invalid-argument", "use --csv or -o json, not both");
  }
}
