// Brings the cluster up in order (metadata, peers, volume, NBD server) and down in the other order: the NBD server
// first, so that it drains and detaches while the peers still answer.

import { createServer } from "node:net";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { createLog } from "#host/node";
import type { ClusterMetadata } from "#metadata";
import { isTorusError, messageOf, TorusError } from "#model";
import { awaitPeers, ensureCluster, ensureVolume, openCluster } from "./cluster-setup.ts";
import type { UpConfig } from "./config.ts";
import { Daemon } from "./daemon.ts";
import { DataDirectory } from "./data-directory.ts";
import type { Guide } from "./guide.ts";
import { probeNbd } from "./nbd-probe.ts";

const drainMsMax = 60_000;
const stopMsMax = 20_000;
/** Short: after everything was killed at once, the next start waits for it to run out. */
const serverLease = "3s";
/** A volume whose last writer was killed is free when that one's lease has run out. */
const serveMsMax = 60_000;
const probeMsMax = 5_000;
const probePollMs = 50;
/** Of the disk, for all peers together, unless --peer-size says otherwise. */
const diskShare = 80;

export interface SupervisorDeps {
  readonly say: (line: string) => void;
  /** Called with what is being waited for. */
  readonly stage: (what: string) => void;
}

export class Supervisor {
  readonly #config: UpConfig;
  readonly #deps: SupervisorDeps;
  #data: DataDirectory | null = null;
  #peers: Daemon[] = [];
  #server: Daemon | null = null;
  #stopping = false;

  constructor(config: UpConfig, deps: SupervisorDeps) {
    this.#config = config;
    this.#deps = deps;
  }

