// Recovery: fences the peers of a volume's log for a new epoch, then rebuilds the map from the head's INode and the log behind it
// (docs/design.md §5, steps 2 to 4). What it rebuilt is served only after the caller has committed a checkpoint of it.

import type { Clock, Log } from "#host";
import { sleep } from "#host";
import type { HeadRecord, LogMapRecord, VolumeState } from "#metadata";
import type { BlockRef, BlockStore, Epoch, FenceReport, PeerId, RecordFrame, VolumeId } from "#model";
import { isTorusError, messageOf, TorusError, verifyRecords } from "#model";
import type { Ring } from "#ring";
import type { BlockTable } from "./block-table.ts";
import type { ClusterView } from "./cluster-view.ts";
import type { ExtentMap } from "./extent-map.ts";
import type { LogPoint, RecoveryBlock } from "./recovery-machine.ts";
import { durableFloor, isBefore, planRecovery, requireEnd } from "./recovery-machine.ts";
import { replayBlock } from "./replay.ts";

export interface FenceOptions {
  readonly volume: VolumeId;
  readonly epoch: Epoch;
  readonly logEpoch: Epoch;
  readonly fromIndex: number;
  readonly peers: readonly PeerId[];
  /** How long a peer that is silent is waited for when the others are enough. */
  readonly graceMs: number;
  readonly timeoutMs: number;
}

export interface RecoveryDeps {
  readonly storeOf: (peer: PeerId) => BlockStore;
  readonly clock: Clock;
  readonly log: Log;
}

const fenceRetryMs = 200;
const fenceGraceMs = 300;

/**
 * Fences `peers`, again and again those that are silent, until all have answered, or `enough` says (after `graceMs`) that those
 * which have are enough, or `timeoutMs` is over. Rejects when a newer epoch is met.
 */
export async function fencePeers(
  options: FenceOptions,
  deps: RecoveryDeps,
  enough: (reports: ReadonlyMap<PeerId, FenceReport>) => boolean,
): Promise<Map<PeerId, FenceReport>> {
  const reports = new Map<PeerId, FenceReport>();
  const startedMs = deps.clock.monotonicMs();
  let stopped = false;
  let newer: TorusError | null = null;
  const fenceOne = async (peer: PeerId): Promise<void> => {
    while (!stopped) {
      try {
        const { volume, epoch, logEpoch, fromIndex } = options;
        const report = await deps.storeOf(peer).fence(volume, epoch, logEpoch, fromIndex);
        if (!stopped) reports.set(peer, report);
        return;
      } catch (error) {
        if (isTorusError(error, "fenced")) newer = error;
        if (newer !== null) return;
        deps.log.debug("a peer does not answer the fence", { peer, reason: messageOf(error) });
        await sleep(deps.clock, fenceRetryMs);
      }
    }
  };
  const all = Promise.all(options.peers.map(fenceOne)).then(() => true);
  const judge = async (): Promise<boolean> => {
    for (;;) {
      await sleep(deps.clock, 50);
      const elapsedMs = deps.clock.monotonicMs() - startedMs;
      if (stopped || newer !== null || elapsedMs >= options.timeoutMs) return true;
      if (elapsedMs >= options.graceMs && enough(reports)) return true;
    }
  };
  await Promise.race([all, judge()]);
  stopped = true;
  if (newer !== null) throw newer;
  return reports;
}

/** Whether the answers so far would do: nothing rests on a peer that is silent. */
function isRecoverable(input: Omit<ReplayInput, "map" | "table" | "pagesMax">): boolean {
  try {
    planRecovery(input);
    return true;
  } catch (error) {
    if (isTorusError(error, "incomplete")) return false;
    throw error;
  }
}

/**
 * Fences the peers of every ring the log was placed by, and of the one in force. Rejects with `incomplete` (details.waitingFor) when fewer than
 * the volume needs answer in time.
 */
export async function fenceForAttach(
  state: VolumeState,
  options: { readonly epoch: Epoch; readonly timeoutMs: number },
  deps: RecoveryDeps & { readonly view: ClusterView },
): Promise<Map<PeerId, FenceReport>> {
  const { view } = deps;
  const { head, logmap, spec } = state;
  const ringOf = (version: number): Ring => view.ringOf(version);
  const versions = [view.ring.version, ...(logmap?.rows.map((row) => row.ringVersion) ?? [])];
  const peers = [...new Set(versions.flatMap((version) => ringOf(version).members.map(({ peer }) => peer)))];
  const logEpoch = head?.epoch ?? options.epoch;
  const fromIndex = head?.replayFrom ?? 1;
  const reports = await fencePeers(
    { ...options, volume: spec.id, logEpoch, fromIndex, peers, graceMs: fenceGraceMs },
    deps,
    (answers) => {
      if (answers.size < spec.minReplicas) return false;
      if (head === null || logmap === null) return true;
      return isRecoverable({ volume: spec.id, head, logmap, ringOf, reports: answers });
    },
  );
  if (reports.size < spec.minReplicas) {
    throw new TorusError(
      "incomplete",
      `volume "${spec.name}" needs ${spec.minReplicas} peers and ${reports.size} of ${peers.length} answer; start the others (torusctl peer list shows them)`,
      { waitingFor: peers.filter((peer) => !reports.has(peer)) },
    );
  }
  return reports;
}

