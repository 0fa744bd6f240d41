// ReconcilePage: one page of a peer's own blocks, brought to where the ring wants them: asks the others what they have, sends what
// they lack, and drops what is not this peer's once all who should have it confirm. The decisions are reconcile-machine.ts's.
//
// Whatever fails here concerns single blocks: it is counted, told, and met again on the next walk.

import type { Clock, Log, ReusedMemory } from "#host";
import { sleep } from "#host";
import type { BlockRef, BlockStatus, Confirmation, PeerId, PeerStore } from "#model";
import { blockRefKey, crc32, isTorusError, messageOf } from "#model";
import type { Ring } from "#ring";
import type { OwnStore } from "./own-store.ts";
import type { Pacer } from "./pacer.ts";
import type { ReconcileCounters } from "./reconcile-counters.ts";
import type { BlockDecision } from "./reconcile-machine.ts";
import { decideBlock, desiredPeers, judgeConfirmations, placesOf } from "./reconcile-machine.ts";

export interface ReconcilePageDeps {
  readonly store: OwnStore;
  readonly storeOf: (peer: PeerId) => PeerStore;
  readonly pacer: Pacer;
  /** For blocks on their way: fresh memory for each would have the garbage collector stop this thread again and again. */
  readonly memory: ReusedMemory;
  readonly counters: ReconcileCounters;
  readonly clock: Clock;
  readonly log: Log;
}

export interface ReconcilePageOptions {
  readonly ring: Ring;
  /** See BlockCase. */
  readonly isImpatient: boolean;
  /** The page's ring is in force here, and nobody has asked to stop: what was decided may be done. */
  readonly isInForce: () => boolean;
}

interface Item {
  readonly own: BlockStatus;
  readonly desired: readonly PeerId[];
  readonly places: readonly PeerId[];
  decision: BlockDecision;
  /** Desired peers that still lack the block, or did not answer. */
  readonly open: Set<PeerId>;
}

/** What is not as it should be when the page is done. */
export interface PageOutcome {
  misplacedBlocks: number;
  misplacedBytes: number;
}

/** Of a block, at once: others are served in between, and the budget is drawn on evenly. */
const readBytes = 256 * 1024;
/** Blocks sent at the same time. */
const lanes = 2;
/** One question's worth of reading back, well within a request's time. */
const confirmRefs = 64;
const confirmRoundsMax = 16;
/** What a peer said it has is asked again after this long, before it is sent anything. */
const answerMsMax = 1000;
const confirmAgainMs = 20;

export class ReconcilePage {
  readonly #options: ReconcilePageOptions;
  readonly #deps: ReconcilePageDeps;
  readonly #items: Item[] = [];
  /** When the others said what they have. */
  #askedMs = 0;
  /** Bytes to be sent, and of blocks to be dropped, which others read back before; and how many of them were seen to. */
  #workBytes = 0;
  #doneBytes = 0;

  constructor(options: ReconcilePageOptions, deps: ReconcilePageDeps) {
    this.#options = options;
    this.#deps = deps;
  }

  /** How much of what it has to do is done, 0 to 1. */
  get done(): number {
    return this.#workBytes === 0 ? 0 : Math.min(1, this.#doneBytes / this.#workBytes);
  }

