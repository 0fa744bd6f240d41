// VolumeExports: the volumes of a cluster as NBD exports. A volume is attached when its first client opens it, shared by
// all that open it, and detached (flushed and checkpointed) a while after the last one has gone; pinned ones stay.
//
// Invariants: at most one attachment of a volume at a time. A lost attachment is not replaced while anyone still has
// it open: a client with several connections would otherwise get "flushed" from the new one for writes that the
// old one lost. Nothing is answered for a volume while it is being detached; who asks then waits and attaches anew.

import type { ExportCatalog, ExportSummary } from "#gateway/nbd";
import type { Clock, Log, Timer } from "#host";
import { assert, formatBytes, messageOf, pageBytes, TorusError } from "#model";
import type { AttachedVolume, BlockDevice, BlockDeviceInfo, VolumeCatalog } from "#volume";

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
    const found = (await this.#deps.catalog.list()).find((volume) => volume.name === name);
    if (found === undefined)
      throw new TorusError("not-found", `there is no volume "${name}" in this cluster`);
    return {
      name,
      sizeBytes: found.sizeBytes,
      readOnly: false,
      preferredBytes: pageBytes,
      description: describeSize(found.sizeBytes),
    };
  }

  async list(): Promise<readonly ExportSummary[]> {
    const volumes = await this.#deps.catalog.list();
    return volumes.map(({ name, sizeBytes }) => ({ name, description: describeSize(sizeBytes) }));
  }

  async open(name: string): Promise<BlockDevice> {
    const entry = await this.#use(name);
    try {
      return await entry.attaching;
    } catch (error) {
      entry.users -= 1;
      throw error;
    }
  }

  async release(device: BlockDevice): Promise<void> {
    const entry = [...this.#entries.values()].find(({ volume }) => volume === device);
    assert(entry !== undefined && entry.users > 0, "what is released was opened");
    entry.users -= 1;
    this.#settle(entry);
  }

  /** Attaches now, and from now on keeps the volume attached until `close`, clients or not. */
  async pin(name: string): Promise<void> {
    const device = await this.open(name);
    this.#pinned.add(name);
    await this.release(device);
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
      lost: null,
      linger: null,
      detaching: null,
    };
    this.#entries.set(name, entry);
    entry.attaching.then(
      (volume) => {
        entry.volume = volume;
        log.info("Attached a volume.", { volume: name, bytes: volume.info.sizeBytes });
        void volume.lost.then((error) => this.#onLost(entry, error));
      },
      () => this.#entries.delete(name),
    );
    return entry;
  }

  #onLost(entry: Entry, error: TorusError): void {
    if (entry.detaching !== null) return;
    entry.lost = error;
    this.#deps.log.error("Lost a volume: its clients get errors until they disconnect.", {
      volume: entry.name,
      error,
      users: entry.users,
    });
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

function describeSize(sizeBytes: number): string {
  return `Torus volume, ${formatBytes(sizeBytes)}`;
}

function stillOpen(entry: Entry, lost: TorusError): TorusError {
  return new TorusError(
    "busy",
    `volume "${entry.name}" was lost (${lost.message}) and ${entry.users} connections still have it open: ` +
      "end them, then open it again",
  );
}
