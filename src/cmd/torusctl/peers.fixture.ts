// Peers for tests of commands that touch volumes: three with memory for disks, on loopback, in the ring; and what writes beside torusctl.

import { openVolumes } from "#client";
import { formatAddress, Metrics } from "#host";
import { createLog, systemClock, systemNetwork, systemRandom } from "#host/node";
import { PeerServer } from "#peer";
import { MemoryStore } from "#storage";
import type { AttachedVolume, ClientsReach } from "#volume";
import { peerIds, TorusctlFixture } from "./torusctl.fixture.ts";

const log = createLog({ level: "silent", name: "test" }, { write: () => {} });
const sizeBytes = 2 ** 26;

/** A whole small cluster with torusctl for it. */
export class TorusctlCluster extends TorusctlFixture {
  readonly #servers: PeerServer[] = [];

  static async start(blockSize = "64KiB"): Promise<TorusctlCluster> {
    const cluster = new TorusctlCluster();
    const made = (await cluster.json(`init --block-size ${blockSize}`)) as { clusterId: string };
    for (const peer of peerIds.slice(0, 3)) await cluster.#startServer(peer, made.clusterId);
    await cluster.json("peer add --all-peers");
    return cluster;
  }

  async #startServer(peer: string, clusterId: string): Promise<void> {
    const store = new MemoryStore({ peer, sizeBytes });
    const server = await serveStore(store, clusterId);
    this.#servers.push(server);
    await this.startPeer(peer, formatAddress(server.address), sizeBytes);
  }

  /** Attaches `name` as torusblk does, for as long as `work` takes. */
  async attached(
    name: string,
    work: (volume: AttachedVolume) => Promise<void>,
    clients: ClientsReach = "none",
  ): Promise<void> {
    await this.withCluster(async (cluster) => {
      const options = {
        writeCacheBytes: 2 ** 20,
        mapCacheBytes: 2 ** 22,
        readCacheBytes: 2 ** 22,
        leaseTtlMs: 10_000,
        holder: "torusblk 7 on n1",
        here: null,
        clients,
      };
      const deps = { clock: systemClock, random: systemRandom, log, metrics: new Metrics() };
      const { volumes, close } = await openVolumes(cluster, options, deps);
      try {
        await work(await volumes.attach(name, { force: false }));
      } finally {
        await close();
      }
    });
  }

  async stop(): Promise<void> {
    for (const server of this.#servers) await server.close();
    this.close();
  }
}

/** A peer on loopback with `store` for a disk. */
export async function serveStore(store: MemoryStore, clusterId: string): Promise<PeerServer> {
  const options = { clusterId, incarnation: 1, address: { host: "127.0.0.1", port: 0 } };
  const deps = {
    store,
    witness: store,
    listen: systemNetwork.listen,
    clock: systemClock,
    log,
    metrics: new Metrics(),
  };
  const server = new PeerServer(options, deps);
  await server.start();
  return server;
}
