// One run: a cluster under a plan's faults; then calm, in which everything must work again; then a last look at all that
// every replica has. The same plan gives the same history, line by line.

import { blockRefKey, isTorusError, messageOf, pageBytes } from "#model";
import type { SimClient } from "./client.ts";
import type { Breakage } from "./cluster.ts";
import { SimCluster } from "./cluster.ts";
import { Faults } from "./faults.ts";
import type { SimPeer } from "./peer.ts";
import { misplaced } from "./placement-checker.ts";
import type { Plan } from "./plan.ts";
import { largeStoreBytes } from "./plan.ts";
import { ScrubChecker } from "./scrub-checker.ts";
import { SnapshotOperator } from "./snapshot-operator.ts";
import { TailKeeper } from "./tail-keeper.ts";
import type { VolumeModel } from "./volume-model.ts";
import type { SealedCopy } from "./witness.ts";
import { sealedCopies } from "./witness.ts";
import type { Violation } from "./world.ts";
import { World } from "./world.ts";

export interface Outcome {
  readonly plan: Plan;
  readonly violation: Violation | null;
  /** Of the whole history. */
  readonly sum: string;
  readonly steps: number;
  /** Requests answered OK. */
  readonly answered: number;
  readonly attached: number;
  /** Pages that cleaning moved. */
  readonly moved: number;
  readonly lines: readonly string[];
  readonly simulatedMs: number;
}

/** After the faults: how long a request under way may take, and how long an attach. */
const settleMsMax = 60_000;
const attachMsMax = 120_000;
/** Until no volume that nobody has keeps a tail, and until every block is where the ring wants it. */
const tailsMsMax = 60_000;
const convergeMsMax = 180_000;
const convergeEveryMs = 1000;

export interface RunOptions {
  readonly breakage?: Breakage;
  readonly onLine?: (line: string) => void;
  /** Called with the world as soon as there is one, for errors that reach nobody else. */
  readonly onWorld?: (world: World) => void;
}

export async function runPlan(plan: Plan, options: RunOptions = {}): Promise<Outcome> {
  const { onLine } = options;
  const network = { latencyMsMax: plan.latencyMsMax };
  const world = new World({ seed: plan.seed, network, ...(onLine === undefined ? {} : { onLine }) });
  options.onWorld?.(world);
  const run = new Run(plan, options.breakage ?? {}, world);
  try {
    await run.all();
  } catch (error) {
    world.violateBy(error, "the run");
  }
  return {
    plan,
    violation: world.violation,
    sum: world.trace.sum,
    steps: world.clock.steps,
    answered: world.counts.answered,
    attached: world.counts.attached,
    moved: world.metrics.counter("torus_volume_moved_bytes_total", "").value / pageBytes,
    lines: world.trace.lines,
    simulatedMs: world.clock.monotonicMs(),
  };
}

class Run {
  readonly #plan: Plan;
  readonly #breakage: Breakage;
  readonly #world: World;
  #rounds = 0;

  constructor(plan: Plan, breakage: Breakage, world: World) {
    this.#plan = plan;
    this.#breakage = breakage;
    this.#world = world;
  }

