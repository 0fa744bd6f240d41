// A request in the hands of what is served: which call it is, and how much of an answer it may bring.

import type { BlockStore, Confirmer, Courtesy, Locator, StoreWitness, TakeMemory, UserRequest } from "#model";
import type { Answer } from "./wire/answer-codec.ts";
import { listBlocksMax, operations, statusBytes, traceBytes, tracesMax } from "./wire/frame-codec.ts";
import type { Request } from "./wire/request-codec.ts";

export interface Served {
  readonly store: BlockStore;
  readonly confirmer: Confirmer;
  readonly witness: StoreWitness;
  readonly locator: Locator;
  /** For what is read. */
  readonly take: TakeMemory;
  /** Null: users are not minded. */
  readonly courtesy: Courtesy | null;
}

/** Reads of more are of upkeep and of cleaning. */
const usersReadBytesMax = 256 * 1024;

/** What somebody who uses a volume waits for; null for all else. */
export function userRequestOf(request: Request): UserRequest | null {
  switch (request.operation) {
    case operations.append:
      return "append";
    case operations.sync:
      return "sync";
    case operations.read:
      return request.length <= usersReadBytesMax ? "read" : null;
    default:
      return null;
  }
}

/** The larger answers, which will wait here until the client takes them. */
export function answerBytesOf(request: Request): number {
  switch (request.operation) {
    case operations.read:
      return request.length;
    case operations.stat:
      return request.refs.length * statusBytes;
    case operations.list:
      return Math.min(request.limit, listBlocksMax) * statusBytes;
    case operations.testify:
      return Math.min(request.limit, tracesMax) * traceBytes;
    default:
      return 0;
  }
}

/**
 * Hands `request` to the store. Synchronous up to the store's own call: that keeps the order of arrival, of all but copies that are moved.
 */
export function perform(served: Served, request: Request): Promise<Answer> {
  const { store, confirmer, witness } = served;
  switch (request.operation) {
    case operations.append:
      return store.append(request.ref, request.offset, request.bytes, request.capacityBytes, request.purpose);
    case operations.sync:
      return store.sync(request.refs);
    case operations.read:
      return store.read(request.ref, request.offset, request.length, served.take);
    case operations.seal:
      return store.seal(request.ref, request.length, request.checksum) as Promise<undefined>;
    case operations.put:
      return put(served, request);
    case operations.stat:
      return store.stat(request.refs);
    case operations.list:
      return store.list(request.after, Math.min(request.limit, listBlocksMax));
    case operations.fence:
      return store.fence(request.volume, request.epoch, request.logEpoch, request.fromIndex, request.basis);
    case operations.usage:
      return store.usage();
    case operations.confirm:
      return confirmer.confirm(request.ringVersion, request.refs);
    case operations.testify:
      return witness.testify(request.after, Math.min(request.limit, tracesMax));
    case operations.locate:
      return served.locator.locate(request.ref);
    case operations.ping:
      return Promise.resolve(undefined);
  }
}

/** A copy that another peer moves here can wait, and be overtaken: nothing that is held depends on it. */
async function put(
  { store, courtesy }: Served,
  { ref, bytes, checksum, purpose }: Request & { operation: typeof operations.put },
): Promise<undefined> {
  if (courtesy !== null && purpose === "repair") await courtesy.admit(bytes.length);
  await store.put(ref, bytes, checksum, purpose);
  return undefined;
}
