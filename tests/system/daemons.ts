// A cluster whose daemons a system test starts one by one, each with the flags it wants: what `up` does, by hand.

import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { Outcome, Program, Scope } from "./programs.ts";
import { freePort, scratchDirectory, torus, waitForLine } from "./programs.ts";

const stopMsMax = 60_000;

export interface DaemonsOptions {
  /** 3 unless told. */
  readonly peers?: number;
  /** Of the cluster, such as 256KiB. */
  readonly blockSize?: string;
  /** A database in its directory unless told. */
  readonly metadataUrl?: string;
  /** More flags of every torusd. */
  readonly peerFlags?: readonly string[];
}

export interface Peer {
  readonly program: Program;
  readonly id: string;
  readonly host: string;
  readonly port: number;
}

/** A running `torusblk nbdserve`. */
export interface Server {
  readonly program: Program;
  /** The NBD server's Unix socket. */
  readonly socket: string;
  readonly port: number;
  readonly httpPort: number;
}

export class Daemons {
  readonly directory: string;
  readonly metadataUrl: string;
  /** By number, from 1. */
  readonly peers = new Map<number, Peer>();
  readonly #servers = new Set<Server>();
  readonly #peerFlags: readonly string[];
  /** Everything ever started, to be dead in the end. */
  readonly #programs = new Set<Program>();

  private constructor(directory: string, { metadataUrl, peerFlags = [] }: DaemonsOptions) {
    this.directory = directory;
    this.metadataUrl = metadataUrl ?? `sqlite:${join(directory, "metadata.db")}`;
    this.#peerFlags = peerFlags;
  }

  /** A cluster whose peers run and are in the ring; dead when the test, or the run of a script, has ended. */
  static async start(t: Scope, options: DaemonsOptions = {}): Promise<Daemons> {
    const daemons = new Daemons(scratchDirectory(t), options);
    t.after(() => daemons.killAll());
    await daemons.torusctl("init", "--block-size", options.blockSize ?? "4MiB");
    await daemons.startPeers(Array.from({ length: options.peers ?? 3 }, (_, i) => i + 1));
    return daemons;
  }

  /** Runs torusctl on this cluster and returns what it printed; fails unless it ended with 0. */
  async torusctl(...args: string[]): Promise<string> {
    const outcome = await this.tryTorusctl(...args);
    if (outcome.code === 0) return outcome.stdout;
    throw new Error(`torusctl ${args.join(" ")} ended with ${outcome.code}:\n${outcome.stderr}`);
  }

  tryTorusctl(...args: string[]): Promise<Outcome> {
    return torus("torusctl", ["-C", this.metadataUrl, ...args]).end();
  }

  peerDirectory(number: number): string {
    return join(this.directory, `peer-${number}`);
  }

  /** Starts these peers at the same time, those of the start by default. */
  async startPeers(numbers: readonly number[] = [1, 2, 3]): Promise<void> {
    await Promise.all(numbers.map((number) => this.startPeer(number)));
  }

  async startPeer(number: number, flags: readonly string[] = []): Promise<Peer> {
    const program = this.launch("torusd", [
      ...["--peer-address", "127.0.0.1:0", "--data-dir", this.peerDirectory(number)],
      ...["--size", "8GiB", "--auto-join", ...this.#peerFlags, ...flags],
    ]);
    const ready = await waitForLine(program, /^torusd: peer (\S+) ready at (\S+):(\d+)$/m);
    const peer = { program, id: ready[1], host: ready[2], port: Number(ready[3]) };
    this.peers.set(number, peer);
    return peer;
  }

  /**
   * `torusblk nbdserve` with a short lease, so that who comes after a killed one waits little; at the addresses of `before`, for
   * clients that come back.
   */
  async startServer(
    volumes: readonly string[],
    flags: readonly string[] = [],
    before: Server | null = null,
  ): Promise<Server> {
    const { port, httpPort, socket } = before ?? (await this.#freeAddresses());
    const program = this.launch("torusblk", [
      ...["--lease", "2s", "--http", `127.0.0.1:${httpPort}`, ...flags],
      ...["nbdserve", "--listen", `127.0.0.1:${port}`, "--unix", socket, ...volumes],
    ]);
    await waitForLine(program, /^torusblk: serving nbd\+unix:/m);
    const server = { program, socket, port, httpPort };
    this.#servers.add(server);
    return server;
  }

  async #freeAddresses(): Promise<Omit<Server, "program">> {
    const [port, httpPort] = [await freePort(), await freePort()];
    const name = createHash("sha256").update(`${port}`).digest("hex").slice(0, 8);
    return { port, httpPort, socket: join(this.directory, `nbd-${name}.sock`) };
  }

  /** kill -9 of one daemon. */
  async kill(daemon: { readonly program: Program }): Promise<void> {
    daemon.program.killGroup();
    await daemon.program.ended.catch(() => {});
    for (const server of this.#servers) if (server.program === daemon.program) this.#servers.delete(server);
  }

  /** One of ours on this cluster. Killed in the end whatever happens. */
  launch(name: string, args: readonly string[]): Program {
    const program = torus(name, ["--metadata", this.metadataUrl, ...args]);
    this.#programs.add(program);
    program.ended.finally(() => this.#programs.delete(program)).catch(() => {});
    return program;
  }

  /** Ends a daemon in order; fails unless it ends with 0. */
  async stop(daemon: { readonly program: Program }): Promise<void> {
    daemon.program.child.kill("SIGTERM");
    const { code, stderr } = await daemon.program.end(stopMsMax);
    if (code !== 0) throw new Error(`a daemon that was asked to stop ended with ${code}:\n${stderr}`);
    for (const server of this.#servers) if (server.program === daemon.program) this.#servers.delete(server);
  }

  /** Ends everything in order: servers first. */
  async stopAll(): Promise<void> {
    for (const server of this.#servers) await this.stop(server);
    this.#servers.clear();
    await Promise.all([...this.peers.values()].map((peer) => this.stop(peer)));
    this.peers.clear();
  }

  /** kill -9 of everything at once. */
  async killAll(): Promise<void> {
    const programs = [...this.#programs];
    for (const program of programs) program.killGroup();
    await Promise.all(programs.map((program) => program.ended.catch(() => {})));
    this.#servers.clear();
    this.peers.clear();
  }
}

/** URI of a volume over the server's Unix socket. */
export function uriOf(server: Server, volume: string): string {
  return `nbd+unix:///${volume}?socket=${server.socket}`;
}

/** A server's metrics by name; the sum where there are labels. */
export async function metricsOf(server: { readonly httpPort: number }): Promise<ReadonlyMap<string, number>> {
  const response = await fetch(`http://127.0.0.1:${server.httpPort}/metrics`);
  const metrics = new Map<string, number>();
  for (const line of (await response.text()).split("\n")) {
    const sample = /^(\w+)(?:\{.*\})? (\S+)$/.exec(line);
    if (sample !== null) metrics.set(sample[1], (metrics.get(sample[1]) ?? 0) + Number(sample[2]));
  }
  return metrics;
}

/** Memory of a process in bytes. */
export function residentBytes(program: Program): number {
  const status = readFileSync(`/proc/${program.pid}/status`, "utf8");
  return Number(/^VmRSS:\s+(\d+) kB$/m.exec(status)![1]) * 1024;
}
