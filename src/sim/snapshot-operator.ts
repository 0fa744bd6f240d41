// SnapshotOperator: somebody at torusctl while clients work: takes snapshots of volumes, with a live writer or without one, reads them
// whole, puts volumes back to them, clones them, flattens clones, resizes them, has them keep their history and asks what they were. One thing after another, on a machine of his own, which no fault troubles; the
// peers and the writers he needs have their faults. Whatever a snapshot shows is judged by snapshot-checker.ts.

import type { Change, NodePointer } from "#metadata";
import type { Epoch, VolumeId } from "#model";
import { isTorusError, messageOf, pageBytes } from "#model";
import type { BlockDevice, ClusterVolumes } from "#volume";
import type { SimClient } from "./client.ts";
import type { SimCluster } from "./cluster.ts";
import { operatorName } from "./metadata.ts";
import type { Operation } from "./operations.ts";
import type { Moment } from "./past-checker.ts";
import { checkPast } from "./past-checker.ts";
import type { TakenSnapshot } from "./snapshot-checker.ts";
import { checkSnapshot } from "./snapshot-checker.ts";
import { unitBytes, unitsPerPage, unitValue } from "./unit-content.ts";
import type { VolumeModel } from "./volume-model.ts";

/** What may come of an operation while things go wrong. */
const expectedErrors = [
  "busy",
  "timeout",
  "unavailable",
  "incomplete",
  "fenced",
  "conflict",
  "attachment-lost",
  "closed",
  "full",
] as const;

const chunkUnits = 64 * unitsPerPage;
const snapshotMsMax = 8000;
const volumesMax = 4;
/** Longer than a run. */
const historyMs = 3_600_000;
const momentsAtEndMax = 4;
/** So long he begins what is left to do once all is calm. On full stores one thing alone may take half a minute. */
const restAfterMs = 12_000;
const resizePagesMin = 4;
const resizePagesMax = 20_000;

/** A restore under way: what its last transaction will have made of the volume. */
interface Restoring {
  readonly taken: TakenSnapshot;
  readonly values: readonly number[];
  readonly root: string;
  readonly askedMs: number;
}

export class SnapshotOperator {
  readonly #cluster: SimCluster;
  readonly #client: SimClient;
  readonly #snapshots: TakenSnapshot[] = [];
  #volumes: ClusterVolumes | null = null;
  #number = 0;
  #doing: Promise<void> = Promise.resolve();
  #pending = 0;
  #restsAtMs = Number.POSITIVE_INFINITY;
  #restoring: Restoring | null = null;
  readonly #moments: Moment[] = [];

  constructor(cluster: SimCluster) {
    this.#cluster = cluster;
    this.#client = cluster.newClient(operatorName);
    cluster.onCommit = (client, changes) => this.#committed(client, changes);
  }

  get isBusy(): boolean {
    return this.#pending > 0;
  }

  schedule(operations: readonly Operation[]): void {
    const { clock } = this.#cluster.world;
    if (operations.length > 0) this.#client.start(true);
    for (const operation of operations)
      clock.setTimer(Math.max(0, operation.atMs - clock.monotonicMs()), () => {
        // What is marked is this moment, whatever he is doing.
        if (operation.kind === "mark") this.#mark(operation.pick);
        else this.#do(operation);
      });
  }

  /** He does not begin much more. */
  rest(): void {
    this.#restsAtMs = this.#cluster.world.clock.monotonicMs() + restAfterMs;
  }

