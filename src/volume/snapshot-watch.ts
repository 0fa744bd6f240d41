// SnapshotWatch: notices that a snapshot was deleted under who reads it, also when another of its name has come since.

import type { Clock, Log, Timer } from "#host";
import type { ClusterMetadata, FoundSnapshot, Watch } from "#metadata";
import { isTorusError, messageOf, TorusError } from "#model";

export interface SnapshotWatchDeps {
  readonly metadata: ClusterMetadata;
  readonly clock: Clock;
  readonly log: Log;
}

const retryMs = 1000;

export class SnapshotWatch {
  /** Resolves, at most once, when the snapshot is gone. */
  readonly gone: Promise<TorusError>;
  readonly #found: FoundSnapshot;
  readonly #deps: SnapshotWatchDeps;
  #announce: (error: TorusError) => void = () => {};
  #watch: Watch | null = null;
  #timer: Timer | null = null;
  #error: TorusError | null = null;
  #closed = false;

  constructor(found: FoundSnapshot, deps: SnapshotWatchDeps) {
    this.#found = found;
    this.#deps = deps;
    this.gone = new Promise((resolve) => {
      this.#announce = resolve;
    });
    void this.look();
  }

  /** Why it is gone; null while it is there. */
  get error(): TorusError | null {
    return this.#error;
  }

  /** Looks now; whoever cannot be asked is asked again later. */
  async look(): Promise<void> {
    this.#stopWaiting();
    if (this.#closed || this.#error !== null) return;
    const { metadata, log } = this.#deps;
    const { volume, snapshot } = this.#found;
    try {
      const { revision, volume: state } = await metadata.requests.requests(volume.spec.id);
      if (!state.snapshots.some(({ token }) => token === snapshot.token)) this.#lose();
      else this.#wait(revision);
    } catch (error) {
      if (isTorusError(error, "not-found")) {
        this.#lose();
        return;
      }
      if (!isTorusError(error)) throw error;
      log.debug("whether the snapshot is still there could not be asked", { reason: messageOf(error) });
      if (!this.#closed) this.#timer = this.#deps.clock.setTimer(retryMs, () => void this.look());
    }
  }

  close(): void {
    this.#closed = true;
    this.#stopWaiting();
  }

  #wait(revision: number): void {
    this.#stopWaiting();
    if (this.#closed) return;
    const { volume, snapshot } = this.#found;
    this.#watch = this.#deps.metadata.snapshots.watchSnapshot(volume.spec.id, snapshot.name, revision, {
      events: () => void this.look(),
      reset: () => void this.look(),
    });
  }

  #stopWaiting(): void {
    this.#watch?.close();
    this.#watch = null;
    this.#timer?.cancel();
    this.#timer = null;
  }

  #lose(): void {
    const { volume, snapshot } = this.#found;
    this.#error = new TorusError("not-found", `snapshot ${volume.spec.name}@${snapshot.name} was deleted`);
    this.#announce(this.#error);
  }
}
