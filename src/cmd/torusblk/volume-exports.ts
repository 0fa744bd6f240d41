// VolumeExports: the volumes of a cluster as NBD exports, and their snapshots as read-only ones, VOLUME@SNAPSHOT. A volume is
// attached when its first client opens it, shared by all that open it, and detached (flushed and checkpointed) a while after the
// last one has gone; pinned ones stay.
//
// Invariants: at most one attachment of a volume at a time. A lost attachment ends its connections, and is not replaced before
// all of them have ended. Nothing is answered for a volume while it is being detached; who asks then waits and attaches anew.
// Clients come back by themselves and believe that what they were answered is kept, and NBD cannot tell them from new ones: a
// volume whose clients were cut off opens for nobody until a person has accepted the loss [C2].

import type { ExportCatalog, ExportSummary } from "#gateway/nbd";
import type { Clock, Log, Timer } from "#host";
import type { CutRecord } from "#metadata";
import { assert, formatBytes, messageOf, pageBytes, TorusError } from "#model";
import type {
  AttachedVolume,
  BlockDevice,
  BlockDeviceInfo,
  SnapshotSummary,
  VolumeCatalog,
  VolumeSummary,
} from "#volume";
import { parseSnapshotName } from "#volume";

export interface VolumeExportsOptions {
  /** Take volumes from whoever holds them. */
  readonly force: boolean;
  /** How long a volume without clients stays attached. */
  readonly lingerMs: number;
}

export interface VolumeExportsDeps {
  readonly catalog: VolumeCatalog;
  readonly clock: Clock;
  readonly log: Log;
}

interface Entry {
  readonly name: string;
  readonly attaching: Promise<AttachedVolume>;
  volume: AttachedVolume | null;
  users: number;
  /** Of each user that has it open. */
  readonly onLost: Set<() => void>;
  lost: TorusError | null;
  linger: Timer | null;
  detaching: Promise<void> | null;
}

export class VolumeExports implements ExportCatalog {
  readonly #options: VolumeExportsOptions;
  readonly #deps: VolumeExportsDeps;
  readonly #entries = new Map<string, Entry>();
  readonly #pinned = new Set<string>();
  #closed = false;
  /** What went wrong while detaching, for `close` to tell. */
  readonly #failures: string[] = [];

  constructor(options: VolumeExportsOptions, deps: VolumeExportsDeps) {
    this.#options = options;
    this.#deps = deps;
  }