  /** When all is calm: every snapshot is still what it was. */
  async finish(): Promise<void> {
    for (const taken of this.#snapshots) await this.#show(taken);
    for (const moment of this.#moments.slice(-momentsAtEndMax)) await this.#past(moment);
    const { admin, models } = this.#cluster;
    for (const { name } of models) await admin.history.keep(name, null);
  }

  async close(): Promise<void> {
    if (this.#volumes === null) return;
    try {
      await this.#client.close();
    } catch (error) {
      // An attachment of his that somebody took over could not be closed well, which was said then.
      if (!isTorusError(error, "fenced", "attachment-lost")) throw error;
    }
  }

  #do(operation: Operation): void {
    this.#pending += 1;
    this.#doing = this.#doing
      .then(() => this.#perform(operation))
      .catch((error: unknown) => this.#cluster.world.violateBy(error, `the operator's ${operation.kind}`))
      .finally(() => {
        this.#pending -= 1;
      });
  }

  async #perform(operation: Operation): Promise<void> {
    if (this.#cluster.world.clock.monotonicMs() > this.#restsAtMs) return;
    const { world, models } = this.#cluster;
    world.trace.add(operatorName, JSON.stringify(operation));
    const model = models[operation.pick % models.length];
    const taken = this.#pick(operation.pick);
    try {
      if (operation.kind === "snapshot") await this.#take(model);
      else if (operation.kind === "keep") await this.#cluster.admin.history.keep(model.name, historyMs);
      else if (operation.kind === "past") await this.#pastOf(operation.pick);
      else if (operation.kind === "resize") await this.#resize(model, operation.pick);
      else if (taken !== null && operation.kind === "read") await this.#show(taken);
      else if (taken !== null && operation.kind === "restore") await this.#restore(taken);
      else if (taken !== null && operation.kind === "clone") await this.#clone(taken);
      else if (taken !== null && operation.kind === "delete") await this.#delete(taken);
      else if (operation.kind === "flatten" && model.isClone) await this.#flatten(model);
    } catch (error) {
      if (!isTorusError(error, ...expectedErrors)) throw error;
      world.trace.add(operatorName, `${operation.kind}: ${error.code} ${messageOf(error)}`);
    }
  }

  #pick(number: number): TakenSnapshot | null {
    return this.#snapshots.length === 0 ? null : this.#snapshots[number % this.#snapshots.length];
  }

  async #open(): Promise<ClusterVolumes> {
    this.#volumes ??= await this.#client.open();
    return this.#volumes;
  }

  async #take(model: VolumeModel): Promise<void> {
    const { world } = this.#cluster;
    const volumes = await this.#open();
    this.#number += 1;
    const name = `s${this.#number}`;
    const askedMs = world.clock.monotonicMs();
    const { epoch, root } = await volumes.takeSnapshot({
      volume: model.name,
      name,
      labels: {},
      timeoutMs: snapshotMsMax,
    });
    const answeredMs = world.clock.monotonicMs();
    world.trace.add(operatorName, `has ${model.name}@${name}, of epoch ${epoch}`);
    // An attachment of his own, which no client tells the model of.
    if (this.#client.epochOf(model.name) === epoch) this.#attached(model, epoch, root.ref.volume);
    this.#snapshots.push({ model, name, epoch, askedMs, answeredMs });
  }

  /** An attachment without users. Those of before go on unless the metadata says that they must not. */
  #attached(model: VolumeModel, epoch: Epoch, volume: VolumeId): void {
    if (model.knows(epoch)) return;
    const key = `volumes/${volume.toString(16).padStart(10, "0")}/cut`;
    const isCut = this.#cluster.metadata.state.read([{ key }]).ranges[0].length > 0;
    model.attached(epoch, false, isCut);
  }

  /** Reads a snapshot whole and judges it; null when nobody knows yet what its epoch began with. */
  async #show(taken: TakenSnapshot): Promise<readonly number[] | null> {
    const { model, name, epoch } = taken;
    if (!model.knows(epoch)) return null;
    const volumes = await this.#open();
    const device = await volumes.openSnapshot(model.name, name);
    try {
      const values = await this.#read(device, model);
      if (values !== null) checkSnapshot(taken, values);
      return values;
    } finally {
      await device.close();
    }
  }

