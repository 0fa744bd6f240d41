// ChaosCluster: three members of etcd, peers and two hosts with torusblk, each a process on a machine of its own.

import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { Etcd } from "../system/etcd.ts";
import type { Machine } from "../system/machines.ts";
import { Lab } from "../system/machines.ts";
import type { Program, Scope } from "../system/programs.ts";
import { root, torus, waitFor } from "../system/programs.ts";
import type { Node, UnexpectedEnd } from "./node.ts";
import { DaemonNode, EtcdNode } from "./node.ts";
import { SmallDisk } from "./small-disk.ts";

export interface ChaosClusterOptions {
  readonly peers: number;
  /** Of each host's attachments, such as 4s. */
  readonly lease: string;
  /** Each volume's size in bytes, and how it acknowledges. */
  readonly volumes: readonly VolumeOptions[];
  readonly blockSize: string;
  /** Of every torusd. */
  readonly peerFlags?: readonly string[];
  readonly etcdFlags?: readonly string[];
}

export interface VolumeOptions {
  readonly name: string;
  readonly sizeBytes: number;
  readonly acknowledge: "replicated" | "writeback";
}

export interface Peer {
  readonly node: DaemonNode;
  readonly disk: SmallDisk | null;
  /** Its data directory. */
  readonly data: string;
}

export interface Host {
  readonly node: DaemonNode;
  /** Of its NBD server. */
  readonly socket: string;
}

const peerPort = 4321;
/** Sparse: what is written counts. */
const smallDiskBytes = 24 * 2 ** 30;
const readyMsMax = 60_000;
const lastWordsMax = 6000;

export class ChaosCluster {
  readonly lab: Lab;
  readonly etcd: Etcd;
  readonly options: ChaosClusterOptions;
  readonly members: readonly EtcdNode[];
  readonly peers: Peer[] = [];
  readonly hosts: Host[] = [];
  readonly unexpected: UnexpectedEnd[] = [];
  #launched = 0;
  #closed = false;

