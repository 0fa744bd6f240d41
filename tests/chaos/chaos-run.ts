// ChaosRun: a cluster of real processes under load, round after round of faults, and after each round calm: everything is undone, and
// every volume must go on, hold what was flushed and nothing that was never written.

import { setTimeout as sleep } from "node:timers/promises";
import type { Scope } from "../system/programs.ts";
import { dice } from "../system/scale.ts";
import type { VolumeOptions } from "./chaos-cluster.ts";
import { ChaosCluster } from "./chaos-cluster.ts";
import type { Fault } from "./faults.ts";
import { faultKinds } from "./faults.ts";
import { PageHistory, pageBytes, Violation } from "./page-history.ts";
import type { PlannedFault, PlannedRound } from "./plan.ts";
import { planRounds } from "./plan.ts";
import { defaultLoad } from "./session.ts";
import type { Longest } from "./stalls.ts";
import { Stalls } from "./stalls.ts";
import { VolumeClient } from "./volume-client.ts";

export interface ChaosOptions {
  readonly seed: number;
  /** Rounds begin until so much time has passed. */
  readonly runMs: number;
  /** Of `faultKinds`; all of them unless told. */
  readonly kinds?: readonly string[];
  readonly roundsMax?: number;
  /** How long after everything was undone a volume may take to go on. */
  readonly calmMs?: number;
}

export interface ChaosReport {
  readonly seed: number;
  readonly seconds: number;
  readonly rounds: number;
  readonly faults: ReadonlyMap<string, Readonly<Longest>>;
  readonly writes: number;
  readonly flushes: number;
  readonly reads: number;
  /** Connections opened to volumes; those that replaced one that still stood; those before which clients were cut off. */
  readonly sessions: number;
  readonly replaced: number;
  readonly losses: number;
  readonly violations: readonly string[];
}

const volumeBytes = 32 * 2 ** 20;
/** Attaching alone may wait half a minute for peers, and twice where a first try was cut off. */
const calmMsDefault = 90_000;
const patienceMsMax = 4000;

export const chaosVolumes: readonly VolumeOptions[] = [
  { name: "replicated", sizeBytes: volumeBytes, acknowledge: "replicated" },
  { name: "writeback", sizeBytes: volumeBytes, acknowledge: "writeback" },
];

export class ChaosRun {
  readonly cluster: ChaosCluster;
  readonly clients: readonly VolumeClient[];
  /** Of the same volumes. */
  readonly histories: readonly PageHistory[];
  readonly #options: ChaosOptions;
  readonly #say: (line: string) => void;
  readonly #stalls = new Stalls();
  readonly #startedMs = performance.now();
  readonly #violations: string[] = [];
  readonly #violated = Promise.withResolvers<void>();
  /** Ends what waits for its time. */
  readonly #over = new AbortController();
  #begun = 0;

  static async start(
    options: ChaosOptions,
    deps: { readonly scope: Scope; readonly say: (line: string) => void },
  ): Promise<ChaosRun> {
    const cluster = await ChaosCluster.start(deps.scope, {
      peers: 4,
      lease: "3s",
      // Small, so that blocks fill and are sealed often.
      blockSize: "1MiB",
      // Short, so that blocks are collected and moved while faults are about.
      peerFlags: ["--collect-grace", "5s", "--repair-after", "3s", "--scrub-period", "30s"],
      volumes: chaosVolumes,
    });
    return new ChaosRun(options, { ...deps, cluster });
  }

