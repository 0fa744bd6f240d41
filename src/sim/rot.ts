// Rot: flips bits of what peers have on disk, on any peer at any time, and never so many that something promised is gone. What is
// left to the system is then to notice every wrong bit, and to find the right one.
//
// - Pages of one record rot on one peer only, and only while another has them whole and durable: a log is put together from whole
//   records. Pages of INode blocks have no sums of their own: of such a block all rot on one peer.
// - An open block rots on one peer only, in data pages of which later, whole headers on that disk say that they are durable: what
//   no header says yet may be taken for a torn tail [C13].

import type { BlockRef, BlockStatus, BlockStore } from "#model";
import { blockRefKey, blockType, decodeRecordFrame, pageBytes } from "#model";
import type { DiskStore } from "#storage";
import type { SimPeer } from "./peer.ts";

const listLimit = 10_000;

interface Copy {
  readonly peer: SimPeer;
  readonly status: BlockStatus;
}

export class Rot {
  readonly #peers: readonly SimPeer[];
  /** Of blocks that were hit: to which record each page belongs. */
  readonly #records = new Map<string, readonly number[]>();

  constructor(peers: readonly SimPeer[]) {
    this.#peers = peers;
  }

  /** Flips one bit of `peer`'s disk, first of `open` blocks; `place` says where. Returns what it hit, null when there is nothing it may. */
  async strike(peer: SimPeer, open: boolean, place: number): Promise<string | null> {
    const { store } = peer;
    if (store === null) return null;
    const { blocks } = await store.list(null, listLimit);
    const first = open ? blocks.filter(({ state }) => state === "open") : [];
    return (await this.#strikeOne(peer, store, first, place)) ?? this.#strikeOne(peer, store, blocks, place);
  }

  async #strikeOne(
    peer: SimPeer,
    store: DiskStore,
    blocks: readonly BlockStatus[],
    place: number,
  ): Promise<string | null> {
    for (let i = 0; i < blocks.length; i++) {
      const status = blocks[(place + i) % blocks.length];
      const pages = await this.#pagesOf(peer, store, status);
      const offset = store.placeOf(status.ref);
      if (pages.length === 0 || offset === null) continue;
      const page = pages[place % pages.length];
      const key = blockRefKey(status.ref);
      peer.rotten.set(key, (peer.rotten.get(key) ?? new Set()).add(page));
      peer.flipBit(offset + page * pageBytes + (place % pageBytes), place % 8);
      return `page ${page} of ${status.state} block ${key}`;
    }
    return null;
  }

  /** Pages of a block that may rot on `peer`. */
  async #pagesOf(peer: SimPeer, store: BlockStore, status: BlockStatus): Promise<number[]> {
    const { ref, state, held } = status;
    const key = blockRefKey(ref);
    const others = await this.#othersOf(peer, ref);
    const hits = this.#peers.flatMap((other) => (other === peer ? [] : [...(other.rotten.get(key) ?? [])]));
    const isHit = hits.length > 0;
    if (state === "sealed") {
      if (ref.type !== blockType.data && isHit) return [];
      const whole = others.filter(
        (other) => other.status.state === "sealed" && other.status.checksum === status.checksum,
      );
      if (whole.length === 0) return [];
      const pages = Array.from({ length: Math.floor(held / pageBytes) }, (_, page) => page);
      if (ref.type !== blockType.data) return pages;
      const records = this.#records.get(key) ?? recordsOf(await store.read(ref, 0, held));
      this.#records.set(key, records);
      const hit = hits.map((page) => records[page]);
      return pages.filter((page) => !hit.includes(records[page]));
    }
    if (state !== "open" || isHit) return [];
    const pages = await namedPages(store, status);
    return pages.filter((page) => others.some((other) => other.status.durable >= (page + 1) * pageBytes));
  }

  /** What the others that run have of `ref`. */
  async #othersOf(peer: SimPeer, ref: BlockRef): Promise<Copy[]> {
    const copies: Copy[] = [];
    for (const other of this.#peers) {
      if (other === peer || other.store === null) continue;
      const [status] = await other.store.stat([ref]);
      copies.push({ peer: other, status });
    }
    return copies;
  }
}

/** For each page of a block the number of its record. */
function recordsOf(bytes: Uint8Array): number[] {
  const records: number[] = [];
  for (let at = 0, number = 0; at < bytes.length; number++) {
    const pages = 1 + (decodeRecordFrame(bytes, at)?.pages ?? 0);
    for (let i = 0; i < pages; i++) records.push(number);
    at += pages * pageBytes;
  }
  return records;
}

/** Data pages of an open block that the last durable header in it says are durable on every member. */
async function namedPages(store: BlockStore, { ref, durable }: BlockStatus): Promise<number[]> {
  if (durable === 0) return [];
  const bytes = await store.read(ref, 0, durable);
  const pages: number[] = [];
  let named = { index: 0, offset: 0 };
  for (let at = 0; at < bytes.length; ) {
    const frame = decodeRecordFrame(bytes, at);
    if (frame === null) break;
    named = { index: frame.durableIndex, offset: frame.durableOffset };
    for (let i = 1; i <= frame.pages; i++) pages.push(at / pageBytes + i);
    at += frame.lengthBytes;
  }
  if (named.index < ref.index) return [];
  return pages.filter((page) => named.index > ref.index || (page + 1) * pageBytes <= named.offset);
}

/** Whether every block `peer` has is on some other, whole and untouched, so that nothing is gone with its disk. */
export async function isSpare(peer: SimPeer, peers: readonly SimPeer[]): Promise<boolean> {
  if (peer.store === null) return false;
  const { blocks } = await peer.store.list(null, listLimit);
  for (const { ref, state, held, durable, checksum } of blocks) {
    if (state === "absent" || held === 0) continue;
    let found = false;
    for (const other of peers) {
      if (other === peer || other.store === null || other.rotten.has(blockRefKey(ref))) continue;
      const [status] = await other.store.stat([ref]);
      const isWhole =
        state === "sealed"
          ? status.state === "sealed" && status.checksum === checksum
          : status.held >= held && status.durable >= durable;
      found ||= isWhole;
    }
    if (!found) return false;
  }
  return true;
}