  async all(): Promise<void> {
    const cluster = await SimCluster.open(this.#plan, this.#breakage, this.#world);
    const faults = new Faults(cluster);
    const operator = new SnapshotOperator(cluster);
    for (const client of cluster.clients) client.start();
    faults.schedule(this.#plan.events);
    operator.schedule(this.#plan.operations);
    if (this.#breakage.tick !== undefined) this.#tick(cluster);
    const { tailsAfterMs: afterMs } = this.#plan;
    // Peers that keep themselves up do it themselves.
    const isKept = this.#plan.upkeep === null && this.#breakage.tailsLeft !== true;
    if (afterMs !== null && isKept) new TailKeeper({ afterMs }, cluster).start();
    if (await this.#pass(this.#plan.durationMs)) return;
    faults.calm();
    if (this.#mustAttachOnFull(cluster) && (await this.#attachOnFull(cluster))) return;
    if (await this.#settle(cluster, faults, operator)) return;
    this.#giveRoom(cluster);
    if (afterMs !== null && (await this.#tailsEnd(cluster))) return;
    if (await this.#recoverSnapshots(operator)) return;
    if (this.#plan.upkeep !== null) {
      // Half of what the faults left stays in use, for upkeep to put in order.
      if (!(await this.#recoverAll(cluster, 0.5))) return;
      if (await this.#converge(cluster)) return;
      if (await this.#collect(cluster)) return;
      if (await new ScrubChecker(cluster, faults).run((ms) => this.#pass(ms))) return;
    }
    if (!(await this.#recoverAll(cluster, 1))) return;
    await this.#compare(cluster);
  }

  /** What all volumes, written whole once more, may take. */
  #giveRoom(cluster: SimCluster): void {
    const { kinds, upkeep } = this.#plan;
    // Every clone is written whole from here on, beside all that snapshots keep.
    const clones = cluster.models.filter(({ isClone }) => isClone).length;
    // Where nothing is collected, a busy run fills large stores too.
    const isFilled = upkeep === null && this.#world.counts.full > 0;
    if (clones > 0) cluster.grow((1 + clones) * largeStoreBytes);
    else if (kinds.includes("full")) cluster.grow(largeStoreBytes);
    else if (isFilled) cluster.grow(2 * largeStoreBytes);
  }

  /** Lets time pass; true when something was found wrong. */
  async #pass(ms: number): Promise<boolean> {
    await this.#world.clock.runUntil(() => this.#world.violation !== null, ms);
    return this.#world.violation !== null;
  }

  #tick(cluster: SimCluster): void {
    this.#world.clock.setTimer(1000, () => {
      this.#breakage.tick?.(cluster);
      this.#tick(cluster);
    });
  }

  /** Clients finish what they are doing. */
  async #settle(cluster: SimCluster, faults: Faults, operator: SnapshotOperator): Promise<boolean> {
    const { clock, violation } = this.#world;
    if (violation !== null) return true;
    if (await this.#pass(5000)) return true;
    for (const client of cluster.clients) client.rest();
    operator.rest();
    const busy = () => cluster.clients.flatMap((client) => [...client.sessions]);
    const done = () =>
      this.#world.violation !== null || (busy().length === 0 && !operator.isBusy && !faults.isBusy);
    const ended = await clock.runUntil(done, settleMsMax);
    if (!ended) {
      const oldest = busy()
        .map((session) => session.oldestPending())
        .find((pending) => pending !== null);
      const what =
        oldest == null
          ? "a session, or the operator,"
          : `${oldest.what}, begun at ${Math.round(oldest.sinceMs)} ms,`;
      this.#world.violate("liveness", `${what} did not end within ${settleMsMax} ms of calm`);
    }
    for (const client of cluster.clients) client.crash(false);
    return this.#world.violation !== null;
  }

  /** Every block gets where the ring wants it. */
  async #converge(cluster: SimCluster): Promise<boolean> {
    const { clock, trace } = this.#world;
    const startedMs = clock.monotonicMs();
    let wrong = await clock.run(misplaced(cluster));
    while (wrong !== null && clock.monotonicMs() - startedMs < convergeMsMax) {
      if (await this.#pass(convergeEveryMs)) return true;
      wrong = await clock.run(misplaced(cluster));
    }
    if (wrong !== null) this.#world.violate("placement", `${wrong}, ${convergeMsMax} ms after calm`);
    trace.add("checker", `all is in place after ${Math.round(clock.monotonicMs() - startedMs)} ms`);
    return this.#world.violation !== null;
  }

  /** Everything dead goes, and nothing else went. */
  async #collect(cluster: SimCluster): Promise<boolean> {
    const { clock, trace } = this.#world;
    const { scratch, space } = cluster;
    const { upkeep } = this.#plan;
    if (upkeep === null || upkeep.collectGraceMs > convergeMsMax / 4) return false;
    const startedMs = clock.monotonicMs();
    const wrong = async (): Promise<string | null> =>
      scratch.living + cluster.deletions > 0
        ? `${scratch.living + cluster.deletions} volumes are not deleted`
        : await clock.run(space.leak());
    let left = await wrong();
    while (left !== null && clock.monotonicMs() - startedMs < convergeMsMax) {
      if (await this.#pass(convergeEveryMs)) return true;
      left = await wrong();
    }
    if (left !== null) this.#world.violate("space comes back", `${left}, ${convergeMsMax} ms after calm`);
    if (!(await clock.run(space.look())))
      this.#world.violate("space comes back", "INodes cannot be read when all is calm");
    trace.add("checker", `nothing dead is left after ${Math.round(clock.monotonicMs() - startedMs)} ms`);
    return this.#world.violation !== null;
  }

  /** What clients left behind when they died is recovered by and by. */
  async #tailsEnd(cluster: SimCluster): Promise<boolean> {
    const { clock } = this.#world;
    const untilMs = clock.monotonicMs() + tailsMsMax;
    let tails = await clock.run(cluster.tails());
    while (tails.length > 0 && clock.monotonicMs() < untilMs && !(await this.#pass(1000)))
      tails = await clock.run(cluster.tails());
    if (tails.length > 0)
      this.#world.violate("tails", `nobody has volume ${tails[0]}, and the tail of its log is still there`);
    return this.#world.violation !== null;
  }

  /** What is kept back in a full pool is enough for one writer to die and another to attach, when nothing else used it [C16]. */
  #mustAttachOnFull({ models }: SimCluster): boolean {
    const { full, attachesOnFull } = this.#world.counts;
    const { kinds, cleaning, tailsAfterMs } = this.#plan;
    if (kinds.join() !== "full" || cleaning || tailsAfterMs !== null) return false;
    return models.length === 1 && full > 0 && attachesOnFull === 0;
  }

  async #attachOnFull(cluster: SimCluster): Promise<boolean> {
    for (const client of cluster.clients) client.crash(true);
    const ended = await this.#recover(cluster, "full", async (client) => {
      const attached = await client.attach(await client.open(), cluster.models[0], false);
      if (attached === null || !(await attached.session.verify()))
        this.#world.violate("full pool", `volume ${cluster.models[0].name} cannot be attached and read`);
      client.crash(true);
    });
    return !ended;
  }

  /** Every volume is attached, read whole and `part` of it written by a new client; false when something was found wrong. */
  async #recoverAll(cluster: SimCluster, part: number): Promise<boolean> {
    this.#rounds += 1;
    for (const model of [...cluster.models]) {
      const name = `last-${model.name}-${this.#rounds}`;
      if (!(await this.#recover(cluster, name, (client) => this.#useOnce(client, cluster, model, part))))
        return false;
    }
    return true;
  }

  /** Every snapshot can be read and is what it was. */
  async #recoverSnapshots(operator: SnapshotOperator): Promise<boolean> {
    const { clock } = this.#world;
    let ended = false;
    operator
      .finish()
      .then(() => operator.close())
      .catch((error: unknown) => {
        this.#world.violateBy(error, "the operator at the end");
      })
      .finally(() => {
        ended = true;
      });
    const inTime = await clock.runUntil(() => ended || this.#world.violation !== null, settleMsMax);
    if (!inTime) this.#world.violate("liveness", "snapshots could not be read after calm");
    return this.#world.violation !== null;
  }

  /** Lets a new client do `work`; false when something was found wrong. */
  async #recover(
    cluster: SimCluster,
    name: string,
    work: (client: SimClient) => Promise<void>,
  ): Promise<boolean> {
    const { clock, trace } = this.#world;
    const client = cluster.newClient(name);
    client.start(true);
    const startedMs = clock.monotonicMs();
    let ended = false;
    void work(client).then(
      () => {
        ended = true;
      },
      (error: unknown) => {
        ended = true;
        this.#world.violateBy(error, name);
      },
    );
    const inTime = await clock.runUntil(
      () => ended || this.#world.violation !== null,
      attachMsMax + settleMsMax,
    );
    if (!inTime) this.#world.violate("liveness", `${name} did not end after calm`);
    trace.add("checker", `${name} took ${Math.round(clock.monotonicMs() - startedMs)} ms`);
    return this.#world.violation === null;
  }

  /** Attaches the volume, without force, and it reads and writes. */
  async #useOnce(client: SimClient, { models }: SimCluster, model: VolumeModel, part: number): Promise<void> {
    const { clock, trace } = this.#world;
    const startedMs = clock.monotonicMs();
    const volumes = await client.open();
    for (;;) {
      const attached = await client.attach(volumes, model, false);
      if (!models.includes(model)) return;
      if (attached !== null) {
        const whole = await attached.session.verify();
        const wrote = await attached.session.rewrite(part);
        const same = await attached.session.verify();
        if (!(whole && wrote && same))
          this.#world.violate("liveness", `volume ${model.name} does not read and write after calm`);
        await client.close();
        return;
      }
      if (clock.monotonicMs() - startedMs > attachMsMax) {
        this.#world.violate("liveness", `volume ${model.name} cannot be attached after calm`);
        return;
      }
      trace.add("checker", `${model.name} is not attached yet`);
      await new Promise<void>((resolve) => {
        clock.setTimer(500, resolve);
      });
    }
  }

  /** All copies of a sealed block are equal, and whole but for pages that were made to rot. */
  async #compare(cluster: SimCluster): Promise<void> {
    const seen = new Map<string, { peer: SimPeer; copy: SealedCopy }>();
    for (const peer of cluster.peers) {
      const { store } = peer;
      if (store === null) continue;
      try {
        for (const copy of await this.#world.clock.run(sealedCopies(store))) {
          const key = blockRefKey(copy.ref);
          const other = seen.get(key);
          if (other === undefined) seen.set(key, { peer, copy });
          else this.#compareTwo(key, other, { peer, copy });
          if (!copy.isWhole && !peer.rotten.has(key))
            this.#world.violate("equal copies", `block ${key} does not match its checksum on ${peer.name}`);
        }
      } catch (error) {
        if (!isTorusError(error)) throw error;
        this.#world.trace.add("checker", `${peer.name} cannot be read: ${messageOf(error)}`);
      }
    }
  }

  #compareTwo(
    key: string,
    one: { peer: SimPeer; copy: SealedCopy },
    other: { peer: SimPeer; copy: SealedCopy },
  ): void {
    const mayDiffer = (page: number): boolean =>
      [one, other].some(({ peer }) => peer.rotten.get(key)?.has(page));
    const equal =
      one.copy.length === other.copy.length &&
      one.copy.checksum === other.copy.checksum &&
      one.copy.pages.every((sum, page) => sum === other.copy.pages[page] || mayDiffer(page));
    if (!equal)
      this.#world.violate("equal copies", `block ${key} differs on ${one.peer.name} and ${other.peer.name}`);
  }
}
