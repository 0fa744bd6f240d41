// Recovery: fences the peers of a volume's log for a new epoch, then rebuilds the map from the head's INode and the log behind it
// (docs/design.md §5, steps 2 to 4). What it rebuilt is served only after the caller has committed a checkpoint of it.

import type { Clock, Log } from "#host";
import { sleep } from "#host";
import type { HeadRecord, VolumeState } from "#metadata";
import type { BlockRef, BlockStore, Epoch, FenceReport, PeerId, RecordFrame } from "#model";
import { decodeRecordFrame, isTorusError, messageOf, TorusError, verifyRecords } from "#model";
import type { Ring } from "#ring";
import type { BlockTable } from "./block-table.ts";
import type { ClusterView } from "./cluster-view.ts";
import type { FenceDecision, FenceOrder } from "./decided-fence.ts";
import type { ExtentMap } from "./extent-map.ts";
import type { LogHolder } from "./log-copy.ts";
import { readLogCopy } from "./log-copy.ts";
import type { LogPoint, RecoveryInput, RecoveryPlan } from "./recovery-machine.ts";
import {
  durableFloor,
  isBefore,
  isVouched,
  isWhole,
  mayEnd,
  planRecovery,
  requireEnd,
  requireLost,
} from "./recovery-machine.ts";
import { replayBlock } from "./replay.ts";

export interface FenceOptions extends FenceOrder {
  readonly peers: readonly PeerId[];
  readonly timeoutMs: number;
}

export interface RecoveryDeps {
  readonly storeOf: (peer: PeerId) => BlockStore;
  readonly clock: Clock;
  readonly log: Log;
}

export interface FenceDeps extends RecoveryDeps {
  readonly decision: FenceDecision;
}

const fenceRetryMs = 200;
/**
 * How long peers that are silent are waited for when the others are enough; and when only they can vouch for the log. A peer that could not be
 * reached, as one whose process is dead, is not waited for: it is asked again all the while.
 */
const fenceGraceMs = 300;
const vouchGraceMs = 5000;
const judgeEveryMs = 20;

/** How fencing goes. */
export interface FenceProgress {
  readonly reports: ReadonlyMap<PeerId, FenceReport>;
  /** Nobody is silent: who has not answered could not be reached. */
  readonly isTold: boolean;
  readonly elapsedMs: number;
}

/**
 * Fences `peers`, again and again those that do not answer, until all have answered, or `enough` says that those which have are enough,
 * or `timeoutMs` is over. Rejects when a newer epoch is met, or a peer that refuses the metadata (details.peer).
 */
export async function fencePeers(
  options: FenceOptions,
  deps: FenceDeps,
  enough: (progress: FenceProgress) => boolean,
): Promise<Map<PeerId, FenceReport>> {
  const reports = new Map<PeerId, FenceReport>();
  const unreached = new Set<PeerId>();
  const startedMs = deps.clock.monotonicMs();
  let stopped = false;
  let newer: TorusError | null = null;
  const fenceOne = async (peer: PeerId): Promise<void> => {
    while (!stopped) {
      try {
        const report = await deps.decision.fence(options, deps.storeOf(peer));
        if (!stopped) reports.set(peer, report);
        unreached.delete(peer);
        return;
      } catch (error) {
        if (isTorusError(error, "fenced", "metadata-behind")) {
          newer = new TorusError(error.code, `peer ${peer}: ${error.message}`, { ...error.details, peer });
        }
        if (newer !== null) return;
        unreached.add(peer);
        deps.log.debug("a peer does not answer the fence", { peer, reason: messageOf(error) });
        await sleep(deps.clock, fenceRetryMs);
      }
    }
  };
  const all = Promise.all(options.peers.map(fenceOne)).then(() => true);
  const judge = async (): Promise<boolean> => {
    for (;;) {
      await sleep(deps.clock, judgeEveryMs);
      const elapsedMs = deps.clock.monotonicMs() - startedMs;
      if (stopped || newer !== null || elapsedMs >= options.timeoutMs) return true;
      const isTold = reports.size + unreached.size === options.peers.length;
      if (enough({ reports, isTold, elapsedMs })) return true;
    }
  };
  await Promise.race([all, judge()]);
  stopped = true;
  if (newer !== null) throw newer;
  return reports;
}

/** What could be recovered from the answers so far; null when something rests on a peer that is silent. */
function tryPlan(input: RecoveryInput): RecoveryPlan | null {
  try {
    return planRecovery(input);
  } catch (error) {
    if (isTorusError(error, "incomplete")) return null;
    throw error;
  }
}

/**
 * Fences the peers of every ring the log was placed by, and of the one in force. Rejects with `incomplete` (details.waitingFor) when fewer than
 * the volume needs answer in time.
 */