  private constructor(
    options: ChaosOptions,
    deps: { readonly cluster: ChaosCluster; readonly scope: Scope; readonly say: (line: string) => void },
  ) {
    this.#options = options;
    this.cluster = deps.cluster;
    this.#say = (line) =>
      deps.say(`[${((performance.now() - this.#startedMs) / 1000).toFixed(1).padStart(7)} s] ${line}`);
    const sockets = this.cluster.hosts.map(({ socket }) => socket);
    const { volumes } = this.cluster.options;
    this.histories = volumes.map(({ name, sizeBytes }) => new PageHistory(name, sizeBytes / pageBytes - 1));
    this.clients = volumes.map(({ acknowledge }, at) => {
      const own = [...sockets.slice(at % sockets.length), ...sockets.slice(0, at % sockets.length)];
      return new VolumeClient(
        { load: defaultLoad, sockets: own, patienceMsMax, acknowledge },
        {
          history: this.histories[at],
          stalls: this.#stalls,
          roll: dice(options.seed + at + 1),
          say: this.#say,
          acceptLoss: async (volume) => {
            // It is tried again by whoever is refused again.
            await this.cluster.torusctl("volume", "accept-loss", volume).catch(() => {});
          },
          onViolation: (error) => this.violate(error),
        },
      );
    });
    deps.scope.after(() => this.#stopClients());
  }

  /** Rounds until the time is over or a promise was not kept; or `work` in place of rounds. */
  async run(work: () => Promise<void> = () => this.#rounds()): Promise<ChaosReport> {
    for (const client of this.clients) client.start();
    for (const step of [() => this.calm("at the start"), work, () => this.#stopInOrder()])
      if (this.#violations.length === 0) await this.#guarded(step);
    this.#over.abort();
    return this.report();
  }

  async #rounds(): Promise<void> {
    const {
      seed,
      runMs,
      kinds = Object.keys(faultKinds),
      roundsMax = Number.POSITIVE_INFINITY,
    } = this.#options;
    for (const round of planRounds(seed, kinds)) {
      const isOver = performance.now() - this.#startedMs >= runMs || this.#begun >= roundsMax;
      if (isOver || this.#violations.length > 0) return;
      this.#begun += 1;
      this.#say(`round ${this.#begun}`);
      await this.#round(round);
    }
  }

  /** Does `work`, until a violation is met by whoever. */
  async #guarded(work: () => Promise<void>): Promise<void> {
    const done = work().catch((error: unknown) => this.violate(error));
    await Promise.race([done, this.#violated.promise]);
  }

  /** Something that was promised was not kept, or something failed that must not. */
  violate(error: unknown): void {
    // What fails because all is taken down is no news.
    if (this.#over.signal.aborted) return;
    const text = error instanceof Violation ? error.message : String((error as Error)?.stack ?? error);
    if (this.#violations.length === 0) this.#say(`VIOLATION: ${text}`);
    this.#violations.push(text);
    this.#violated.resolve();
  }

  report(): ChaosReport {
    const sum = (key: keyof VolumeClient["counted"]): number =>
      this.clients.reduce((total, { counted }) => total + counted[key], 0);
    return {
      seed: this.#options.seed,
      seconds: (performance.now() - this.#startedMs) / 1000,
      rounds: this.#begun,
      faults: this.#stalls.longest,
      writes: sum("writes"),
      flushes: sum("flushes"),
      reads: sum("reads"),
      sessions: sum("sessions"),
      replaced: sum("replaced"),
      losses: sum("losses"),
      violations: [...this.#violations],
    };
  }

  /** Undoes everything; then every volume must go on and hold what it should. */
  async calm(when: string): Promise<void> {
    await this.cluster.restore();
    const deadlineMs = performance.now() + (this.#options.calmMs ?? calmMsDefault);
    await Promise.all(this.clients.map((client) => client.settle(deadlineMs)));
    this.#requireNoEnds();
    this.#stalls.calm();
    const { writes, flushes, reads } = this.report();
    this.#say(
      `calm ${when}: all that was flushed is there (${writes} writes, ${flushes} flushes, ${reads} reads so far)`,
    );
  }

  async #round({ faults }: PlannedRound): Promise<void> {
    await Promise.all(faults.map((fault) => this.#inject(fault)));
    await this.calm(`after round ${this.#begun}`);
  }

  async #inject({ kind, atMs, lastsMs, seed }: PlannedFault): Promise<void> {
    await this.#wait(atMs);
    const roll = dice(seed);
    const counted = this.#stalls.begin(kind);
    const fault: Fault | null = await faultKinds[kind].begin(this, roll);
    if (fault === null) return counted.cancelled();
    this.#say(`${fault.what}, for ${(lastsMs / 1000).toFixed(1)} s`);
    await this.#wait(lastsMs);
    await fault.undo();
    counted.over();
  }

  #wait(ms: number): Promise<void> {
    return sleep(ms, undefined, { signal: this.#over.signal });
  }

  #requireNoEnds(): void {
    const [end] = this.cluster.unexpected;
    if (end === undefined) return;
    throw new Violation(`${end.name} ended by itself with ${end.code}:\n${end.lastWords}`);
  }

  async #stopClients(): Promise<void> {
    await Promise.all(this.clients.map((client) => client.stop()));
  }

  /** In the end everybody is asked to stop, and does. */
  async #stopInOrder(): Promise<void> {
    await this.#stopClients();
    for (const { node } of [...this.cluster.hosts, ...this.cluster.peers]) {
      const outcome = await node.end();
      if (outcome?.code !== 0)
        throw new Violation(
          `${node.name} was asked to stop and ended with ${outcome?.code}:\n${outcome?.stderr.slice(-3000)}`,
        );
    }
  }
}
