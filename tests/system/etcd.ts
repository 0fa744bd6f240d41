// Real etcd members that a system test starts in a scratch directory, stops, kills, freezes and starts again.

import { randomInt } from "node:crypto";
import { rmSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { systemClock, systemRandom } from "#host/node";
import { EtcdMetadataService } from "#metadata";
import type { Place, Program, Scope } from "./programs.ts";
import { here, scratchDirectory, waitFor } from "./programs.ts";

const startMsMax = 20_000;
/** Below the ports that the system gives to outgoing connections: a member that restarts finds its own free. */
const portMin = 12_000;
const portMax = 32_000;

export interface EtcdOptions {
  readonly members?: number;
  readonly flags?: readonly string[];
  /** Client URLs are https:// with these files. */
  readonly tls?: { readonly ca: string; readonly cert: string; readonly key: string };
  /** A machine for each member; all of them here unless told. */
  readonly places?: readonly Place[];
  /** Where the members keep their data; by default a directory that goes with the test. */
  readonly directory?: string;
}

export class EtcdMember {
  readonly name: string;
  readonly directory: string;
  readonly clientPort: number;
  readonly peerPort: number;
  readonly address: string;
  readonly #place: Place;
  readonly #healthPort: number;
  #program: Program | null = null;

  constructor(name: string, directory: string, ports: readonly number[], place: Place) {
    this.name = name;
    this.directory = directory;
    this.#place = place;
    this.address = place.address;
    [this.clientPort, this.peerPort, this.#healthPort] = ports;
  }

  launch(flags: readonly string[], scheme: string): void {
    const client = `${scheme}://${this.address}:${this.clientPort}`;
    const peer = `http://${this.address}:${this.peerPort}`;
    this.#program = this.#place.launch("etcd", [
      ...["--name", this.name, "--data-dir", join(this.directory, this.name)],
      ...["--listen-client-urls", client, "--advertise-client-urls", client],
      ...["--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer],
      ...["--listen-metrics-urls", this.#healthUrl],
      ...["--heartbeat-interval", "50", "--election-timeout", "500", "--log-level", "error"],
      ...flags,
    ]);
  }

  get #healthUrl(): string {
    return `http://${this.address}:${this.#healthPort}`;
  }

  get pid(): number {
    return this.#program?.pid ?? 0;
  }

  /** Whether it answers linearizable reads. */
  async healthy(): Promise<boolean> {
    const program = this.#program!;
    const ended = Symbol("ended");
    if ((await Promise.race([program.ended, Promise.resolve(ended)])) !== ended) {
      throw new Error(`etcd ended:\n${program.output}`);
    }
    const answer = await fetch(`${this.#healthUrl}/health`, {
      signal: AbortSignal.timeout(2000),
    });
    return ((await answer.json()) as { health: string }).health === "true";
  }

  /** A gauge of its metrics. */
  async metric(name: string): Promise<number> {
    const answer = await fetch(`${this.#healthUrl}/metrics`, {
      signal: AbortSignal.timeout(2000),
    });
    return Number(new RegExp(`^${name} (\\S+)$`, "m").exec(await answer.text())?.[1]);
  }

  /** SIGKILL; resolves when it is gone. */
  async kill(): Promise<void> {
    this.#program?.killGroup();
    await this.#program?.ended.catch(() => {});
    this.#program = null;
  }

  signal(signal: NodeJS.Signals): void {
    process.kill(this.pid, signal);
  }

  /** As if its disk had been replaced. */
  empty(): void {
    rmSync(join(this.directory, this.name), { recursive: true, force: true });
  }
}

export class Etcd {
  readonly members: readonly EtcdMember[];
  readonly #flags: readonly string[];
  readonly #tls: EtcdOptions["tls"];
  readonly #services: EtcdMetadataService[] = [];

  static async start(t: Scope, options: EtcdOptions = {}): Promise<Etcd> {
    const directory = options.directory ?? scratchDirectory(t);
    const etcd = new Etcd(directory, options, await freePorts(3 * (options.members ?? 1)));
    t.after(() => etcd.close());
    for (const member of etcd.members) etcd.launch(member);
    await etcd.ready();
    return etcd;
  }

  private constructor(directory: string, options: EtcdOptions, ports: readonly number[]) {
    const { members = 1, flags = [], tls, places = [] } = options;
    this.#tls = tls;
    this.members = Array.from(
      { length: members },
      (_, at) => new EtcdMember(`m${at + 1}`, directory, ports.slice(3 * at, 3 * at + 3), places[at] ?? here),
    );
    const peers = this.members.map(({ name, address, peerPort }) => `${name}=http://${address}:${peerPort}`);
    const secure = tls
      ? ["--cert-file", tls.cert, "--key-file", tls.key, "--trusted-ca-file", tls.ca, "--client-cert-auth"]
      : [];
    this.#flags = ["--initial-cluster", peers.join(","), ...secure, ...flags];
  }

  /** Starts `member`, again if it was stopped. Without waiting. */
  launch(member: EtcdMember): void {
    member.launch(this.#flags, this.#tls ? "https" : "http");
  }

  async ready(members = this.members): Promise<void> {
    for (const member of members) {
      await waitFor(`etcd ${member.name} to be healthy`, () => member.healthy(), startMsMax);
    }
  }

  /** Every member, under /torus unless told otherwise. */
  url(prefix = "", members = this.members): string {
    const hosts = members.map(({ address, clientPort }) => `${address}:${clientPort}`);
    return `${this.#tls ? "etcds" : "etcd"}://${hosts.join(",")}${prefix}`;
  }

  /** A client, closed with the test. */
  async connect(
    url = this.url(),
    options: { password?: string; totalMs?: number } = {},
  ): Promise<EtcdMetadataService> {
    const service = await EtcdMetadataService.open({ url, ...options }, deps);
    this.#services.push(service);
    return service;
  }

  async leader(): Promise<EtcdMember> {
    return waitFor("a leader", async () => {
      for (const member of this.members) {
        if (member.pid === 0) continue;
        // One that is frozen or cut off does not answer, and does not lead.
        const leads = await member.metric("etcd_server_is_leader").catch(() => 0);
        if (leads === 1) return member;
      }
      return null;
    });
  }

  /** Calls etcd's JSON gateway, which knows what our client does not need. */
  async post(path: string, body: object, token = ""): Promise<Record<string, unknown>> {
    const { address, clientPort } = this.members[0];
    const answer = await fetch(`http://${address}:${clientPort}/v3/${path}`, {
      method: "POST",
      body: JSON.stringify(body),
      headers: token === "" ? {} : { authorization: token },
    });
    const result = (await answer.json()) as Record<string, unknown>;
    if (!answer.ok) throw new Error(`${path}: ${JSON.stringify(result)}`);
    return result;
  }

  async close(): Promise<void> {
    for (const service of this.#services) await service.close();
    await Promise.all(this.members.map((member) => member.kill()));
  }
}

export const quietLog = {
  debug: () => {},
  info: () => {},
  warn: () => {},
  error: () => {},
  child: () => quietLog,
};

export const deps = { clock: systemClock, random: systemRandom, log: quietLog };

async function freePorts(count: number): Promise<number[]> {
  const ports = new Set<number>();
  while (ports.size < count) {
    const port = randomInt(portMin, portMax);
    if (!ports.has(port) && (await isFree(port))) ports.add(port);
  }
  return [...ports];
}

function isFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once("error", () => resolve(false));
    server.listen({ host: "127.0.0.1", port }, () => server.close(() => resolve(true)));
  });
}