export async function fenceForAttach(
  state: VolumeState,
  options: {
    readonly epoch: Epoch;
    readonly timeoutMs: number;
    /** Peers that can vouch for the log are worth some more patience. */
    readonly wantsWhole: boolean;
  },
  deps: FenceDeps & { readonly view: ClusterView; readonly everyone: readonly PeerId[] | null },
): Promise<Map<PeerId, FenceReport>> {
  const { view, everyone } = deps;
  const { head, logmap, spec } = state;
  const { minReplicas } = spec;
  const ringOf = (version: number): Ring => view.ringOf(version);
  const versions = [view.ring.version, ...(logmap?.rows.map((row) => row.ringVersion) ?? [])];
  const members = versions.flatMap((version) => ringOf(version).members.map(({ peer }) => peer));
  const peers = everyone ?? [...new Set(members)];
  // A volume that was never attached has no log: its blocks, if it is a clone, are sealed ones of others.
  const logEpoch = logmap?.epoch ?? options.epoch;
  const fromIndex = head?.replayFrom ?? 1;
  const reports = await fencePeers(
    { ...options, volume: spec.id, logEpoch, fromIndex, peers },
    deps,
    ({ reports: answers, isTold, elapsedMs }) => {
      if (elapsedMs < fenceGraceMs && !isTold) return false;
      if (answers.size < (everyone?.length ?? minReplicas)) return false;
      if (head === null || logmap === null) return true;
      const plan = tryPlan({
        volume: spec.id,
        head,
        logmap,
        ringOf,
        reports: answers,
        everyone,
        minReplicas,
      });
      if (plan === null) return false;
      return !options.wantsWhole || elapsedMs >= vouchGraceMs || isVouched(plan);
    },
  );
  if (everyone !== null && reports.size < everyone.length) {
    const silent = everyone.filter((peer) => !reports.has(peer));
    throw new TorusError("incomplete", `peers do not answer: ${silent.join(", ")}`, { waitingFor: silent });
  }
  if (reports.size < spec.minReplicas) {
    throw new TorusError(
      "incomplete",
      `volume "${spec.name}" needs ${spec.minReplicas} peers and ${reports.size} of ${peers.length} answer; start the others (torusctl peer list shows them)`,
      { waitingFor: peers.filter((peer) => !reports.has(peer)) },
    );
  }
  return reports;
}

export interface ReplayInput extends RecoveryInput {
  readonly map: ExtentMap;
  readonly table: BlockTable;
  readonly pagesMax: number;
  /** The volume keeps history: all from the first block on that is not sealed everywhere is to be appended again, so that no record is left behind. */
  readonly keepsHistory: boolean;
}

/** A block whose live pages must be appended again: not sealed and durable on every member, or, with history, behind such a one. */
export interface TailBlock {
  readonly ref: BlockRef;
  readonly id: number;
  /** Who has bytes of it, and what its first record chains to. */
  readonly holders: readonly LogHolder[];
  readonly chain: RecordFrame;
  readonly length: number;
  /** CRC-32 of those bytes. */
  readonly checksum: number;
}

export interface Replayed {
  readonly tail: readonly TailBlock[];
  /** All that was answered by the log's writer is certain to be there. */
  readonly isWhole: boolean;
  /** Blocks of the log below this are sealed everywhere and final. */
  readonly endIndex: number;
  /** Of the newest record. */
  readonly timeMs: number;
}

/** Replays the log behind `head` into `map`. Rejects with `incomplete` rather than guess, `corrupt` when bytes known to be durable are gone. */
export async function replayLog(input: ReplayInput, deps: RecoveryDeps): Promise<Replayed> {
  const { head, reports, map, table } = input;
  const plan = planRecovery(input);
  const tail: TailBlock[] = [];
  const lengths: number[] = [];
  let isGap = false;
  let chain = chainStart(head);
  let end: LogPoint = { index: head.replayFrom, offset: 0 };
  let seen: LogPoint = { index: head.positionIndex, offset: head.positionOffset };
  for (const block of plan.blocks) {
    const holders = block.holders.map(({ peer, status }) => ({ peer, held: status.held }));
    const copy = await readLogCopy(block.ref, holders, chain, deps);
    if (copy.verified.last !== null) {
      const point = { index: copy.verified.durableIndex, offset: copy.verified.durableOffset };
      if (isBefore(seen, point)) seen = point;
    }
    const { length } = copy.verified;
    if (copy.isRotten && !mayEnd(block, length)) seen = { index: block.ref.index, offset: holders[0].held };
    if (length === 0 && beginsLater(block.ref, copy.bytes, chain)) {
      // Blocks before it were given up, and lost their ends: nothing was answered by them, nor by what chains to them.
      requireLost(plan.blocks[lengths.length - 1], input);
      isGap = true;
      break;
    }
    if (block.sealed !== null && length < block.sealed.length) {
      throw new TorusError(
        "corrupt",
        `block ${block.ref.index} of the log is sealed on every member, and no copy can be read whole`,
      );
    }
    if (length === 0) break;
    lengths.push(length);
    const before = chain;
    chain = copy.verified.last as RecordFrame;
    end = { index: block.ref.index, offset: length };
    const id = table.idOf(block.ref) || table.add(block.ref);
    await replayBlock(map, table, id, copy.bytes.subarray(0, length), input.pagesMax);
    const isBehindTail = input.keepsHistory && tail.length > 0;
    if (block.sealed !== null && !isBehindTail) table.leave(id, block.sealed.length, block.sealed.checksum);
    else
      tail.push({
        ref: block.ref,
        id,
        holders,
        chain: before,
        length,
        checksum: copy.verified.blockChecksum,
      });
  }
  requireEnd(end, durableFloor(reports.values(), seen), silentMembers(input));
  const endIndex = tail.at(0)?.ref.index ?? (end.offset > 0 ? end.index + 1 : end.index);
  return { tail, isWhole: isWhole(plan, lengths, isGap), endIndex, timeMs: chain.timeMs };
}

/** `bytes` are sound records of `ref`, and others come between them and `chain`. */
function beginsLater(ref: BlockRef, bytes: Uint8Array, chain: RecordFrame): boolean {
  const first = decodeRecordFrame(bytes, 0);
  const isSound = verifyRecords(bytes, ref, 0, 0, null).length > 0;
  return isSound && first !== null && first.sequence > chain.sequence + 1;
}

/** The chain before the first record to replay, as if it were a frame. */
export function chainStart(head: Pick<HeadRecord, "sequence" | "previous">): RecordFrame {
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
