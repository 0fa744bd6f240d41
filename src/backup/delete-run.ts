// Deleting backups: their records first, then every chunk and index that no record leads to any more. Runs alone (see target-lock.ts).
//
// Invariants: nothing is removed unless every record and index that is left was read whole; what an unfinished backup has done so far counts as led to.

import type { Clock, Random } from "#host";
import { messageOf } from "#model";
import { HashSet } from "./hash-set.ts";
import { InFlight } from "./in-flight.ts";
import type { SegmentDone } from "./manifest-codec.ts";
import type { BackupName, ObjectFolder, Repository } from "./repository.ts";
import { forEachPage } from "./target.ts";
import { TargetLock } from "./target-lock.ts";

export interface DeleteOptions {
  readonly holder: string;
  readonly tell: (message: string) => void;
  /** How long a lock that does not change is watched. */
  readonly staleMs?: number;
}

export interface DeleteDeps {
  readonly repository: Repository;
  readonly clock: Clock;
  readonly random: Random;
}

export interface Deleted {
  /** Chunks and indexes. */
  readonly removedObjects: number;
  readonly keptObjects: number;
}

const removalsAtOnce = 16;

/** `names` may be empty: then only what is not needed is removed. Rejects with `not-found`, `busy`, or `corrupt` when not all that is left can be read. */
export async function deleteBackups(
  names: readonly BackupName[],
  { holder, tell, ...rest }: DeleteOptions,
  { repository, clock, random }: DeleteDeps,
): Promise<Deleted> {
  const { target } = repository;
  // What is not there is told before anything goes.
  for (const name of names) await repository.manifest(name);
  const options = { kind: "delete", holder, onWait: tell, ...rest } as const;
  const lock = await TargetLock.take(options, { target, clock, random });
  try {
    for (const name of names) await repository.removeManifest(name);
    return await collect(repository, lock);
  } finally {
    await lock.release().catch((error: unknown) => tell(`the lock stays: ${messageOf(error)}`));
  }
}

interface Needed {
  readonly chunks: HashSet;
  readonly indexes: HashSet;
}

async function collect(repository: Repository, lock: TargetLock): Promise<Deleted> {
  const needed = await findNeeded(repository);
  const counts = { removedObjects: 0, keptObjects: 0 };
  for (const folder of ["chunks", "indexes"] as const)
    await forEachPage(repository.target, `${folder}/`, async (keys) => {
      await lock.requireHeld();
      await removeUnneeded(folder, keys, needed, repository, counts);
    });
  return counts;
}

async function findNeeded(repository: Repository): Promise<Needed> {
  const needed = { chunks: new HashSet(), indexes: new HashSet() };
  const follow = async (segment: SegmentDone | null): Promise<void> => {
    if (segment === null || !needed.indexes.add(segment.hash)) return;
    for (const chunk of (await repository.index(segment.hash)).values()) needed.chunks.add(chunk);
  };
  for (const name of await repository.names(null))
    for (const segment of (await repository.manifest(name)).segments) await follow(segment);
  for (const name of await repository.unfinishedNames(null)) {
    const unfinished = await repository.unfinished(name);
    for (const segment of unfinished?.done.values() ?? []) await follow(segment);
  }
  return needed;
}

async function removeUnneeded(
  folder: ObjectFolder,
  keys: readonly string[],
  needed: Needed,
  { target }: Repository,
  counts: { removedObjects: number; keptObjects: number },
): Promise<void> {
  const work = new InFlight(removalsAtOnce);
  for (const key of keys) {
    const hash = key.slice(key.lastIndexOf("/") + 1);
    if (!/^[0-9a-f]{64}$/.test(hash) || needed[folder].has(hash)) {
      counts.keptObjects += 1;
      continue;
    }
    counts.removedObjects += 1;
    await work.add(() => target.remove(key));
  }
  await work.end();
}
