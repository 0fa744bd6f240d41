// What the commands of torusblk get from outside, as interfaces, so that tests can run them whole in one process.

import type { KernelNbd, ServedSocket } from "#gateway/kernel";
import type { Clock, Log, Metrics, Random } from "#host";
import type { Boot } from "#metadata";
import type { ClientsReach, VolumeCatalog } from "#volume";
import type { GlobalConfig, HostPort } from "./config.ts";

export interface CatalogOptions {
  readonly metadataUrl: string;
  /** How much a `writeback` volume may have answered and not yet sent everywhere. */
  readonly writeCacheBytes: number;
  /** Memory of the maps of each volume. */
  readonly mapCacheBytes: number;
  /** Memory for what was read of peers on other machines, of all volumes together. */
  readonly readCacheBytes: number;
  /** What the process may take; null: no bound. */
  readonly memoryBytes: number | null;
  readonly leaseTtlMs: number;
  /** Names this process to whoever asks who holds a volume. */
  readonly holder: string;
  /** The machine, since it was started; null when that is not known for certain. */
  readonly here: Boot | null;
  /** Where clients may be that outlive this process and come back. */
  readonly clients: ClientsReach;
}

export interface CatalogDeps {
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  readonly metrics: Metrics;
}

/** A catalogue whose volumes keep to a bound, and what that leaves for requests of their clients. */
export interface ServedCatalog extends VolumeCatalog {
  readonly requestBytes?: number | undefined;
}

/** Something that runs until it is closed. */
export interface Running {
  close(): Promise<void>;
}

export interface Surroundings extends CatalogDeps {
  readonly kernel: KernelNbd;
  readonly holder: string;
  /** As `CatalogOptions.here`, for a cluster with this metadata. */
  readonly bootOf: (metadataUrl: string) => Boot | null;
  /** Resolves, with the reason, when the process is asked to stop. */
  readonly stop: Promise<string>;
  /** A line for the person who started the command. */
  readonly say: (line: string) => void;
  readonly openCatalog: (options: CatalogOptions, deps: CatalogDeps) => Promise<ServedCatalog>;
  /** From now on looks at what the process takes, and calls `squeeze` when that comes near `memoryBytes`, and when it is over. */
  readonly guardMemory: (memoryBytes: number, squeeze: (isSqueezed: boolean) => void) => void;
  readonly serveHttp: (address: HostPort) => Promise<Running>;
  /** A new directory that only this user can enter; `close` removes it. */
  readonly privateDirectory: () => Promise<Running & { readonly path: string }>;
  /** A socket of the server there, behind the handshake with an export; `close` ends it here, not for whom it was given to. */
  readonly enterExport: (
    path: string,
    name: string,
  ) => Promise<{ readonly served: ServedSocket; close(): void }>;
  /** Writes what the system still has in memory for a block device; rejects when it cannot. */
  readonly syncDevice: (device: string) => Promise<void>;
}

/**
 * Opens the cluster's volumes, and the HTTP server if one is wanted, and gives them to `body`; afterwards closes both, whatever
 * happened. A failure of `body` is told before one of closing. `clients`: see `CatalogOptions`.
 */
export async function withCatalog(
  config: GlobalConfig,
  clients: ClientsReach,
  outside: Surroundings,
  body: (catalog: ServedCatalog) => Promise<void>,
): Promise<void> {
  const { http, metadataUrl, leaseTtlMs, writeCacheBytes, mapCacheBytes, readCacheBytes, memoryBytes } =
    config;
  const sizes = { writeCacheBytes, mapCacheBytes, readCacheBytes, memoryBytes };
  const { holder, log } = outside;
  const web = http === null ? null : await outside.serveHttp(http);
  try {
    const here = outside.bootOf(metadataUrl);
    const options = { metadataUrl, ...sizes, leaseTtlMs, holder, here, clients };
    const catalog = await outside.openCatalog(options, outside);
    await thenClose(() => body(catalog), catalog, log);
  } finally {
    await web?.close();
  }
}

/** Does `body`, then closes `running`, and rejects with the first that failed. */
export async function thenClose(body: () => Promise<void>, running: Running, log: Log): Promise<void> {
  try {
    await body();
  } catch (error) {
    await running.close().catch((second) => log.error("Closing failed as well.", { error: second }));
    throw error;
  }
  await running.close();
}
