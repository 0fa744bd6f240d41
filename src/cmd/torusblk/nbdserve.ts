// `torusblk nbdserve`: every volume of the cluster as an NBD export by its name, until the process is asked to stop.
// Then: no new requests, answers to those in flight, flush, checkpoint, detach.

import type { ListenAddress, NbdTls } from "#gateway/nbd";
import { describeAddress } from "#gateway/nbd";
import { releaseHeap } from "#host/node";
import type { ClientsReach } from "#volume";
import { boundedServer } from "./bounded-server.ts";
import type { GlobalConfig, HostPort } from "./config.ts";
import { isLoopback } from "./config.ts";
import type { ServedCatalog, Surroundings } from "./surroundings.ts";
import { thenClose, withCatalog } from "./surroundings.ts";
import { TlsRenewal } from "./tls-renewal.ts";
import { VolumeExports } from "./volume-exports.ts";

export interface NbdserveConfig extends GlobalConfig {
  /** Null to listen on the unix socket alone. */
  readonly listen: HostPort | null;
  readonly unixPath: string | null;
  /** Attached at the start and kept. */
  readonly volumes: readonly string[];
  /** Null: none. */
  readonly tls: NbdTls | null;
  /** The same, as the files have it now. Throws `invalid-argument`. */
  readonly readTls: () => NbdTls | null;
}

/** A volume without clients is detached after this long. */
const lingerMs = 5000;

export async function nbdserve(config: NbdserveConfig, outside: Surroundings): Promise<void> {
  await withCatalog(config, reachOf(config), outside, (catalog) => serve(config, outside, catalog));
}

/** Who can connect can come back. */
function reachOf({ listen }: NbdserveConfig): ClientsReach {
  return listen === null || isLoopback(listen) ? "here" : "anywhere";
}

async function serve(config: NbdserveConfig, outside: Surroundings, catalog: ServedCatalog): Promise<void> {
  const { clock, log, stop } = outside;
  const exports = new VolumeExports({ force: config.force, lingerMs }, { catalog, clock, log });
  const options = { listen: addresses(config), tls: config.tls };
  const server = boundedServer(options, exports, config, outside, catalog);
  const start = async () => {
    // Listening comes first: a port in use should not cost an attachment. Clients that come early wait for theirs.
    await server.open();
    await Promise.all(config.volumes.map((name) => exports.pin(name)));
  };
  let renewal: TlsRenewal | null = null;
  const run = async () => {
    const { tls, readTls: read } = config;
    const started = start();
    const early = await Promise.race([started, stop]);
    if (early === undefined) {
      releaseHeap();
      announce(config, outside, server.addresses);
      if (tls !== null) renewal = new TlsRenewal({ tls, read }, { server, clock, log });
      log.info("Stopping.", { reason: await stop });
    } else {
      started.catch(() => {});
      log.info("Stopping before everything was attached.", { reason: early });
    }
  };
  await thenClose(() => thenClose(run, server, log), exports, log).finally(() => renewal?.close());
}

function addresses({ listen, unixPath }: NbdserveConfig): ListenAddress[] {
  const tcp: ListenAddress[] = listen === null ? [] : [{ kind: "tcp", ...listen }];
  return unixPath === null ? tcp : [...tcp, { kind: "unix", path: unixPath }];
}

function announce(config: NbdserveConfig, outside: Surroundings, listening: readonly ListenAddress[]): void {
  const { tls } = config;
  const schemes = [...(tls?.isRequired ? [] : ["nbd"]), ...(tls === null ? [] : ["nbds"])];
  for (const address of listening) {
    for (const scheme of schemes) {
      const uri =
        address.kind === "unix"
          ? `${scheme}+unix:///VOLUME?socket=${address.path}`
          : `${scheme}://${describeAddress(address)}/VOLUME`;
      outside.say(`serving ${uri}`);
    }
  }
  if (config.listen === null || isLoopback(config.listen)) return;
  const problem = exposure(tls);
  if (problem !== null)
    outside.log.warn(problem, { address: describeAddress({ kind: "tcp", ...config.listen }) });
}

/** What a network may do to volumes that are served to it; null: nothing. */
function exposure(tls: NbdTls | null): string | null {
  if (tls === null || !tls.isRequired)
    return "Without --tls require NBD has neither passwords nor encryption: whoever reaches this address can read and write every volume.";
  if (tls.credentials.kind === "certificates" && tls.credentials.authority === null)
    return "TLS without --tls-verify-peer keeps others from listening, but whoever reaches this address can read and write every volume.";
  return null;
}
