// WriteMachine: who has how much of each block that is not yet sealed everywhere. It is told what was sent, answered
// and lost, and says what to send next; it does no I/O and knows no time.
//
// Invariants:
// - Blocks are in log order; only the last may be open. `base` is the log position of a block's first byte, so that
//   positions of one epoch are one line of bytes.
// - held (durable) position: every byte below it is held by (durable on) every member of its block. Both only grow,
//   also across strikes, because a strike only removes members.
// - Bytes below a block's `length` never change, so what a member lacks can be sent again at any time, from its buffer,
//   until the block is sealed on every member and leaves.
// - Per peer one ordered stream: appends of block i leave before those of i + 1; a sync leaves after the appends it is
//   to cover and so covers them.

import type { BlockRef, BlockStatus, PeerId, Progress } from "#model";
import { assert, TorusError } from "#model";
import type { WriteBlock, WriteCommand, WriteMember } from "./write-block.ts";
import { memberOf, recordsEnd } from "./write-block.ts";

interface PeerState {
  up: boolean;
  /** Raised when the peer is lost: answers to what was sent before are dropped. */
  generation: number;
  appendsInFlight: number;
  syncInFlight: boolean;
}

export interface WriteMachineOptions {
  readonly appendsInFlightMax: number;
  readonly appendBytesMax: number;
}

export class WriteMachine {
  readonly #options: WriteMachineOptions;
  readonly #blocks: WriteBlock[] = [];
  readonly #peers = new Map<PeerId, PeerState>();
  #held = 0;
  #durable = 0;
  #wantDurable = 0;
  /** The end of the last block that left. */
  #taken = { index: 0, offset: 0 };

  constructor(options: WriteMachineOptions) {
    this.#options = options;
  }

  /** Blocks not yet sealed on every member, in log order. */
  get blocks(): readonly WriteBlock[] {
    return this.#blocks;
  }

  get held(): number {
    return this.#held;
  }

  get durable(): number {
    return this.#durable;
  }

  /** Blocks of which some member has nothing yet: it may find no space for them. */
  get unbegunBlocks(): number {
    const isUnbegun = ({ abandoned, members }: WriteBlock): boolean =>
      !abandoned && members.some(({ held }) => held === 0);
    return this.#blocks.filter(isUnbegun).length;
  }

  generation(peer: PeerId): number {
    return this.#peer(peer).generation;
  }