  /** `blocks` are all of blocks whose place the ring decides. */
  async run(blocks: readonly BlockStatus[]): Promise<PageOutcome> {
    const { ring } = this.#options;
    const placed = blocks.map((own): Omit<Item, "decision"> => {
      const desired = desiredPeers(ring, own.ref);
      return { own, desired, places: placesOf(ring, own.ref, desired), open: new Set() };
    });
    const answers = await this.#ask(placed);
    this.#askedMs = this.#deps.clock.monotonicMs();
    for (const item of placed) {
      const decision = this.#decide(item, answers);
      for (const peer of [...decision.lacking, ...decision.silent]) item.open.add(peer);
      this.#items.push({ ...item, decision });
      this.#workBytes += sendBytes({ own: item.own, decision }) + (decision.isOwn ? 0 : item.own.held);
    }
    await inLanes(this.#items, async (item) => {
      await this.#send(item);
      this.#doneBytes += sendBytes(item);
    });
    const removed = await this.#removeOthers();
    const outcome: PageOutcome = { misplacedBlocks: 0, misplacedBytes: 0 };
    for (const item of this.#items) {
      const { own, decision, open } = item;
      // An open copy is nobody's source: whoever has the block sealed sees to it.
      if (own.state !== "sealed" || removed.has(item)) continue;
      if (decision.isOwn && open.size === 0 && decision.differing.length === 0) continue;
      outcome.misplacedBlocks += 1;
      outcome.misplacedBytes += own.held;
    }
    return outcome;
  }

  #decide({ own, desired, places }: Omit<Item, "decision">, answers: Answers): BlockDecision {
    const key = blockRefKey(own.ref);
    const decision = decideBlock({
      self: this.#deps.store.peer,
      own,
      desired,
      places,
      answerOf: (peer) => answers.get(peer)?.get(key) ?? null,
      isImpatient: this.#options.isImpatient,
    });
    for (const peer of decision.differing) this.#alarm(own.ref, peer);
    return decision;
  }

  /** What every other peer that may hold them has of the blocks; peers that do not answer are not there. */
  async #ask(placed: readonly Omit<Item, "decision">[]): Promise<Answers> {
    const { store, counters, log } = this.#deps;
    const asked = new Map<PeerId, BlockRef[]>();
    for (const { own, places } of placed) {
      for (const peer of places) {
        if (peer === store.peer) continue;
        const refs = asked.get(peer);
        if (refs === undefined) asked.set(peer, [own.ref]);
        else refs.push(own.ref);
      }
    }
    const answers: Answers = new Map();
    await Promise.all(
      [...asked].map(async ([peer, refs]) => {
        counters.requests.add(1);
        try {
          const statuses = await this.#deps.storeOf(peer).stat(refs);
          answers.set(peer, new Map(statuses.map((status) => [blockRefKey(status.ref), status])));
        } catch (error) {
          counters.failures.add(1);
          log.debug("a peer does not say what it has", { peer, reason: messageOf(error) });
        }
      }),
    );
    return answers;
  }

  async #send({ own, decision, open }: Item): Promise<void> {
    if (decision.sendTo.length === 0 || !this.#options.isInForce()) return;
    await this.#dropServed(own, open);
    const sendTo = decision.sendTo.filter((peer) => open.has(peer));
    if (sendTo.length > 0) await this.#put(own, sendTo, open);
  }

  /** A page may take long, and other holders send too, out of patience: who got the block meanwhile is not sent it again. */
  async #dropServed({ ref, held, checksum }: BlockStatus, open: Set<PeerId>): Promise<void> {
    const { clock, storeOf, store } = this.#deps;
    if (clock.monotonicMs() - this.#askedMs < answerMsMax) return;
    const others = [...open].filter((peer) => peer !== store.peer);
    await Promise.all(
      others.map(async (peer) => {
        const [status] = await storeOf(peer)
          .stat([ref])
          .catch((): BlockStatus[] => []);
        if (status?.state === "sealed" && status.held === held && status.checksum === checksum)
          open.delete(peer);
      }),
    );
  }

  /** Puts this peer's copy on `peers`; those that have it then are taken out of `open`. */
  async #put(own: BlockStatus, peers: readonly PeerId[], open: Set<PeerId>): Promise<void> {
    const { store, storeOf, memory, counters, log } = this.#deps;
    const bytes = await this.#readOwn(own, peers.length);
    if (bytes === null || !this.#options.isInForce()) return;
    await Promise.all(
      peers.map(async (peer) => {
        counters.requests.add(1);
        try {
          await storeOf(peer).put(own.ref, bytes, own.checksum, "repair");
          open.delete(peer);
          counters.sentBlocks.add(1);
          counters.sentBytes.add(bytes.length);
        } catch (error) {
          counters.failures.add(1);
          if (isTorusError(error, "mismatch")) this.#alarm(own.ref, peer);
          const fields = { from: store.peer, peer, block: blockRefKey(own.ref), reason: messageOf(error) };
          log.debug("a block could not be sent", fields);
        }
      }),
    );
    // What failed may still be under way, with these very bytes.
    if (peers.every((peer) => !open.has(peer))) memory.give(bytes);
  }

  /** The bytes of a sealed copy, as fast as the budget for so many `copies` allows; null when it is gone, or not what it should be: then it is no source. */
  async #readOwn({ ref, held, checksum }: BlockStatus, copies: number): Promise<Uint8Array | null> {
    const { store, pacer, memory, clock, log } = this.#deps;
    const bytes = memory.take(held);
    try {
      for (let at = 0; at < held; at += readBytes) {
        const part = bytes.subarray(at, Math.min(at + readBytes, held));
        await pacer.take(part.length * copies);
        if (!this.#options.isInForce()) return null;
        // The disk is read synchronously: let the peer serve in between.
        await sleep(clock, 0);
        const read = await store.read(ref, at, part.length, () => part);
        if (read !== part) part.set(read);
      }
      if (crc32(bytes) === checksum) return bytes;
      log.warn("A copy here is damaged and is not sent to others.", { block: blockRefKey(ref) });
    } catch (error) {
      log.debug("a block cannot be read here", { block: blockRefKey(ref), reason: messageOf(error) });
    }
    return null;
  }

  /** Drops the blocks that are not this peer's and that everybody who should has. */
  async #removeOthers(): Promise<ReadonlySet<Item>> {
    const removed = new Set<Item>();
    let waiting = this.#items.filter(
      ({ decision, open }) => !decision.isOwn && open.size === 0 && decision.differing.length === 0,
    );
    for (let round = 0; round < confirmRoundsMax && waiting.length > 0; round++) {
      if (!this.#options.isInForce()) break;
      const again: Item[] = [];
      for (let from = 0; from < waiting.length; from += confirmRefs) {
        const part = waiting.slice(from, from + confirmRefs);
        const confirmations = await this.#askConfirmations(part);
        await inLanes(part, async (item) => {
          const outcome = await this.#settle(item, confirmations);
          if (outcome === "removed") removed.add(item);
          if (outcome !== "again") this.#doneBytes += item.own.held;
          else if (outcome === "again") again.push(item);
        });
      }
      waiting = again;
      if (waiting.length > 0) await sleep(this.#deps.clock, confirmAgainMs);
    }
    return removed;
  }

  async #settle(item: Item, confirmations: Confirmations): Promise<"removed" | "again" | "stay"> {
    const { own, desired, open } = item;
    const key = blockRefKey(own.ref);
    const of = (peer: PeerId): Confirmation | null => confirmations.get(peer)?.get(key) ?? null;
    const verdict = judgeConfirmations(own, desired, of);
    if (verdict === "differ") this.#alarm(own.ref, desired[0]);
    if (verdict === "remove") return this.#remove(own.ref);
    if (verdict === "differ" || desired.some((peer) => of(peer) === null)) return "stay";
    const failing = desired.filter((peer) => of(peer)?.verdict === "lacking");
    // It says sealed and does not confirm: its copy does not verify. A put replaces it, if this one does.
    if (failing.length > 0 && own.state === "sealed") {
      for (const peer of failing) open.add(peer);
      await this.#put(own, failing, open);
      return open.size === 0 ? "again" : "stay";
    }
    return failing.length === 0 ? "again" : "stay";
  }

  async #remove(ref: BlockRef): Promise<"removed" | "stay"> {
    const { store, counters, log } = this.#deps;
    try {
      if (!(await store.remove(ref, this.#options.isInForce))) return "stay";
      counters.removedBlocks.add(1);
      return "removed";
    } catch (error) {
      log.warn("A block that is not this peer's any more could not be dropped.", {
        block: blockRefKey(ref),
        reason: messageOf(error),
      });
      return "stay";
    }
  }

  /** What the desired peers confirm; peers that do not answer, or are at another ring version, are not there. */
  async #askConfirmations(items: readonly Item[]): Promise<Confirmations> {
    const { version } = this.#options.ring;
    const { counters, log } = this.#deps;
    const asked = new Map<PeerId, BlockRef[]>();
    for (const { own, desired } of items)
      for (const peer of desired) asked.set(peer, [...(asked.get(peer) ?? []), own.ref]);
    const confirmations: Confirmations = new Map();
    await Promise.all(
      [...asked].map(async ([peer, refs]) => {
        counters.requests.add(1);
        try {
          const report = await this.#deps.storeOf(peer).confirm(version, refs);
          if (report.ringVersion !== version) return;
          confirmations.set(peer, new Map(refs.map((ref, i) => [blockRefKey(ref), report.blocks[i]])));
        } catch (error) {
          counters.failures.add(1);
          log.debug("a peer confirms nothing", { peer, reason: messageOf(error) });
        }
      }),
    );
    return confirmations;
  }

  #alarm(ref: BlockRef, peer: PeerId): void {
    this.#deps.counters.differingBlocks.add(1);
    this.#deps.log.error("Two sealed copies of a block differ; neither is touched.", {
      block: blockRefKey(ref),
      peer,
    });
  }
}

function sendBytes({ own, decision }: Pick<Item, "own" | "decision">): number {
  return own.held * decision.sendTo.length;
}

type Answers = Map<PeerId, Map<string, BlockStatus>>;
type Confirmations = Map<PeerId, Map<string, Confirmation>>;

/** `work` on all of `items`, some at a time. */
async function inLanes<T>(items: readonly T[], work: (item: T) => Promise<void>): Promise<void> {
  let next = 0;
  const lane = async (): Promise<void> => {
    while (next < items.length) {
      const item = items[next];
      next += 1;
      await work(item);
    }
  };
  await Promise.all(Array.from({ length: Math.min(lanes, items.length) }, lane));
}