export interface ReplayInput {
  readonly volume: VolumeId;
  readonly head: HeadRecord;
  readonly logmap: LogMapRecord;
  readonly ringOf: (version: number) => Ring;
  readonly reports: ReadonlyMap<PeerId, FenceReport>;
  readonly map: ExtentMap;
  readonly table: BlockTable;
  readonly pagesMax: number;
}

/** A block whose live pages must be appended again: not sealed and durable on every member. */
export interface TailBlock {
  readonly ref: BlockRef;
  readonly id: number;
  /** Who has its valid bytes, the one they were read from first. */
  readonly peers: readonly PeerId[];
  readonly length: number;
  /** CRC-32 of those bytes. */
  readonly checksum: number;
}

/** Replays the log behind `head` into `map`. Returns its tail. Rejects with `incomplete` rather than guess, `corrupt` when bytes known to be durable are gone. */
export async function replayLog(input: ReplayInput, deps: RecoveryDeps): Promise<TailBlock[]> {
  const { head, reports, map, table } = input;
  const blocks = planRecovery(input);
  const tail: TailBlock[] = [];
  let chain = chainStart(head);
  let end: LogPoint = { index: head.replayFrom, offset: 0 };
  let seen: LogPoint = { index: head.positionIndex, offset: head.positionOffset };
  for (const block of blocks) {
    const copy = await longestCopy(block, chain, deps);
    if (copy.verified.last !== null) {
      const point = { index: copy.verified.durableIndex, offset: copy.verified.durableOffset };
      if (isBefore(seen, point)) seen = point;
    }
    const { length } = copy.verified;
    if (block.sealed !== null && length < block.sealed.length) {
      throw new TorusError(
        "corrupt",
        `block ${block.ref.index} of the log is sealed on every member, and no copy can be read whole`,
      );
    }
    if (length === 0) break;
    chain = copy.verified.last as RecordFrame;
    end = { index: block.ref.index, offset: length };
    const id = table.idOf(block.ref) || table.add(block.ref);
    await replayBlock(map, id, copy.bytes.subarray(0, length), input.pagesMax);
    if (block.sealed !== null) table.leave(id, block.sealed.length, block.sealed.checksum);
    else
      tail.push({
        ref: block.ref,
        id,
        peers: holdersOf(block, copy),
        length,
        checksum: copy.verified.blockChecksum,
      });
  }
  requireEnd(end, durableFloor(reports.values(), seen), silentMembers(input));
  return tail;
}

/** The chain before the first record to replay, as if it were a frame. */
function chainStart(head: HeadRecord): RecordFrame {
  return {
    kind: 0,
    flags: 0,
    ref: { type: 0, volume: 0, epoch: 0, index: 0 },
    sequence: head.sequence,
    durableIndex: 0,
    durableOffset: 0,
    offset: 0,
    timeMs: 0,
    previous: 0,
    pages: 0,
    ranges: 0,
    checksum: head.previous,
    lengthBytes: 0,
  };
}

interface Copy {
  readonly peer: PeerId;
  readonly bytes: Uint8Array;
  readonly verified: ReturnType<typeof verifyRecords>;
}

/** The longest valid chain of records any answering member has of a block. */
async function longestCopy(block: RecoveryBlock, chain: RecordFrame, deps: RecoveryDeps): Promise<Copy> {
  let best: Copy | null = null;
  let failure: unknown = null;
  for (const { peer, status } of block.holders) {
    if (best !== null && best.verified.length >= status.held) continue;
    try {
      const bytes = await deps.storeOf(peer).read(block.ref, 0, status.held);
      const verified = verifyRecords(bytes, block.ref, 0, 0, chain);
      if (verified.length < bytes.length) {
        deps.log.warn("a copy of the log does not verify to its end", {
          peer,
          block: block.ref.index,
          at: verified.length,
        });
      }
      if (best === null || verified.length > best.verified.length) best = { peer, bytes, verified };
    } catch (error) {
      failure = error;
    }
  }
  // A holder that fell silent may have had the longest copy; nobody may be taken for it.
  if (failure !== null && (best === null || best.verified.length < block.holders[0].status.held)) {
    throw new TorusError(
      "incomplete",
      `block ${block.ref.index} of the log cannot be read: ${messageOf(failure)}`,
      {
        waitingFor: block.holders.map(({ peer }) => peer),
      },
    );
  }
  if (best === null) throw new TorusError("incomplete", `nobody gives block ${block.ref.index} of the log`);
  return best;
}

/** Who can give the bytes of `copy` again. */
function holdersOf(block: RecoveryBlock, copy: Copy): PeerId[] {
  const enough = block.holders.filter(({ status }) => status.held >= copy.verified.length);
  return [copy.peer, ...enough.map(({ peer }) => peer).filter((peer) => peer !== copy.peer)];
}

/** Peers of the rings the logmap names that have not answered: they may have what is missing. */
function silentMembers(input: ReplayInput): PeerId[] {
  const silent = new Set<PeerId>();
  for (const row of input.logmap.rows) {
    for (const { peer } of input.ringOf(row.ringVersion).members) {
      if (!input.reports.has(peer)) silent.add(peer);
    }
  }
  return [...silent];
}
