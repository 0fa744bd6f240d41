// The daemon: a store for each data directory, a heartbeat for each peer, an HTTP server if one is wanted. It starts whole
// or not at all; afterwards a failed disk costs its own peer only, and the daemon ends when no peer is left.

import { networkInterfaces, totalmem } from "node:os";
import type { HttpServing, LabelledSample } from "#gateway/http";
import { serveHttp } from "#gateway/http";
import type { Clock, Log, Random } from "#host";
import { formatAddress, Metrics } from "#host";
import { releaseHeap, systemNetwork } from "#host/node";
import type { ClusterMetadata, PeerAliveRecord, PeerRecord } from "#metadata";
import { MetadataObserver, PeerHeartbeat } from "#metadata";
import { isTorusError, messageOf, metadataBehind, TorusError } from "#model";
import { protocolVersionMax } from "#peer";
import { publishUsage } from "../shared/process-usage.ts";
import type { HostPort, TorusdConfig } from "./config.ts";
import { HostedStore } from "./hosted-store.ts";
import { requireNoTwin } from "./live-twin.ts";
import { divideMemory, memoryBytesDefault } from "./memory-plan.ts";
import { joinRing } from "./ring-joining.ts";
import { storeHere, storeInThread } from "./store-line.ts";
import type { StoreReady } from "./store-messages.ts";

export interface DaemonDeps {
  readonly cluster: ClusterMetadata;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  /** Resolves, with the reason, when the process is asked to stop. */
  readonly stop: Promise<string>;
  /** A line for the person or program that started the daemon. */
  readonly say: (line: string) => void;
}

/** A peer of this daemon. */
interface LocalPeer {
  readonly hosted: HostedStore;
  readonly ready: StoreReady;
  /** As others reach it. */
  readonly address: string;
  /** Shows its store the metadata with each heartbeat. */
  readonly observer: MetadataObserver;
  /** Why its store refuses the metadata, "" while it does not. */
  behind: string;
  heartbeat: PeerHeartbeat | null;
  failed: boolean;
}

/** Heartbeats that may be missed, and a little: then a peer is DOWN. */
const heartbeatsPerLease = 10 / 3;
/** A heartbeat that was missed makes a pause of more than this many. */
const heartbeatsPerPause = 1.5;

/** Of the machine's memory, the share that its page cache is taken to have for the files of this daemon's stores. */
const cachedShare = 0.5;

/** Of what the metadata takes. */
const conditionCharsMax = 1000;

/** Resolves after an orderly stop. Rejects when the daemon cannot start, or has no working peer left. */
export async function runDaemon(config: TorusdConfig, deps: DaemonDeps): Promise<void> {
  const daemon = new Daemon(config, deps);
  try {
    // Asked to stop while a disk is slow to open: what has started is closed, and nothing waits for the rest.
    const started = await Promise.race([daemon.start().then(() => true), deps.stop.then(() => false)]);
    if (!started) return;
    const reason = await Promise.race([deps.stop, daemon.allFailed]);
    deps.log.info("Stopping.", { reason });
  } finally {
    await daemon.close();
  }
}

class Daemon {
  readonly #config: TorusdConfig;
  readonly #deps: DaemonDeps;
  readonly #metrics = new Metrics();
  readonly #failed = Promise.withResolvers<never>();
  #stores: HostedStore[] = [];
  #peers: LocalPeer[] = [];
  #http: HttpServing | null = null;

