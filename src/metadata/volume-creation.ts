// The transaction that makes a volume: mints its id, takes its name, and puts its first keys. A clone's comes with a head and an
// origin (clone-registry.ts). Every creation changes the minter, so whoever guards the minter sees no volume come.

import type { VolumeId } from "#model";
import { pageBytes, replicasMax, TorusError, volumeBytesMax, volumeIdMax } from "#model";
import { behindGuard, behindRange, requireNotBehind } from "./behind-guard.ts";
import type { ChangeDeps, Decision } from "./guarded-change.ts";
import { requireKeepMs } from "./history-machine.ts";
import { minterKey, nameKey, requireName, requireVolumeName, tombstoneKey, volumeKey } from "./keys.ts";
import type { AcknowledgeMode, QosLimits, VolumeKind, VolumeSpec } from "./records.ts";
import { minterCodec, nameCodec, writerCodec } from "./records-codec.ts";
import type { Change, Guard } from "./service.ts";
import { historyCodec } from "./snapshot-codec.ts";
import { specCodec, unlimited } from "./spec-codec.ts";

export interface VolumeRequest {
  readonly name: string;
  readonly sizeBytes: number;
  readonly acknowledge: AcknowledgeMode;
  readonly minReplicas: number;
  /** How far back its history is to reach; none when null or not given. */
  readonly keepHistoryMs?: number | null;
  /** Without it "block". */
  readonly kind?: VolumeKind;
  /** Without it `unlimited`. */
  readonly qos?: QosLimits;
}

/** What else a new volume begins with. */
export interface Beginning {
  readonly guards: readonly Guard[];
  changes(id: VolumeId): readonly Change[];
}

export const emptyBeginning: Beginning = { guards: [], changes: () => [] };

/** One attempt to make a volume; `token` is how it knows its own name again. `already-exists` when the name is taken. */
export async function decideCreation(
  request: VolumeRequest,
  token: string,
  beginning: Beginning,
  uncertain: boolean,
  { service, clock }: ChangeDeps,
): Promise<Decision<VolumeSpec>> {
  const { name, kind = "block", sizeBytes, acknowledge, minReplicas } = request;
  const { qos = unlimited, keepHistoryMs = null } = request;
  const { ranges } = await service.read([{ key: minterKey }, { key: nameKey(name) }, behindRange]);
  const minter = ranges[0].at(0);
  const taken = ranges[1].at(0);
  if (minter === undefined) {
    throw new TorusError("not-found", `${service.url} holds no cluster: run torusctl init first`);
  }
  if (taken !== undefined) {
    const owner = nameCodec.decode(taken.key, taken.value);
    if (uncertain && owner.token === token) {
      const key = volumeKey(owner.id, "spec");
      const spec = (await service.read([{ key }])).ranges[0].at(0);
      if (spec !== undefined) return { done: specCodec.decode(key, spec.value) };
    }
    throw new TorusError("already-exists", `a volume named "${name}" exists already: choose another name`);
  }
  requireNotBehind(ranges[2]);
  const id = minterCodec.decode(minterKey, minter.value).lastVolumeId + 1;
  if (id > volumeIdMax) throw new TorusError("limit", "all 2^40 volume ids were given out");
  const createdMs = clock.wallMs();
  const spec: VolumeSpec = { id, name, kind, sizeBytes, acknowledge, minReplicas, qos, createdMs };
  return {
    guards: [
      { key: minterKey, revision: minter.modRevision },
      { key: nameKey(name), revision: 0 },
      { key: volumeKey(id, "spec"), revision: 0 },
      { key: volumeKey(id, "writer"), revision: 0 },
      { key: tombstoneKey(id), revision: 0 },
      behindGuard,
      ...beginning.guards,
    ],
    changes: [
      { kind: "put", key: minterKey, value: minterCodec.encode({ lastVolumeId: id }) },
      { kind: "put", key: nameKey(name), value: nameCodec.encode({ id, token }) },
      { kind: "put", key: volumeKey(id, "spec"), value: specCodec.encode(spec) },
      { kind: "put", key: volumeKey(id, "writer"), value: writerCodec.encode({ epoch: 0, owner: "" }) },
      ...(keepHistoryMs === null ? [] : [beginHistory(id, keepHistoryMs)]),
      ...beginning.changes(id),
    ],
    result: () => spec,
  };
}

function beginHistory(id: VolumeId, keepMs: number): Change {
  return { kind: "put", key: volumeKey(id, "history"), value: historyCodec.encode({ keepMs, points: [] }) };
}

/** Throws `invalid-argument` for what no volume can be. */
export function requireVolumeRequest(request: VolumeRequest): void {
  const { name, kind, sizeBytes, minReplicas, keepHistoryMs = null } = request;
  if (kind === "file") requireVolumeName(name);
  else requireName(name, "volume");
  requireVolumeSize(sizeBytes);
  if (keepHistoryMs !== null) requireKeepMs(keepHistoryMs);
  if (!Number.isInteger(minReplicas) || minReplicas < 1 || minReplicas > replicasMax) {
    throw new TorusError(
      "invalid-argument",
      `--min-replicas ${minReplicas} is not possible: use 1 to ${replicasMax}`,
    );
  }
}

/** Throws `invalid-argument` for a size no volume can have. */
export function requireVolumeSize(sizeBytes: number): void {
  const isPossible = Number.isSafeInteger(sizeBytes) && sizeBytes >= pageBytes && sizeBytes <= volumeBytesMax;
  if (isPossible && sizeBytes % pageBytes === 0) return;
  throw new TorusError(
    "invalid-argument",
    `a volume cannot have ${sizeBytes} bytes: use a multiple of ${pageBytes} (4 KiB) up to 256 TiB`,
  );
}
