// LogCopy: the records of one block of a log, put together from what the members that answered have of it. Where one copy is damaged
// another goes on: bytes once sent for a place never change [C3], so whatever verifies and chains at a place is what was sent there.

import type { Log } from "#host";
import type { BlockRef, BlockStore, PeerId, RecordFrame, VerifiedRecords } from "#model";
import { messageOf, TorusError, verifyRecords } from "#model";

export interface LogCopyDeps {
  readonly storeOf: (peer: PeerId) => BlockStore;
  readonly log: Log;
}

/** Who has how many bytes of a block, those with most first. */
export interface LogHolder {
  readonly peer: PeerId;
  readonly held: number;
}

export interface LogCopy {
  /** The records that verify, then whatever some copy has behind them. */
  readonly bytes: Uint8Array;
  /** From the block's start. */
  readonly verified: VerifiedRecords;
  /**
   * Some copy goes on behind these records with bytes that do not verify. A store takes, and finds at its start, only what verifies: that is
   * rot, and no torn tail.
   */
  readonly isRotten: boolean;
}

/**
 * The longest valid chain behind `chain` that the copies of `holders` give together. Rejects with `incomplete` when one that may have
 * more does not give it: nobody may be taken for it.
 */
export async function readLogCopy(
  ref: BlockRef,
  holders: readonly LogHolder[],
  chain: RecordFrame,
  deps: LogCopyDeps,
): Promise<LogCopy> {
  let bytes: Uint8Array = new Uint8Array(0);
  let verified = verifyRecords(bytes, ref, 0, 0, chain);
  /** How far the chain was when a holder was last asked to go on. */
  const asked = new Map<PeerId, number>();
  const rotten = new Map<PeerId, boolean>();
  const failures = new Map<PeerId, unknown>();
  const next = (): LogHolder | undefined =>
    holders.find(({ peer, held }) => held > verified.length && asked.get(peer) !== verified.length);
  for (let holder = next(); holder !== undefined; holder = next()) {
    const { peer, held } = holder;
    const from = verified.length;
    asked.set(peer, from);
    try {
      const rest = await deps.storeOf(peer).read(ref, from, held - from);
      const more = verifyRecords(rest, ref, from, verified.blockChecksum, verified.last);
      if (more.length < rest.length)
        deps.log.warn("a copy of the log does not verify to its end", {
          peer,
          block: ref.index,
          at: from + more.length,
        });
      rotten.set(peer, more.length === 0 && !isSound(rest, ref, from));
      if (more.length > 0 || bytes.length === 0) bytes = joined(bytes, from, rest);
      verified = { ...more, length: from + more.length };
    } catch (error) {
      failures.set(peer, error);
    }
  }
  const short = holders.filter(({ held }) => held > verified.length);
  const silent = short.find(({ peer }) => failures.has(peer));
  if (silent !== undefined) {
    const reason = messageOf(failures.get(silent.peer));
    throw new TorusError("incomplete", `block ${ref.index} of the log cannot be read: ${reason}`, {
      waitingFor: holders.map(({ peer }) => peer),
    });
  }
  return { bytes, verified, isRotten: short.some(({ peer }) => rotten.get(peer)) };
}

/** At the start of a block, records that are right in themselves and follow others than those known: not rot, but a gap before them. */
function isSound(rest: Uint8Array, ref: BlockRef, from: number): boolean {
  return from === 0 && verifyRecords(rest, ref, 0, 0, null).length > 0;
}

/** `bytes` with `rest` in it from byte `from` on. */
function joined(bytes: Uint8Array, from: number, rest: Uint8Array): Uint8Array {
  if (from === 0 && rest.length >= bytes.length) return rest;
  const whole = new Uint8Array(Math.max(bytes.length, from + rest.length));
  whole.set(bytes);
  whole.set(rest, from);
  return whole;
}