  constructor(config: TorusdConfig, deps: DaemonDeps) {
    this.#config = config;
    this.#deps = deps;
    this.#failed.promise.catch(() => {});
    this.#metrics.gauge("torus_server_peers_total", "Peers of this daemon.", () => this.#peers.length);
    this.#metrics.counter("torus_server_heartbeats", "Heartbeats sent.");
    publishUsage(this.#metrics);
  }

  /** Rejects when the last peer failed. */
  get allFailed(): Promise<never> {
    return this.#failed.promise;
  }

  async start(): Promise<void> {
    const { cluster, clock, log, say } = this.#deps;
    const { blockBytes, clusterId } = await cluster.load();
    const { address, dataDirectories, http, autoJoin } = this.#config;
    const { size, metadataUrl, heartbeatMs, repairAfterMs, repairBytesPerSecond, logLevel } = this.#config;
    const { collectGraceMs, scrubPeriodMs } = this.#config;
    const upkeep = { repairAfterMs, repairBytesPerSecond, collectGraceMs, scrubPeriodMs };
    const needs = { stores: dataDirectories.length, blockBytes };
    const memoryBytesMax = this.#config.memoryBytes ?? memoryBytesDefault(needs);
    const cachedBytesMax = Math.floor((totalmem() * cachedShare) / dataDirectories.length);
    const same = {
      size,
      cachedBytesMax,
      memoryBytesMax,
      isMeasured: http !== null,
      memory: divideMemory(memoryBytesMax, needs),
      blockBytes,
      clusterId,
      metadataUrl,
      heartbeatMs,
      ...upkeep,
      logLevel,
    };
    const open = dataDirectories.length === 1 ? storeHere : storeInThread;
    this.#stores = dataDirectories.map((directory, at) => {
      const own = { host: address.host, port: address.port === 0 ? 0 : address.port + at };
      return new HostedStore({ ...same, directory, address: own }, open, {
        clock,
        onFailed: (reason) => this.#onFailed(at, reason),
      });
    });
    this.#peers = await Promise.all(this.#stores.map((hosted) => this.#toPeer(hosted)));
    for (const peer of this.#peers) {
      await requireNoTwin(peer.ready.peer, peer.address, {
        ...this.#deps,
        clusterId,
        connect: systemNetwork.connect,
      });
      // Before anything of this peer is written: it may be the metadata of another cluster.
      peer.behind = await peer.observer.look();
      await this.#startHeartbeat(peer);
    }
    if (autoJoin && this.#peers.every(({ behind }) => behind === "")) await this.#join();
    if (http !== null) {
      this.#http = await serveHttp(http, {
        log,
        metrics: { collect: () => this.#collect() },
        health: () => this.#health(),
      });
      log.info("Serving metrics and health.", { address: formatAddress(this.#http.address) });
    }
    releaseHeap();
    for (const { ready, address: reached } of this.#peers) say(`peer ${ready.peer} ready at ${reached}`);
    for (const { ready, behind } of this.#peers) {
      if (behind !== "") say(`peer ${ready.peer}: ${metadataBehind(behind).message}`);
    }
  }

  /** Ends what was started, in an order in which nothing promised is lost: the stores first, what says they live last. */
  async close(): Promise<void> {
    await this.#http?.close();
    const endings = await Promise.allSettled(this.#stores.map((hosted) => hosted.stop()));
    await Promise.all(this.#peers.map((peer) => peer.heartbeat?.close()));
    for (const [at, ending] of endings.entries()) {
      if (ending.status === "rejected" && this.#peers[at]?.failed === false) {
        const directory = this.#config.dataDirectories[at];
        this.#deps.log.error("A store did not close cleanly.", {
          directory,
          reason: messageOf(ending.reason),
        });
      }
    }
  }

  async #toPeer(hosted: HostedStore): Promise<LocalPeer> {
    const ready = await hosted.started;
    const address = formatAddress(reachable(ready.address));
    const { clock, log, cluster } = this.#deps;
    const store = hosted.observed(ready.peer);
    const observer = new MetadataObserver(
      { pauseMsMax: heartbeatsPerPause * this.#config.heartbeatMs },
      { adoption: cluster.adoption, store, clock, log: log.child({ peer: ready.peer }) },
    );
    return { hosted, ready, address, observer, behind: "", heartbeat: null, failed: false };
  }

  async #startHeartbeat(peer: LocalPeer): Promise<void> {
    const { cluster, clock, log } = this.#deps;
    const { heartbeatMs: intervalMs } = this.#config;
    const ttlMs = Math.round(intervalMs * heartbeatsPerLease);
    const beating = new PeerHeartbeat(
      { ttlMs, intervalMs },
      {
        peers: cluster.peers,
        clock,
        log: log.child({ peer: peer.ready.peer }),
        record: () => this.#recordOf(peer),
        alive: () => this.#aliveOf(peer),
        onReplaced: (reason) => this.#giveUp(peer, reason),
      },
    );
    await beating.start();
    peer.heartbeat = beating;
  }

  #recordOf({ ready, address }: LocalPeer): PeerRecord {
    const { peer, sizeBytes } = ready;
    const { labels } = this.#config;
    return { peer, address, sizeBytes, labels, protocolVersion: protocolVersionMax };
  }

  async #aliveOf(peer: LocalPeer): Promise<PeerAliveRecord> {
    const { hosted, ready, observer } = peer;
    peer.behind = await observer.look();
    const report = await hosted.report();
    const { usedBytes, blocks, upkeep, collected, scrub } = report;
    this.#metrics.counter("torus_server_heartbeats", "Heartbeats sent.").add(1);
    const updatedMs = Math.round(this.#deps.clock.wallMs());
    const { incarnation } = ready;
    const condition = report.condition.slice(0, conditionCharsMax);
    return { incarnation, usedBytes, blocks, updatedMs, condition, upkeep, collected, scrub };
  }

  async #join(): Promise<void> {
    const { labels } = this.#config;
    const members = this.#peers.map(({ ready }) => ({ peer: ready.peer, weight: ready.sizeBytes, labels }));
    try {
      await joinRing(members, this.#deps);
    } catch (error) {
      // Another peer noticed. The ring is joined at the next start.
      if (!isTorusError(error, "metadata-behind")) throw error;
      this.#deps.log.error("The ring cannot be joined now.", { reason: error.message });
    }
  }

  #onFailed(at: number, reason: string): void {
    const peer = this.#peers[at];
    const directory = this.#config.dataDirectories[at];
    if (peer !== undefined) this.#giveUp(peer, `the store of ${directory} failed: ${reason}`);
  }