  /** Everything runs, and the volumes are there. */
  static async start(scope: Scope, options: ChaosClusterOptions): Promise<ChaosCluster> {
    const lab = await Lab.open(scope);
    const places = ["etcd1", "etcd2", "etcd3"].map((name) => lab.addMachine(name));
    const { directory } = lab;
    const etcd = await Etcd.start(scope, {
      members: places.length,
      places,
      flags: options.etcdFlags,
      directory,
    });
    const cluster = new ChaosCluster(lab, etcd, places, options);
    scope.after(() => cluster.#close());
    await cluster.torusctl("init", "--block-size", options.blockSize);
    for (let number = 1; number <= options.peers; number++) await cluster.#addPeer(number);
    await Promise.all(cluster.peers.map(({ node }) => node.up()));
    for (const { name, sizeBytes, acknowledge } of options.volumes)
      await cluster.torusctl(
        "volume",
        "create-block",
        name,
        `${sizeBytes / 1024}KiB`,
        "--acknowledge",
        acknowledge,
      );
    for (const name of ["host-a", "host-b"]) cluster.#addHost(name);
    await Promise.all(cluster.hosts.map(({ node }) => node.up()));
    return cluster;
  }

  private constructor(lab: Lab, etcd: Etcd, places: readonly Machine[], options: ChaosClusterOptions) {
    this.lab = lab;
    this.etcd = etcd;
    this.options = options;
    this.members = etcd.members.map((member, at) => new EtcdNode(etcd, member, places[at]));
  }

  get nodes(): Node[] {
    return [...this.members, ...this.peers.map(({ node }) => node), ...this.hosts.map(({ node }) => node)];
  }

  get machines(): readonly Machine[] {
    return this.lab.machines;
  }

  async torusctl(...args: string[]): Promise<string> {
    const outcome = await torus("torusctl", ["-C", this.etcd.url(), ...args]).end();
    if (outcome.code === 0) return outcome.stdout;
    throw new Error(`torusctl ${args.join(" ")} ended with ${outcome.code}:\n${outcome.stderr}`);
  }

  /** `torusblk nbdserve` on `machine`; resolves at once. */
  launchServer(machine: Machine, socket: string, flags: readonly string[] = []): Program {
    return this.#launch(machine, "torusblk", [
      ...["--lease", this.options.lease, "--log-level", "info", ...flags],
      ...["nbdserve", "--unix", socket],
    ]);
  }

  /** A path for a socket that nobody used before. */
  freshSocket(): string {
    this.#launched += 1;
    return join(this.lab.directory, `extra-${this.#launched}.sock`);
  }

  /** The member that leads, if one answers soon. */
  async leader(): Promise<EtcdNode | null> {
    const found = await Promise.all(
      this.members.map(async (node) => {
        if (node.member.pid === 0) return null;
        const leads = await node.member.metric("etcd_server_is_leader").catch(() => 0);
        return leads === 1 ? node : null;
      }),
    );
    return found.find((node) => node !== null) ?? null;
  }

  /** Undoes whatever was done to it; resolves when all of it is ready. */
  async restore(): Promise<void> {
    await this.lab.heal();
    for (const { disk } of this.peers) disk?.free();
    for (const node of this.nodes) node.signal("SIGCONT");
    for (const node of this.members) await node.up();
    await this.etcd.ready();
    await Promise.all([...this.peers, ...this.hosts].map(({ node }) => node.up()));
    await waitFor(
      "every peer to be in the ring and alive",
      async () => {
        if (this.#closed) return true;
        const list = JSON.parse(await this.torusctl("-o", "json", "peer", "list")) as {
          peers: { member: string; condition: string }[];
        };
        const well = list.peers.filter(({ member, condition }) => member === "OK" && condition === "ok");
        return well.length === this.peers.length;
      },
      readyMsMax,
    );
  }

  /** The last lines of everyone. */
  lastWords(): string {
    return this.nodes.map(({ name, words }) => `--- ${name} ---\n${words.slice(-lastWordsMax)}`).join("\n");
  }

  async #addPeer(number: number): Promise<void> {
    const name = `peer-${number}`;
    const machine = this.lab.addMachine(name);
    // The first has a disk of its own, to be filled.
    const disk =
      number === 1 ? await SmallDisk.make(this.lab.directory, `disk-${name}`, smallDiskBytes) : null;
    const data = join(disk?.path ?? this.lab.directory, name);
    mkdirSync(data);
    const node = new DaemonNode(name, {
      machine,
      launch: () =>
        this.#launch(machine, "torusd", [
          ...["--peer-address", `${machine.address}:${peerPort}`, "--data-dir", data],
          ...["--size", `${smallDiskBytes}`, "--label", `host=${name}`, "--auto-join"],
          ...(this.options.peerFlags ?? []),
        ]),
      ready: /^torusd: peer (\S+) ready at /m,
      onUnexpectedEnd: (end) => this.unexpected.push(end),
    });
    this.peers.push({ node, disk, data });
  }

  #addHost(name: string): void {
    const machine = this.lab.addMachine(name);
    const socket = join(this.lab.directory, `${name}.sock`);
    const node = new DaemonNode(name, {
      machine,
      launch: () => this.launchServer(machine, socket),
      ready: /^torusblk: serving nbd\+unix:/m,
      onUnexpectedEnd: (end) => this.unexpected.push(end),
    });
    this.hosts.push({ node, socket });
  }

  #launch(machine: Machine, name: string, args: readonly string[]): Program {
    const main = join(root, "src/cmd", name, "main.ts");
    return machine.launch(process.execPath, [main, "--metadata", this.etcd.url(), ...args]);
  }

  async #close(): Promise<void> {
    this.#closed = true;
    await Promise.all(this.nodes.map((node) => node.retire()));
  }
}