  /** To half of what it is, or twice as much. */
  async #resize(model: VolumeModel, pick: number): Promise<void> {
    const volumes = await this.#open();
    const pages = model.units / unitsPerPage;
    const wanted = (pick >>> 8) % 2 === 0 || pages < 2 * resizePagesMin ? 2 * pages : Math.floor(pages / 2);
    if (wanted > resizePagesMax) return;
    const sizeBytes = wanted * pageBytes;
    model.resizing(wanted * unitsPerPage);
    try {
      await volumes.resize({ volume: model.name, sizeBytes, force: true, timeoutMs: snapshotMsMax });
    } finally {
      model.resizeEnded();
      const ownEpoch = this.#client.epochOf(model.name);
      const { volumes: registry } = this.#cluster.admin;
      if (ownEpoch > 0) this.#attached(model, ownEpoch, (await registry.find(model.name)).spec.id);
    }
  }

  /** A size was committed, by whoever writes the volume. */
  #resized(changes: readonly Change[]): void {
    const values = changes.flatMap((change) => (change.kind === "put" ? [change] : []));
    const spec = values.find(({ key }) => key.endsWith("/spec"));
    const head = values.find(({ key }) => key.endsWith("/head"));
    if (spec === undefined || head === undefined) return;
    const { name, sizeBytes } = JSON.parse(spec.value) as { name: string; sizeBytes: number };
    const { epoch } = JSON.parse(head.value) as { epoch: Epoch };
    const { models, world } = this.#cluster;
    world.trace.add(operatorName, `${name} has ${sizeBytes} bytes from epoch ${epoch} on`);
    models.find((model) => model.name === name)?.resized(epoch, sizeBytes / unitBytes);
  }

  #mark(pick: number): void {
    const { models, world } = this.#cluster;
    const { clock } = world;
    const moment = { model: models[pick % models.length], atMs: clock.monotonicMs(), wallMs: clock.wallMs() };
    this.#moments.push({ ...moment, wallMs: Math.floor(moment.wallMs) });
    world.trace.add(operatorName, `marks ${moment.model.name} at ${moment.wallMs}`);
  }

  async #pastOf(pick: number): Promise<void> {
    if (this.#moments.length > 0) await this.#past(this.#moments[pick % this.#moments.length]);
  }

  /** Asks what a volume was, and judges it. A history that does not reach back so far has nothing to say. */
  async #past(moment: Moment): Promise<void> {
    const { model, wallMs } = moment;
    const { admin, world } = this.#cluster;
    const volumes = await this.#open();
    this.#number += 1;
    const name = `p${this.#number}`;
    const wish = { volume: model.name, name, labels: {}, atMs: wallMs, timeoutMs: snapshotMsMax };
    const isTaken = await volumes.takeSnapshot(wish).then(
      () => true,
      (error: unknown) => {
        if (isTorusError(error, "not-found")) return false;
        throw error;
      },
    );
    const ownEpoch = this.#client.epochOf(model.name);
    if (ownEpoch > 0) this.#attached(model, ownEpoch, (await admin.volumes.find(model.name)).spec.id);
    if (!isTaken) return;
    const device = await volumes.openSnapshot(model.name, name);
    try {
      const values = await this.#read(device, model);
      if (values !== null) checkPast(moment, values);
      world.trace.add(operatorName, `has ${model.name} as it was at ${wallMs}`);
    } finally {
      await device.close();
      await admin.snapshots.delete(model.name, name);
    }
  }

  async #read(device: BlockDevice, model: VolumeModel): Promise<number[] | null> {
    const values: number[] = [];
    const units = device.info.sizeBytes / unitBytes;
    for (let first = 0; first < units; first += chunkUnits) {
      const count = Math.min(chunkUnits, units - first);
      const bytes = await device.read(first * unitBytes, count * unitBytes);
      for (let i = 0; i < count; i++) {
        const value = unitValue(bytes, i * unitBytes, model.volume, first + i);
        if (value === null) {
          model.violate("snapshots", `unit ${first + i} of ${device.info.name} has bytes nobody wrote`);
          return null;
        }
        values.push(value);
      }
    }
    return values;
  }

  async #restore(taken: TakenSnapshot): Promise<void> {
    const { model, name } = taken;
    const values = await this.#show(taken);
    if (values === null) return;
    const volumes = await this.#open();
    const { snapshot } = await this.#cluster.admin.snapshots.find(model.name, name);
    const askedMs = this.#cluster.world.clock.monotonicMs();
    this.#restoring = { taken, values, root: JSON.stringify(snapshot.root), askedMs };
    try {
      await volumes.restoreSnapshot({ volume: model.name, snapshot: name, force: false });
    } finally {
      this.#restoring = null;
    }
  }

  /** The restored head is committed: from now on the volume is what the snapshot was. */
  #committed(client: string, changes: readonly Change[]): void {
    if (this.#restoring === null) this.#resized(changes);
    const restoring = this.#restoring;
    if (client !== operatorName || restoring === null) return;
    const { taken, values, root, askedMs } = restoring;
    const { model } = taken;
    for (const change of changes) {
      if (change.kind !== "put") continue;
      const record = JSON.parse(change.value) as { epoch: Epoch; root: NodePointer; name: string };
      const nowMs = this.#cluster.world.clock.monotonicMs();
      if (/\/snapshots\/before-restore-/.test(change.key)) {
        const { epoch, name } = record;
        this.#attached(model, epoch, record.root.ref.volume);
        this.#snapshots.push({ model, name, epoch, askedMs, answeredMs: nowMs - 1e-6 });
      } else if (change.key.endsWith("/head") && JSON.stringify(record.root) === root) {
        this.#cluster.world.trace.add(operatorName, `${model.name} is ${taken.name} again`);
        model.became(record.epoch, values);
      }
    }
  }

  /** A clone is a volume like any other, that begins as the snapshot. Its content goes on naming the volume it came from. */
  async #clone(taken: TakenSnapshot): Promise<void> {
    const { admin, models, world } = this.#cluster;
    if (models.length >= volumesMax) return;
    const values = await this.#show(taken);
    if (values === null) return;
    this.#number += 1;
    const name = `${taken.model.name}-c${this.#number}`;
    const request = { volume: taken.model.name, snapshot: taken.name, name };
    await admin.clones.create({ ...request, sizeBytes: null, acknowledge: null, minReplicas: null });
    world.trace.add(operatorName, `clones ${taken.model.name}@${taken.name} as ${name}`);
    const clone = taken.model.cloned(name);
    clone.attached(0, false, false);
    clone.became(0, values);
    models.push(clone);
  }

  /** Clones of it stay what they are. */
  async #delete(taken: TakenSnapshot): Promise<void> {
    const { admin, world } = this.#cluster;
    this.#snapshots.splice(this.#snapshots.indexOf(taken), 1);
    await admin.snapshots.delete(taken.model.name, taken.name);
    world.trace.add(operatorName, `deleted ${taken.model.name}@${taken.name}`);
  }

  async #flatten(model: VolumeModel): Promise<void> {
    const volumes = await this.#open();
    const volume = await volumes.attachNow(model.name, { force: false });
    const { volumes: registry } = this.#cluster.admin;
    const { spec } = await registry.find(model.name);
    this.#attached(model, this.#client.epochOf(model.name), spec.id);
    try {
      const { movedBytes, heldBy } = await volume.orders.flatten(() => {});
      const what = `${movedBytes} bytes moved, held by ${heldBy.join(", ")}`;
      this.#cluster.world.trace.add(operatorName, `flattened ${model.name}: ${what}`);
    } finally {
      await volume.close();
    }
  }
}