  /**
   * The block and offset of the durable position, for record headers. The end of a block is named as that, never as the start of the
   * next, of which nobody may ever have a byte.
   */
  durablePoint(): { index: number; offset: number } {
    let point = this.#taken;
    for (const block of this.#blocks) {
      if (this.#durable <= block.base) break;
      point = { index: block.ref.index, offset: Math.min(block.length, this.#durable - block.base) };
    }
    return point;
  }

  /** Opens the next block of the log for `peers`; the one before must have ended. */
  open(
    ref: BlockRef,
    base: number,
    capacity: number,
    buffer: Uint8Array,
    peers: readonly PeerId[],
  ): WriteBlock {
    assert(this.#blocks.at(-1)?.ended ?? true, "the block before has ended");
    assert(peers.length > 0, "a block has members");
    const members = peers.map((peer) => ({
      peer,
      sent: 0,
      sentMost: 0,
      held: 0,
      durable: 0,
      sealing: false,
      sealed: false,
    }));
    const block = {
      ref,
      base,
      capacity,
      buffer,
      length: 0,
      ended: false,
      checksum: 0,
      abandoned: false,
      struck: false,
      members,
    };
    this.#blocks.push(block);
    for (const peer of peers) this.#peer(peer);
    return block;
  }

  /** More closed records in the open block. */
  extend(block: WriteBlock, length: number): void {
    assert(!block.ended && length >= block.length && length <= block.capacity, "an open block only grows");
    block.length = length;
  }

  end(block: WriteBlock, checksum: number): void {
    assert(!block.ended, "a block ends once");
    block.ended = true;
    block.checksum = checksum;
    this.#advance();
  }

  /** A batch may be closed and sent: every live member of the open block can take another append. */
  canTakeAppend(): boolean {
    const block = this.#blocks.at(-1);
    if (block === undefined || block.ended) return false;
    for (const member of block.members) {
      const peer = this.#peer(member.peer);
      if (peer.up && peer.appendsInFlight >= this.#options.appendsInFlightMax) return false;
    }
    return true;
  }

  /** Asks for everything below `position` to become durable. */
  requestDurable(position: number): void {
    if (position > this.#wantDurable) this.#wantDurable = position;
  }

  /** What to do now. Whatever is returned counts as begun. */
  commands(): WriteCommand[] {
    const commands: WriteCommand[] = [];
    for (const block of this.#blocks) {
      if (block.abandoned) continue;
      for (const member of block.members) this.#appendsOf(block, member, commands);
    }
    if (this.#wantDurable > this.#durable) this.#syncs(commands);
    return commands;
  }

  #appendsOf(block: WriteBlock, member: WriteMember, commands: WriteCommand[]): void {
    const peer = this.#peer(member.peer);
    if (!peer.up) return;
    while (member.sent < block.length && peer.appendsInFlight < this.#options.appendsInFlightMax) {
      const to = recordsEnd(block, member.sent, this.#options.appendBytesMax);
      commands.push({ kind: "append", peer: member.peer, block, from: member.sent, to });
      member.sent = to;
      if (to > member.sentMost) member.sentMost = to;
      peer.appendsInFlight += 1;
    }
    if (block.ended && member.held === block.length && !member.sealed && !member.sealing) {
      member.sealing = true;
      commands.push({ kind: "seal", peer: member.peer, block });
    }
  }

  #syncs(commands: WriteCommand[]): void {
    const wanted = new Map<PeerId, WriteBlock[]>();
    for (const block of this.#blocks) {
      const target = Math.min(block.length, this.#wantDurable - block.base);
      if (target <= 0 || block.abandoned) continue;
      for (const member of block.members) {
        const peer = this.#peer(member.peer);
        // What is not even sent yet would not be covered: its turn comes when it is.
        if (!peer.up || peer.syncInFlight || member.durable >= target || member.sent <= member.durable)
          continue;
        const blocks = wanted.get(member.peer);
        if (blocks === undefined) wanted.set(member.peer, [block]);
        else blocks.push(block);
      }
    }
    for (const [peer, blocks] of wanted) {
      this.#peer(peer).syncInFlight = true;
      commands.push({ kind: "sync", peer, blocks });
    }
  }

  appended(peer: PeerId, generation: number, block: WriteBlock, progress: Progress): void {
    const state = this.#peer(peer);
    if (generation !== state.generation) return;
    state.appendsInFlight -= 1;
    this.#progress(peer, block, progress);
    this.#advance();
  }

  synced(
    peer: PeerId,
    generation: number,
    blocks: readonly WriteBlock[],
    progress: readonly Progress[],
  ): void {
    const state = this.#peer(peer);
    if (generation !== state.generation) return;
    state.syncInFlight = false;
    for (const [i, block] of blocks.entries()) this.#progress(peer, block, progress[i]);
    this.#advance();
  }

  sealed(peer: PeerId, generation: number, block: WriteBlock): void {
    if (generation !== this.#peer(peer).generation) return;
    const member = memberOf(block, peer);
    if (member === undefined) return;
    member.sealed = true;
    member.durable = block.length;
    this.#advance();
  }

  /** The peer is lost: nothing more is sent to it until `back`, and answers still to come from it are void. */
  lost(peer: PeerId): void {
    const state = this.#peer(peer);
    state.up = false;
    state.generation += 1;
    state.appendsInFlight = 0;
    state.syncInFlight = false;
    for (const block of this.#blocks) {
      const member = memberOf(block, peer);
      if (member !== undefined) member.sealing = false;
    }
  }

  /** Blocks of which `peer` is a member and which it has not sealed: what to ask it for when it answers again. */
  unsealedOf(peer: PeerId): WriteBlock[] {
    return this.#blocks.filter((block) => {
      const member = memberOf(block, peer);
      return member !== undefined && !member.sealed && !block.abandoned;
    });
  }

  /**
   * The peer answers again and has this much of `blocks`. It is sent the rest. False if what it has contradicts what was
   * sent (sealed otherwise, or longer than ever sent): such a peer must be struck.
   */
  back(peer: PeerId, blocks: readonly WriteBlock[], statuses: readonly BlockStatus[]): boolean {
    for (const [i, block] of blocks.entries()) {
      const member = memberOf(block, peer);
      if (member === undefined) continue;
      const status = statuses[i];
      if (status.held > member.sentMost) return false;
      if (status.state === "sealed") {
        if (!block.ended || status.held !== block.length || status.checksum !== block.checksum) return false;
        member.sealed = true;
      }
      member.sent = status.held;
      member.held = status.held;
      // Positions already reported durable stay so: the peer said it, and a sealed or synced byte does not go away. If it
      // did, it is sent again all the same.
      member.durable = status.durable;
    }
    this.#peer(peer).up = true;
    this.#advance();
    return true;
  }

  /** A struck peer is no member of anything: it may be one of blocks to come, as if new. */
  readmit(peer: PeerId): void {
    assert(this.unsealedOf(peer).length === 0, "a peer that is readmitted owes nothing");
    this.#peer(peer).up = true;
  }

  /** Gives up on the blocks there are, all of which have ended; returns those not given up before. */
  abandon(): WriteBlock[] {
    const given = this.#blocks.filter((block) => !block.abandoned);
    for (const block of given) {
      assert(block.ended, "only ended blocks are abandoned");
      block.abandoned = true;
    }
    return given;
  }

  /** A checkpoint that replays from `index` is committed: abandoned blocks before it are no longer needed. Takes them out. */
  releaseAbandoned(index: number): WriteBlock[] {
    const released: WriteBlock[] = [];
    while (this.#blocks.length > 0 && this.#blocks[0].abandoned && this.#blocks[0].ref.index < index) {
      released.push(...this.#blocks.splice(0, 1));
    }
    this.#remember(released);
    // What they had is in the checkpoint, in the map or as pages durable elsewhere: positions pass them, also when no block follows.
    const last = released.at(-1);
    if (last !== undefined) {
      this.#held = Math.max(this.#held, last.base + last.length);
      this.#durable = Math.max(this.#durable, last.base + last.length);
    }
    this.#advance();
    return released;
  }

  /** Everything below `position`, but for abandoned blocks, is durable on every member. */
  isSettled(position: number): boolean {
    for (const block of this.#blocks) {
      if (block.base >= position) return true;
      if (block.abandoned) continue;
      const target = Math.min(block.length, position - block.base);
      if (block.members.some((member) => member.durable < target)) return false;
    }
    return true;
  }

  /** `peer` is no member any more of blocks with index in [fromIndex, toIndex): its strike has been committed. */
  strike(peer: PeerId, fromIndex: number, toIndex: number): void {
    for (const block of this.#blocks) {
      if (block.ref.index < fromIndex || block.ref.index >= toIndex) continue;
      const members = block.members.filter((member) => member.peer !== peer);
      if (members.length < block.members.length) block.struck = true;
      block.members = members;
      assert(block.members.length > 0, "a strike leaves members");
    }
    this.#advance();
  }

  /** Takes out the blocks at the front that are sealed on every member. */
  takeSealed(): WriteBlock[] {
    let count = 0;
    while (count < this.#blocks.length) {
      const block = this.#blocks[count];
      if (!block.ended || !block.members.every((member) => member.sealed)) break;
      count += 1;
    }
    const taken = this.#blocks.splice(0, count);
    this.#remember(taken);
    return taken;
  }

  #remember(taken: readonly WriteBlock[]): void {
    const last = taken.at(-1);
    if (last !== undefined) this.#taken = { index: last.ref.index, offset: last.length };
  }

  #progress(peer: PeerId, block: WriteBlock, progress: Progress): void {
    const member = memberOf(block, peer);
    if (member === undefined) return;
    if (progress.held > member.sentMost || progress.durable > progress.held) {
      throw new TorusError(
        "protocol",
        `peer ${peer} claims to hold more of block ${block.ref.index} than it was sent`,
      );
    }
    // Answers of one connection may overtake each other; what was said once stays true. What was sent before a connection broke may arrive
    // after the peer was asked again on the next: then it holds more than was sent since.
    if (progress.held > member.sent) member.sent = progress.held;
    if (progress.held > member.held) member.held = progress.held;
    if (progress.durable > member.durable) member.durable = progress.durable;
  }

  #advance(): void {
    for (const block of this.#blocks) {
      if (block.abandoned) break;
      let held = block.length;
      for (const member of block.members) if (member.held < held) held = member.held;
      if (block.base + held > this.#held) this.#held = block.base + held;
      if (held < block.length || !block.ended) break;
    }
    for (const block of this.#blocks) {
      if (block.abandoned) break;
      let durable = block.length;
      for (const member of block.members) if (member.durable < durable) durable = member.durable;
      if (block.base + durable > this.#durable) this.#durable = block.base + durable;
      if (durable < block.length || !block.ended) break;
    }
  }

  #peer(peer: PeerId): PeerState {
    let state = this.#peers.get(peer);
    if (state === undefined) {
      state = { up: true, generation: 0, appendsInFlight: 0, syncInFlight: false };
      this.#peers.set(peer, state);
    }
    return state;
  }
}
