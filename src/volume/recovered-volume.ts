// What an attach finds: the volume as the head and the log behind it say, and whether those who were served before may go on.
// Recovers it from the peers, which are fenced first (docs/design.md §5, steps 2 and 3).

import type { Reader } from "#distributor";
import type { Boot, ClientsRecord, HeadRecord, LogMapRecord, VolumeState } from "#metadata";
import type { Epoch, FenceReport, PeerId } from "#model";
import { pageBytes, TorusError } from "#model";
import { requireWhole } from "./adopted.ts";
import type { ClientsReach, DeviceClaim } from "./attach-options.ts";
import type { BlockTable } from "./block-table.ts";
import type { ClusterView } from "./cluster-view.ts";
import type { ExtentMap } from "./extent-map.ts";
import type { Sessions } from "./head-keeper.ts";
import type { OpenInode } from "./inode.ts";
import { openInode } from "./inode.ts";
import type { FenceDeps, Replayed, TailBlock } from "./recovery.ts";
import { fenceForAttach, replayLog } from "./recovery.ts";
import { mayGoOn } from "./recovery-machine.ts";

export interface RecoverOptions {
  readonly epoch: Epoch;
  readonly holder: string;
  readonly here: Boot | null;
  readonly clients: ClientsReach;
  readonly device?: DeviceClaim | "keep" | null;
  readonly mapCacheBytes: number;
  readonly attachTimeoutMs: number;
}

export interface RecoverDeps extends FenceDeps {
  readonly view: ClusterView;
  readonly table: BlockTable;
  readonly reader: Reader;
  /** Peers that must all answer, any of which may hold any block, where head and logmap are from before an adoption; else null. */
  readonly everyone: readonly PeerId[] | null;
}

export interface RecoveredVolume {
  readonly inode: OpenInode;
  readonly tail: readonly TailBlock[];
  /** Of the peers that are fenced. */
  readonly reports: ReadonlyMap<PeerId, FenceReport>;
  /** To be committed with the first head. */
  readonly sessions: Sessions;
  /** Of the log before: see Replayed. */
  readonly endIndex: number;
  /** No record, of the head or behind it, is of a later time. */
  readonly timeMs: number;
}

/** `state` was read in the epoch of this attach. Rejects with `incomplete`, `corrupt`, `fenced`, `unavailable`. */
export async function recoverVolume(
  state: VolumeState,
  options: RecoverOptions,
  deps: RecoverDeps,
): Promise<RecoveredVolume> {
  const { head, logmap, spec } = state;
  if (head !== null && (logmap?.epoch ?? 0) !== head.epoch) {
    throw new TorusError(
      "corrupt",
      `volume "${spec.name}" has a head of epoch ${head.epoch} and no logmap of it`,
    );
  }
  const timeoutMs = options.attachTimeoutMs;
  const { everyone } = deps;
  const wantsWhole = goesOn(state, options, true) && !goesOn(state, options, false);
  const reports = await fenceForAttach(state, { epoch: options.epoch, timeoutMs, wantsWhole }, deps);
  const inodeOptions = { root: head?.root ?? null, mapCacheBytes: options.mapCacheBytes };
  const inode = await openInode(inodeOptions, deps);
  if (everyone !== null) await requireWhole(everyone, { ...deps, map: inode.map });
  const replayed =
    head === null || logmap === null
      ? { tail: [], isWhole: true, endIndex: head?.replayFrom ?? 1, timeMs: 0 }
      : await replay(state, head, logmap, reports, inode.map, deps);
  const { tail, endIndex } = replayed;
  const timeMs = Math.max(replayed.timeMs, head?.timeMs ?? 0);
  return { inode, tail, reports, sessions: sessionsAfter(state, options, replayed, deps), endIndex, timeMs };
}

async function replay(
  { spec, history }: VolumeState,
  head: HeadRecord,
  logmap: LogMapRecord,
  reports: ReadonlyMap<PeerId, FenceReport>,
  map: ExtentMap,
  deps: RecoverDeps,
): Promise<Replayed> {
  const { view, table, everyone } = deps;
  const ringOf = (version: number) => view.ringOf(version);
  const pagesMax = spec.sizeBytes / pageBytes;
  const { minReplicas } = spec;
  const log = { volume: spec.id, head, logmap, ringOf, reports, everyone, minReplicas };
  const input = { ...log, map, table, pagesMax, keepsHistory: history !== null };
  const replayed = await replayLog(input, deps);
  for (let loads = map.loads(); loads !== null; loads = map.loads()) await loads;
  return replayed;
}

function goesOn({ spec, clients }: VolumeState, { here }: RecoverOptions, isLogWhole: boolean): boolean {
  return mayGoOn({ acknowledge: spec.acknowledge, before: clients, here, isLogWhole });
}

function sessionsAfter(
  state: VolumeState,
  options: RecoverOptions,
  { isWhole }: Replayed,
  { clock, everyone }: RecoverDeps,
): Sessions {
  const { epoch, holder, here, clients: reach } = options;
  const clients: ClientsRecord | null =
    reach === "none" ? null : { epoch, holder, boot: reach === "here" ? here : null };
  // Clients of a time the metadata does not know may have been answered what is not in it.
  const mayResume = everyone === null && goesOn(state, options, isWhole);
  const device = deviceAfter(state, options, mayResume);
  if (mayResume || (everyone === null && wereOfDevice(state))) return { clients, device, cut: null };
  const previousHolder = state.clients?.holder ?? "";
  return { clients, device, cut: { epoch, atMs: Math.floor(clock.wallMs()), previousHolder } };
}

/**
 * The head is of whoever served the volume last, so it names a device only if nobody else wrote since: what the kernel has of it in memory is
 * as good as ever, if nothing that it was answered is lost [C2].
 */
function deviceAfter({ head }: VolumeState, { device }: RecoverOptions, mayResume: boolean): string | null {
  const before = mayResume ? (head?.device ?? null) : null;
  if (device === undefined || device === null) return null;
  if (device === "keep") return before;
  return before !== null && device.resume.includes(before) ? before : device.fresh;
}

/** Those who were served last come back by the name of their device, or not at all: who comes by another way is not of them. */
function wereOfDevice({ head, clients }: VolumeState): boolean {
  return head !== null && head.device !== null && clients?.epoch === head.epoch;
}
