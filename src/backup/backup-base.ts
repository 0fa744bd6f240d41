// What a backup begins from: a run before that did not end, the newest backup whose snapshot is still in the cluster, or nothing.

import { TorusError } from "#model";
import type { BackupBase, BackupDeps, BackupOptions } from "./backup-run.ts";
import { backupLabel } from "./backup-run.ts";
import type { BackupHead, BackupManifest, UnfinishedBackup, VolumeIdentity } from "./manifest-codec.ts";
import type { Repository } from "./repository.ts";
import type { SourceSnapshot } from "./source-volume.ts";

export interface BaseDeps extends BackupDeps {
  /** Of this run. */
  readonly lock: string;
}

/** The unfinished record is there when this resolves. */
export async function chooseBase(options: BackupOptions, deps: BaseDeps): Promise<BackupBase> {
  const snapshots = await deps.source.snapshots();
  const wanted = options.snapshot === null ? null : namedSnapshot(options.snapshot, snapshots, deps);
  const before = await resumable(wanted, snapshots, deps);
  if (before !== null) {
    const { unfinished, parent } = before;
    const began = new Date(unfinished.createdMs).toISOString();
    options.tell(`going on with backup ${unfinished.volume.name}@${unfinished.name}, begun ${began}`);
    return {
      head: headOf(unfinished),
      parent,
      done: unfinished.done,
      readBytes: unfinished.readBytes,
      sentBytes: unfinished.sentBytes,
      lockBefore: unfinished.lock,
      isResumed: true,
      isOwnSnapshot: wanted === null,
    };
  }
  return begin(wanted, snapshots, options, deps);
}

async function begin(
  wanted: SourceSnapshot | null,
  snapshots: readonly SourceSnapshot[],
  { tell }: BackupOptions,
  deps: BaseDeps,
): Promise<BackupBase> {
  const { repository, source, clock, lock } = deps;
  const parent = await findParent(wanted, snapshots, deps, tell);
  const createdMs = clock.wallMs();
  const name = await freeName(createdMs, source.identity, repository);
  const labels = { [backupLabel]: repository.record.id };
  const snapshot = wanted ?? (await source.take(`backup-${name}`, labels));
  const head: BackupHead = {
    name,
    volume: source.identity,
    snapshot: { name: snapshot.name, token: snapshot.token, createdMs: snapshot.createdMs },
    sizeBytes: snapshot.sizeBytes,
    chunkBytes: repository.record.chunkBytes,
    parent: parent?.name ?? null,
    createdMs,
  };
  await repository.putUnfinished({ ...head, lock, readBytes: 0, sentBytes: 0, done: new Map() });
  return {
    head,
    parent,
    done: new Map(),
    readBytes: 0,
    sentBytes: 0,
    lockBefore: null,
    isResumed: false,
    isOwnSnapshot: wanted === null,
  };
}

function namedSnapshot(
  name: string,
  snapshots: readonly SourceSnapshot[],
  { source }: BackupDeps,
): SourceSnapshot {
  const found = snapshots.find((snapshot) => snapshot.name === name);
  if (found !== undefined) return found;
  throw new TorusError("not-found", `volume "${source.identity.name}" has no snapshot "${name}"`);
}

interface Resumable {
  readonly unfinished: UnfinishedBackup;
  readonly parent: BackupManifest | null;
}

/** The newest unfinished backup of the snapshot that is wanted, or of one that was taken for this target. Those that nobody can go on with are removed. */
async function resumable(
  wanted: SourceSnapshot | null,
  snapshots: readonly SourceSnapshot[],
  { repository, source, ...rest }: BackupDeps,
): Promise<Resumable | null> {
  const names = await repository.unfinishedNames(source.identity.name);
  for (const name of names.reverse()) {
    const unfinished = await repository.unfinished(name);
    if (unfinished === null || !isSameVolume(unfinished.volume, source.identity)) continue;
    const snapshot = snapshots.find(({ token }) => token === unfinished.snapshot.token);
    const parent = await parentOf(unfinished, { repository, source, ...rest });
    if (snapshot === undefined || parent === undefined) {
      await repository.removeUnfinished(name);
      continue;
    }
    const isWanted =
      wanted === null
        ? snapshot.labels[backupLabel] === repository.record.id
        : snapshot.token === wanted.token;
    const parentSnapshot = parent?.snapshot.token;
    const isBaseThere = parent === null || snapshots.some(({ token }) => token === parentSnapshot);
    if (isWanted && isBaseThere) return { unfinished, parent };
  }
  return null;
}

/** Undefined: it was deleted meanwhile. */
async function parentOf(
  { parent, volume }: BackupHead,
  { repository }: BackupDeps,
): Promise<BackupManifest | null | undefined> {
  if (parent === null) return null;
  const names = await repository.names(volume.name);
  return names.some(({ name }) => name === parent)
    ? repository.manifest({ volume: volume.name, name: parent })
    : undefined;
}

/** The newest backup of the volume whose snapshot is there to be compared with. */
async function findParent(
  wanted: SourceSnapshot | null,
  snapshots: readonly SourceSnapshot[],
  { repository, source }: BackupDeps,
  tell: (message: string) => void,
): Promise<BackupManifest | null> {
  const names = await repository.names(source.identity.name);
  let isSkipped = false;
  for (const name of names.reverse()) {
    const manifest = await repository.manifest(name);
    if (!isSameVolume(manifest.volume, source.identity)) continue;
    const isThere = snapshots.some(({ token }) => token === manifest.snapshot.token);
    if (isThere && manifest.chunkBytes === repository.record.chunkBytes) return manifest;
    isSkipped = true;
  }
  if (isSkipped)
    tell(
      `no snapshot of an earlier backup of "${source.identity.name}" is in the cluster any more: all of ${wanted?.name ?? "it"} is read`,
    );
  return null;
}

/** A volume of the same name may be another: made anew, or of another cluster. */
function isSameVolume(a: VolumeIdentity, b: VolumeIdentity): boolean {
  return a.id === b.id && a.cluster === b.cluster;
}

/** `20260131T120102.345Z`, or a moment later if there is one of that name. */
async function freeName(wallMs: number, { name }: VolumeIdentity, repository: Repository): Promise<string> {
  const taken = [...(await repository.names(name)), ...(await repository.unfinishedNames(name))];
  for (let ms = wallMs; ; ms++) {
    const free = new Date(ms).toISOString().replaceAll(/[-:]/g, "");
    if (!taken.some((found) => found.name === free)) return free;
  }
}

function headOf({
  name,
  volume,
  snapshot,
  sizeBytes,
  chunkBytes,
  parent,
  createdMs,
}: BackupHead): BackupHead {
  return { name, volume, snapshot, sizeBytes, chunkBytes, parent, createdMs };
}