  /** From the cluster's list: looking at an export attaches nothing. */
  async describe(name: string): Promise<BlockDeviceInfo> {
    const attached = this.#entries.get(name)?.volume ?? null;
    if (attached !== null) return attached.info;
    const found = exportsOf(await this.#deps.catalog.list()).find((summary) => summary.name === name);
    if (found === undefined) throw missing(name);
    const { sizeBytes, description, byNameOnly: readOnly } = found;
    return { name, sizeBytes, readOnly, preferredBytes: pageBytes, description };
  }

  /** Of a volume all that it has; of a snapshot the others of its volume. */
  async snapshots(name: string): Promise<readonly string[]> {
    const snapshot = parseSnapshotName(name);
    const volume = snapshot?.volume ?? name;
    const summaries = await this.#deps.catalog.list();
    const names = summaries.find((summary) => summary.name === volume)?.snapshots.map((taken) => taken.name);
    if (names === undefined || (snapshot !== null && !names.includes(snapshot.snapshot))) throw missing(name);
    return names.filter((taken) => taken !== snapshot?.snapshot);
  }

  /** Volumes, each with its snapshots behind it. */
  async list(): Promise<readonly ExportSummary[]> {
    return exportsOf(await this.#deps.catalog.list());
  }

  async open(name: string, onLost: () => void): Promise<BlockDevice> {
    const entry = await this.#use(name);
    try {
      const volume = await entry.attaching;
      const cut = await volume.cut();
      if (cut !== null) throw cutOff(name, cut);
      if (entry.lost !== null) throw stillOpen(entry, entry.lost);
      entry.onLost.add(onLost);
      return volume;
    } catch (error) {
      entry.users -= 1;
      if (entry.volume !== null) this.#settle(entry);
      throw error;
    }
  }

  async release(device: BlockDevice, onLost: () => void): Promise<void> {
    const entry = [...this.#entries.values()].find(({ volume }) => volume === device);
    assert(entry !== undefined && entry.users > 0, "what is released was opened");
    entry.onLost.delete(onLost);
    entry.users -= 1;
    this.#settle(entry);
  }

  /** Attaches now, and from now on keeps the volume attached until `close`, clients or not; also when none may open it yet. */
  async pin(name: string): Promise<void> {
    const entry = await this.#use(name);
    try {
      await entry.attaching;
      this.#pinned.add(name);
    } finally {
      entry.users -= 1;
      if (entry.volume !== null) this.#settle(entry);
    }
  }

  /**
   * Detaches everything; called when nobody uses anything any more. Rejects when a volume could not be flushed and
   * checkpointed: what was answered as durable is safe, what was only answered may not be.
   */
  async close(): Promise<void> {
    this.#closed = true;
    for (const entry of this.#entries.values()) {
      if (entry.volume !== null) this.#detach(entry);
      // Nobody waits for these; the catalogue closes what it attached in the meantime.
      else entry.attaching.catch(() => {});
    }
    await Promise.all([...this.#entries.values()].map(({ detaching }) => detaching));
    if (this.#failures.length > 0) throw new TorusError("io", this.#failures.join("; "));
  }

  /** The entry of `name`, with one more user. */
  async #use(name: string): Promise<Entry> {
    for (;;) {
      if (this.#closed) throw new TorusError("closed", "torusblk is stopping");
      const entry = this.#entries.get(name) ?? this.#attach(name);
      if (entry.detaching === null) {
        if (entry.lost !== null && entry.users > 0) throw stillOpen(entry, entry.lost);
        entry.users += 1;
        entry.linger?.cancel();
        entry.linger = null;
        return entry;
      }
      await entry.detaching;
    }
  }

  #attach(name: string): Entry {
    const { catalog, log } = this.#deps;
    const entry: Entry = {
      name,
      attaching: catalog.attach(name, { force: this.#options.force }),
      volume: null,
      users: 0,
      onLost: new Set(),
      lost: null,
      linger: null,
      detaching: null,
    };
    this.#entries.set(name, entry);
    entry.attaching.then(
      (volume) => {
        entry.volume = volume;
        log.info("Attached a volume.", { volume: name, bytes: volume.info.sizeBytes });
        void this.#tellCut(name, volume);
        void volume.lost.then((error) => this.#onLost(entry, error));
      },
      () => this.#entries.delete(name),
    );
    return entry;
  }

  /** Refusals are told to clients; this is for whoever reads the log. */
  async #tellCut(name: string, volume: AttachedVolume): Promise<void> {
    const { log } = this.#deps;
    try {
      const cut = await volume.cut();
      if (cut !== null) log.error("A volume is not served.", { error: cutOff(name, cut) });
    } catch (error) {
      log.debug("Whether clients were cut off is not known yet.", { volume: name, error: messageOf(error) });
    }
  }

  #onLost(entry: Entry, error: TorusError): void {
    if (entry.detaching !== null) return;
    entry.lost = error;
    this.#deps.log.error("Lost a volume: its clients get errors and are disconnected.", {
      volume: entry.name,
      error,
      users: entry.users,
    });
    for (const onLost of entry.onLost) onLost();
    this.#settle(entry);
  }

  /** Detaches what nobody uses: at once when it is lost, else after a while, unless it is pinned. */
  #settle(entry: Entry): void {
    if (entry.users > 0 || entry.detaching !== null) return;
    if (entry.lost !== null) this.#detach(entry);
    else if (!this.#pinned.has(entry.name)) {
      entry.linger?.cancel();
      entry.linger = this.#deps.clock.setTimer(this.#options.lingerMs, () => this.#detach(entry));
    }
  }

  #detach(entry: Entry): void {
    if (entry.detaching !== null || entry.volume === null) return;
    entry.linger?.cancel();
    entry.linger = null;
    const { name, lost } = entry;
    const { log } = this.#deps;
    entry.detaching = entry.volume
      .close()
      .then(
        () => log.info("Detached a volume.", { volume: name }),
        (error) => {
          log.error("A volume could not be detached cleanly.", { volume: name, error });
          // A lost volume has said so already.
          if (lost === null)
            this.#failures.push(`volume "${name}" was not detached cleanly: ${messageOf(error)}`);
        },
      )
      .finally(() => this.#entries.delete(name));
  }
}

interface Export extends ExportSummary {
  readonly sizeBytes: number;
  /** A snapshot, which is read-only. */
  readonly byNameOnly: boolean;
}

function exportsOf(volumes: readonly VolumeSummary[]): Export[] {
  return volumes.flatMap(({ name, sizeBytes, snapshots }) => [
    { name, sizeBytes, byNameOnly: false, description: `Torus volume, ${formatBytes(sizeBytes)}` },
    ...snapshots.map((snapshot) => ({
      name: `${name}@${snapshot.name}`,
      sizeBytes: snapshot.sizeBytes,
      byNameOnly: true,
      description: describeSnapshot(name, snapshot),
    })),
  ]);
}

function describeSnapshot(volume: string, { sizeBytes, createdMs }: SnapshotSummary): string {
  const taken = new Date(createdMs).toISOString();
  return `Snapshot of Torus volume ${volume}, read-only, ${formatBytes(sizeBytes)}, taken ${taken}`;
}

function missing(name: string): TorusError {
  const what = parseSnapshotName(name) === null ? "volume" : "snapshot";
  return new TorusError("not-found", `there is no ${what} "${name}" in this cluster`);
}

function stillOpen(entry: Entry, lost: TorusError): TorusError {
  return new TorusError(
    "busy",
    `volume "${entry.name}" was lost (${lost.message}) and ${entry.users} connections to it are being ended: try again`,
  );
}

function cutOff(name: string, { atMs, previousHolder }: CutRecord): TorusError {
  return new TorusError(
    "attachment-lost",
    `volume "${name}" was recovered at ${new Date(atMs).toISOString()}, after ${previousHolder || "others"} had served it, and what it ` +
      "answered and did not flush may be lost. Clients that were connected then must not go on: end them, and mount or check " +
      `their file systems anew, as after a power failure. Then it is served again: torusctl volume accept-loss ${name}`,
  );
}