  /** Resolves when the volume can be used. After a rejection `stop` must still be called. */
  async start(): Promise<Omit<Guide, "tookMs">> {
    const { peers, volume, sizeBytes, dataDirectory } = this.#config;
    const port = await freePort(this.#config.port);
    const data = DataDirectory.open(dataDirectory);
    this.#data = data;
    data.takePeers(peers);
    const cluster = await openCluster(data.metadataUrl, createLog({ level: "warn", name: "up" }));
    try {
      await ensureCluster(cluster, peers);
      this.#deps.stage(`waiting for ${peers} peers to start`);
      this.#peers = Array.from({ length: peers }, (_, i) => this.#peerDaemon(data, i + 1));
      await Promise.all(this.#peers.map((peer) => this.#started(peer, (ready) => ready)));
      this.#deps.stage("waiting for the peers to join the ring");
      const replicas = await awaitPeers(cluster, peers);
      const size = await ensureVolume(cluster, { name: volume, sizeBytes, replicas }, this.#deps.say);
      const socket = data.freshSocket();
      const isCutOff = await this.#serve(data, cluster, socket, port, size);
      return {
        volume,
        sizeBytes: size,
        peers,
        replicas,
        socket,
        port,
        dataDirectory,
        metadataUrl: data.metadataUrl,
        isCutOff,
      };
    } finally {
      await cluster.close();
    }
  }

  #peerDaemon(data: DataDirectory, number: number): Daemon {
    const name = `peer-${number}`;
    const size = this.#config.peerSize ?? `${Math.max(1, Math.floor(diskShare / this.#config.peers))}%`;
    const flags = ["--peer-address", "127.0.0.1:0", "--data-dir", data.peerPath(number), "--size", size];
    return new Daemon(
      {
        name,
        program: program("torusd"),
        args: ["--metadata", data.metadataUrl, ...flags, "--auto-join", "--exit-with-parent"],
        logPath: data.freshLog(name),
        ready: /^torusd: peer \S+ ready at /,
      },
      this.#deps,
    );
  }

  /** Resolves when the volume is served; true when it is only kept ready, because its clients of before are cut off. */
  async #serve(
    data: DataDirectory,
    cluster: ClusterMetadata,
    socket: string,
    port: number,
    sizeBytes: number,
  ): Promise<boolean> {
    const { volume } = this.#config;
    this.#deps.stage(`waiting for volume ${volume} to be served`);
    const server = new Daemon(
      {
        name: "torusblk",
        program: program("torusblk"),
        args: [
          ...["--metadata", data.metadataUrl, "nbdserve", "--listen", `127.0.0.1:${port}`, "--unix", socket],
          ...["--exit-with-parent", "--lease", serverLease, volume],
        ],
        logPath: data.freshLog("torusblk"),
        ready: /^torusblk: /,
      },
      this.#deps,
    );
    this.#server = server;
    return this.#started(server, async (ready) => {
      let isAttached = false;
      void ready.then(() => {
        isAttached = true;
      });
      const isCutOff = async () => isAttached && (await cluster.volumes.find(volume)).cut !== null;
      for (const address of [{ path: socket }, { host: "127.0.0.1", port }]) {
        const served = await this.#probe(address, isCutOff);
        if (served === "cut off") return true;
        if (served === sizeBytes) continue;
        throw new TorusError(
          "mismatch",
          `volume ${volume} is served with ${served} bytes instead of ${sizeBytes}`,
        );
      }
      return false;
    });
  }

  /** Starts `daemon`, unless all is being stopped. */
  async #started<T>(daemon: Daemon, proof: (ready: Promise<void>) => Promise<T>): Promise<T> {
    if (this.#stopping) throw new TorusError("closed", "stopped while starting");
    return daemon.start(proof);
  }

  async #probe(
    address: { path: string } | { host: string; port: number },
    isCutOff: () => Promise<boolean>,
  ): Promise<number | "cut off"> {
    const deadlineMs = performance.now() + serveMsMax;
    while (!this.#stopping) {
      try {
        return await probeNbd(address, this.#config.volume, probeMsMax);
      } catch (error) {
        if (await isCutOff()) return "cut off";
        if (performance.now() > deadlineMs) throw error;
        this.#deps.stage(`waiting: ${messageOf(error)}`);
      }
      await sleep(probePollMs);
    }
    throw new TorusError("closed", "stopped while starting");
  }

  /** Ends all that was started. Resolves with the names of daemons that had to be killed. */
  async stop(): Promise<string[]> {
    this.#stopping = true;
    for (const peer of this.#peers) peer.expectEnd();
    const killed: string[] = [];
    if (this.#server !== null && !(await this.#server.stop(drainMsMax))) killed.push(this.#server.name);
    const stops = await Promise.all(
      this.#peers.map(async (peer) => [peer.name, await peer.stop(stopMsMax)] as const),
    );
    for (const [name, inOrder] of stops) if (!inOrder) killed.push(name);
    this.#data?.close();
    return killed;
  }

  /** Ends all at once: what was acknowledged is safe, the next start recovers it. */
  kill(): void {
    for (const daemon of [this.#server, ...this.#peers]) daemon?.kill();
  }
}

const program = (name: string): string => join(import.meta.dirname, "..", name, "main.ts");

/** `port` if it can be had on loopback now, or any for 0. Rejects with `busy` or `invalid-argument`. */
function freePort(port: number): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once("error", (error: NodeJS.ErrnoException) => reject(portTaken(port, error)));
    server.listen({ host: "127.0.0.1", port, exclusive: true }, () => {
      const { port: found } = server.address() as { port: number };
      server.close(() => resolve(found));
    });
  });
}

function portTaken(port: number, error: NodeJS.ErrnoException): TorusError {
  return error.code === "EADDRINUSE"
    ? new TorusError(
        "busy",
        `port ${port} of 127.0.0.1 is in use: stop what uses it, or give another with --listen`,
      )
    : new TorusError("invalid-argument", `port ${port} of 127.0.0.1 cannot be used: ${error.message}`);
}

/** One line for the user. */
export function problemOf(error: unknown): string {
  const full = isTorusError(error, "full") || (error as NodeJS.ErrnoException)?.code === "ENOSPC";
  return full ? `the disk is full: ${messageOf(error)}` : messageOf(error);
}