  /** The peer serves no more, for good; the others do. */
  #giveUp(peer: LocalPeer, reason: string): void {
    if (peer.failed) return;
    peer.failed = true;
    const { log } = this.#deps;
    log.error("A peer of this daemon serves no more.", { peer: peer.ready.peer, reason });
    const warn = (error: unknown): void =>
      log.warn("A failed peer did not end cleanly.", { peer: peer.ready.peer, reason: messageOf(error) });
    peer.hosted.stop().catch(warn);
    peer.heartbeat?.close().catch(warn);
    if (this.#peers.every(({ failed }) => failed)) this.#failed.reject(new TorusError("unavailable", reason));
  }

  async #collect(): Promise<LabelledSample[]> {
    const samples: LabelledSample[] = this.#metrics.collect();
    for (const { hosted, ready } of this.#peers) {
      const { metrics } = await hosted.report();
      const labels = { peer: ready.peer };
      for (const sample of metrics) samples.push({ ...sample, labels });
    }
    return samples;
  }

  async #health(): Promise<{ healthy: boolean; peers: readonly object[] }> {
    const peers = await Promise.all(
      this.#peers.map(async ({ hosted, ready, address }) => {
        const { usedBytes, blocks, condition } = await hosted.report();
        return { peer: ready.peer, address, condition, usedBytes, sizeBytes: ready.sizeBytes, blocks };
      }),
    );
    return { healthy: peers.every(({ condition }) => condition === "ok"), peers };
  }
}

/** What others connect to: an address of this machine for one that stands for all. */
function reachable({ host, port }: HostPort): HostPort {
  if (host !== "0.0.0.0" && host !== "::") return { host, port };
  const addresses = Object.values(networkInterfaces()).flatMap((each) => each ?? []);
  const outward = addresses.filter(({ internal, address }) => !internal && !address.startsWith("fe80:"));
  const chosen = outward.find(({ family }) => family === "IPv4") ?? outward[0];
  return { host: chosen?.address ?? "127.0.0.1", port };
}
