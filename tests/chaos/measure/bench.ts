// Bench: a cluster as small as it gets (three peers, three copies, three members of etcd, each on a machine of its own) with one volume,
// on which something is measured several times, and whole again before each time.

import { setTimeout as sleep } from "node:timers/promises";
import { NbdClient } from "../../system/nbd-client.ts";
import type { Program, Scope } from "../../system/programs.ts";
import { waitFor, waitForLine } from "../../system/programs.ts";
import type { Host } from "../chaos-cluster.ts";
import { ChaosCluster } from "../chaos-cluster.ts";
import { IoLoad, readBytes, writeMuch } from "./io-load.ts";

export const volume = "v";
export const volumeBytes = 4 * 2 ** 30;

/** What one time gave, by what was measured: such as writes and reads. */
export type Figures = Readonly<Record<string, number>>;

export interface Measure {
  readonly name: string;
  readonly unit: "s" | "transactions";
  /** What is aimed at, at most, for all figures or for each; none where there is nothing to aim at. */
  readonly aim: number | Figures | null;
  /** How often, if not as often as the others. */
  readonly times?: number;
  run(bench: Bench): Promise<Figures>;
}

/** As etcd has it by default: the figures are of a cluster that nobody tuned. */
const etcdFlags = ["--heartbeat-interval", "100", "--election-timeout", "1000"];
const attachMsMax = 60_000;
const connectRestMs = 20;
/** Peers that came back are members again within this. */
const settleMs = 3000;
const steadyMs = 1500;

export class Bench {
  readonly cluster: ChaosCluster;
  #load: IoLoad | null = null;
  readonly #extra = new Set<Program>();

  static async start(scope: Scope): Promise<Bench> {
    const cluster = await ChaosCluster.start(scope, {
      peers: 3,
      lease: "10s",
      blockSize: "4MiB",
      volumes: [{ name: volume, sizeBytes: volumeBytes, acknowledge: "replicated" }],
      etcdFlags,
    });
    const bench = new Bench(cluster);
    const client = await bench.open(cluster.hosts[0]);
    await writeMuch(client, 0, readBytes);
    client.destroy();
    return bench;
  }

  private constructor(cluster: ChaosCluster) {
    this.cluster = cluster;
  }

  get hosts(): readonly Host[] {
    return this.cluster.hosts;
  }

  /** Everything runs, and nobody has the volume. */
  async reset(): Promise<void> {
    await this.#load?.stop();
    this.#load = null;
    for (const program of this.#extra) program.killGroup();
    this.#extra.clear();
    await this.cluster.restore();
    for (const { node } of this.hosts) await node.end();
    await this.cluster.restore();
    await waitFor("the volume to be free", async () => (await this.#status()) === "free", attachMsMax);
    await sleep(settleMs);
  }

  /** A steady load on the first host, which has gone on for a while. */
  async load(): Promise<IoLoad> {
    this.#load = new IoLoad(await this.open(this.hosts[0]));
    await sleep(steadyMs);
    this.#load.reset();
    return this.#load;
  }

  /** Opens the volume, trying again until somebody serves it. Nobody who used it before goes on: that is said where it is asked. */
  async open({ socket }: Pick<Host, "socket">): Promise<NbdClient> {
    const endMs = performance.now() + attachMsMax;
    for (;;) {
      try {
        return await NbdClient.connect({ kind: "unix", path: socket }, volume);
      } catch (error) {
        if (performance.now() > endMs) throw error;
        if (/accept-loss/.test((error as Error).message))
          await this.cluster.torusctl("volume", "accept-loss", volume);
        await sleep(connectRestMs);
      }
    }
  }

  /** Another torusblk on the second host, that takes volumes by force. */
  async startTaker(): Promise<{ readonly socket: string }> {
    const socket = this.cluster.freshSocket();
    const program = this.cluster.launchServer(this.hosts[1].node.machine, socket, ["--force"]);
    this.#extra.add(program);
    await waitForLine(program, /^torusblk: serving /m);
    return { socket };
  }

  async #status(): Promise<string> {
    const list = JSON.parse(await this.cluster.torusctl("-o", "json", "volume", "list")) as {
      volumes: { name: string; status: string }[];
    };
    return list.volumes.find(({ name }) => name === volume)?.status ?? "";
  }
}
