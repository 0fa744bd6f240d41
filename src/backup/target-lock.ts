// Who works on a target. Backups may run beside each other; deleting runs alone, because it removes chunks that no backup names, and a backup that runs
// names its chunks only in the end.
//
// Invariants:
// - Both put their lock first and look at the others' afterwards, so of two at least one sees the other and goes back.
// - A backup that was killed leaves its lock behind. Whoever wants to delete watches it, and declares it ended when it has not changed for `staleMs` by
//   the watcher's own clock. That is an opinion: the backup may only be slow. So it is put down ("ended") before the watcher reads which chunks are named,
//   and a backup looks for that after its record is there (`requireNotEnded`): either it is told, or its record is seen.
// - The lock of a deletion is never taken for stale by a program: only a person can know (torusctl backup unlock).

import type { Clock, Random } from "#host";
import { sleep } from "#host";
import { messageOf, TorusError } from "#model";
import { decodeRecord, encodeRecord } from "./record-text.ts";
import type { BackupTarget } from "./target.ts";
import { forEachPage } from "./target.ts";

export type LockKind = "backup" | "delete";

export interface TargetLockDeps {
  readonly target: BackupTarget;
  readonly clock: Clock;
  readonly random: Random;
}

export interface TargetLockOptions {
  readonly kind: LockKind;
  /** Who it is, for messages. */
  readonly holder: string;
  readonly onWait: (message: string) => void;
  readonly beatEveryMs?: number;
  readonly staleMs?: number;
}

interface LockRecord {
  readonly kind: string;
  readonly holder: string;
  readonly beat: number;
}

const beatEveryMsDefault = 10_000;
const staleMsDefault = 45_000;
const lookEveryMs = 1000;

export class TargetLock {
  readonly id: string;
  readonly #options: TargetLockOptions;
  readonly #deps: TargetLockDeps;
  #beat = 0;
  #timer: { cancel(): void } | null = null;
  #beating: Promise<void> = Promise.resolve();
  #isReleased = false;

  private constructor(options: TargetLockOptions, deps: TargetLockDeps) {
    this.id = deps.random.uuid();
    this.#options = options;
    this.#deps = deps;
  }

  /** Rejects with `busy`, naming who is there. */
  static async take(options: TargetLockOptions, deps: TargetLockDeps): Promise<TargetLock> {
    const lock = new TargetLock(options, deps);
    try {
      await lock.#put();
      // A deletion's lock that a person removed must not come back.
      if (options.kind === "backup") lock.#schedule();
      await lock.#meetOthers();
      return lock;
    } catch (error) {
      await lock.release().catch(() => {});
      throw error;
    }
  }

  /** Rejects with `busy` once somebody declared this one ended. Of a backup: to be asked when its record is there. */
  async requireNotEnded(): Promise<void> {
    if (!(await this.#deps.target.has(endedKey(this.id)))) return;
    throw new TorusError(
      "busy",
      `${this.#deps.target.place}: this backup was silent for so long that somebody who deletes took it for dead: run it again`,
    );
  }

  /** Rejects unless the lock is there as it was put: of a deletion, before it removes anything. */
  async requireHeld(): Promise<void> {
    if ((await readLock(this.#deps.target, this.id)) !== null) return;
    throw new TorusError(
      "busy",
      `${this.#deps.target.place} was unlocked while this deletion ran: it stops here`,
    );
  }

  async release(): Promise<void> {
    this.#isReleased = true;
    this.#timer?.cancel();
    await this.#beating;
    await this.#deps.target.remove(lockKey(this.id));
    await this.#deps.target.remove(endedKey(this.id));
  }

  async #put(): Promise<void> {
    const { kind, holder } = this.#options;
    this.#beat += 1;
    await this.#deps.target.put(
      lockKey(this.id),
      encodeRecord("lock", { lock: kind, holder, beat: this.#beat }),
    );
  }

  #schedule(): void {
    const { beatEveryMs = beatEveryMsDefault } = this.#options;
    this.#timer = this.#deps.clock.setTimer(beatEveryMs, () => {
      this.#beating = this.#put()
        // Nothing depends on a beat: who misses it is told in the end.
        .catch(() => {})
        .finally(() => {
          if (!this.#isReleased) this.#schedule();
        });
    });
  }

  async #meetOthers(): Promise<void> {
    const { target } = this.#deps;
    for (const id of await lockIds(target)) {
      if (id === this.id) continue;
      const other = await readLock(target, id);
      if (other === null) continue;
      if (other.kind === "delete")
        throw new TorusError(
          "busy",
          `${other.holder} deletes backups in ${target.place}: wait until it is done; if it is dead for certain, torusctl backup unlock`,
        );
      if (this.#options.kind === "delete") await this.#outwait(id, other);
    }
  }

  /** Resolves once the other has gone, or was declared ended. */
  async #outwait(id: string, first: LockRecord): Promise<void> {
    const { target, clock } = this.#deps;
    const { staleMs = staleMsDefault, onWait } = this.#options;
    onWait(
      `${first.holder} has a backup under way, or had when it ended: waiting up to ${staleMs / 1000}s for a sign of life`,
    );
    const untilMs = clock.monotonicMs() + staleMs;
    while (clock.monotonicMs() < untilMs) {
      await sleep(clock, Math.min(lookEveryMs, staleMs));
      const now = await readLock(target, id);
      if (now === null) return;
      if (now.beat !== first.beat)
        throw new TorusError(
          "busy",
          `${now.holder} makes a backup in ${target.place}: delete when that is done`,
        );
    }
    await declareEnded(target, id, this.#options.holder);
  }
}

/** Of a backup: it is told, if it runs after all. `by` is for people who look. */
export async function declareEnded(target: BackupTarget, id: string, by: string): Promise<void> {
  await target.put(endedKey(id), encodeRecord("lock", { lock: "ended", holder: by, beat: 0 }));
  await target.remove(lockKey(id));
}

/** Removes the locks of deletions, which somebody knows to be dead; who they were. */
export async function unlock(target: BackupTarget): Promise<string[]> {
  const holders: string[] = [];
  for (const id of await lockIds(target)) {
    const found = await readLock(target, id);
    if (found?.kind !== "delete") continue;
    await target.remove(lockKey(id));
    holders.push(found.holder);
  }
  return holders;
}

async function lockIds(target: BackupTarget): Promise<string[]> {
  const ids: string[] = [];
  await forEachPage(target, "locks/", async (keys) => {
    for (const key of keys) if (!key.endsWith(".ended")) ids.push(key.slice("locks/".length));
  });
  return ids;
}

async function readLock(target: BackupTarget, id: string): Promise<LockRecord | null> {
  const key = lockKey(id);
  const bytes = await target.get(key);
  if (bytes === null) return null;
  try {
    const fields = decodeRecord("lock", bytes, key);
    return { kind: fields.text("lock"), holder: fields.text("holder"), beat: fields.count("beat") };
  } catch (error) {
    throw new TorusError("busy", `${target.place} has a lock that cannot be read: ${messageOf(error)}`);
  }
}

function lockKey(id: string): string {
  return `locks/${id}`;
}

function endedKey(id: string): string {
  return `locks/${id}.ended`;
}
