// RingKeeper: keeps the ring in step with who lives and where blocks lie: takes out a peer that was away too long, lets it in again when
// it returns, and settles a union when all has moved. Every peer runs one; the first alive, by id, acts, and the others after it if it
// does not. Each act is one transaction that holds only if the ring is still the one it was decided by. What is dear to read (all metadata, the rings there
// were) is read only when all else says that there is something to do.

import type { PeerListing, PeerStatus } from "#metadata";
import { gonePeersMax } from "#metadata";
import type { PeerId } from "#model";
import { isTorusError } from "#model";
import type { RingDescription, RingMember } from "#ring";
import { addMembers, removeMembers, settleUnion } from "#ring";
import { AbsenceMachine } from "./absence-machine.ts";
import { pacedMs, watchersMax } from "./pace.ts";
import { decideRepair, decideReturn, isServing, rankOf } from "./repair-machine.ts";
import { ReturnMachine } from "./return-machine.ts";
import { decideSettling, namesOlderRings } from "./settle-machine.ts";
import type { UpkeepDeps, UpkeepOptions } from "./upkeep-deps.ts";
import type { UpkeepTask } from "./upkeep-task.ts";

export interface RingKeeperDeps extends UpkeepDeps {
  /** A peer is back, and may lack what was written while it was away. */
  readonly onReturn: () => void;
}

export class RingKeeper implements UpkeepTask {
  readonly name = "ring keeper";
  readonly #options: UpkeepOptions;
  readonly #deps: RingKeeperDeps;
  readonly #absences = new AbsenceMachine();
  readonly #returns = new ReturnMachine();
  /** What is to be done, and since when: whoever comes first, by id, is given time to do it. */
  #due = { what: "", sinceMs: 0 };
  #told = "";
  #everyMs: number;
  #rank = Number.POSITIVE_INFINITY;

  constructor(options: UpkeepOptions, deps: RingKeeperDeps) {
    this.#options = options;
    this.#deps = deps;
    this.#everyMs = options.watchEveryMs;
  }

  get everyMs(): number {
    return this.#everyMs;
  }

  /** This peer's place among those that serve, by id, when it last looked; infinity before, and when it does not. */
  get rank(): number {
    return this.#rank;
  }

  async pass(): Promise<void> {
    const { metadata, clock, store } = this.#deps;
    const listing = await metadata.peers.list();
    const { peers, bytes } = listing;
    this.#absences.observe(
      clock.monotonicMs(),
      2 * this.#everyMs,
      peers.map((status) => ({ peer: status.peer, isAlive: isServing(status) })),
    );
    const incarnationOf = (status: PeerStatus): number | null =>
      isServing(status) ? (status.alive?.incarnation ?? null) : null;
    const seen = peers.map((status) => ({ peer: status.peer, incarnation: incarnationOf(status) }));
    if (this.#returns.observe(seen)) this.#deps.onReturn();
    const { watchEveryMs } = this.#options;
    this.#rank = rankOf(store.peer, peers);
    const isWatcher = this.#rank < watchersMax;
    this.#everyMs = isWatcher ? watchEveryMs : pacedMs(watchEveryMs, { readers: peers.length, bytes });
    const self = peers.find(({ peer }) => peer === store.peer);
    if (self === undefined || !isServing(self)) return;
    try {
      if (self.removed !== null) await this.#comeBack(listing);
      else if (!(await this.#repair(listing))) await this.#settle(listing);
    } catch (error) {
      // Somebody else changed the ring, or the peer came back: all is decided anew.
      if (!isTorusError(error, "conflict")) throw error;
    }
  }

  /** This peer was taken out of the ring. Whoever else was, and serves again, enters with it: a rack returns in one change. */
  async #comeBack({ ring, peers }: PeerListing): Promise<void> {
    const { metadata, log, store } = this.#deps;
    const rings = await metadata.rings.versions();
    const entering: RingMember[] = [];
    for (const status of peers) {
      const decision = decideReturn(status, rings);
      if (decision.kind === "forget" && status.peer === store.peer)
        await metadata.peers.forgetRemoval(status.peer);
      if (decision.kind === "enter" && entering.length < gonePeersMax) entering.push(decision.member);
    }
    const entered = entering.map(({ peer }) => peer);
    if (!entered.includes(store.peer)) return;
    const next = await metadata.rings.restorePeers(ring, addMembers(ring, entering), entered);
    log.info("Peers that were away for long are in the ring again.", { ring: next.version, peers: entered });
  }

  /** True when there is a peer to take out. */
  async #repair({ ring, peers }: PeerListing): Promise<boolean> {
    const { metadata, log } = this.#deps;
    const { repairAfterMs } = this.#options;
    const absentMs = (peer: PeerId): number => this.#absences.absentMs(peer);
    const decision = decideRepair({ ring, peers, absentMs, repairAfterMs });
    if (decision.kind === "stuck")
      this.#tell(`A peer is away for good and cannot be taken out of the ring: ${decision.reason}.`, {
        peer: decision.peer,
      });
    if (decision.kind !== "remove") return false;
    const leaving = decision.peers;
    if (!this.#isMyTurn(`remove ${leaving[0]} ${ring.version}`)) return true;
    const gone = leaving.map((peer) => ({
      peer,
      weight: weightOf(ring, peer),
      isSilent: peers.every((status) => status.peer !== peer || status.alive === null),
    }));
    const next = await metadata.rings.removePeers(ring, removeMembers(ring, leaving), gone);
    log.warn("Peers were away too long and were taken out of the ring; their blocks are copied anew.", {
      peers: leaving,
      awayMs: Math.round(Math.min(...leaving.map(absentMs))),
      ring: next.version,
    });
    return true;
  }

  async #settle({ ring, peers }: PeerListing): Promise<void> {
    const { metadata, log } = this.#deps;
    const { repairAfterMs } = this.#options;
    const absentMs = (peer: PeerId): number => this.#absences.absentMs(peer);
    const decision = decideSettling({ ring, peers, absentMs, repairAfterMs });
    if (decision.kind !== "settle") {
      if (decision.kind === "wait") log.debug("a union waits", { reason: decision.reason });
      return;
    }
    if (!this.#isMyTurn(`settle ${ring.version}`)) return;
    const snapshot = await metadata.snapshot();
    if (snapshot.ringVersion !== ring.version || namesOlderRings(snapshot)) return;
    const next = settleUnion(ring);
    await metadata.rings.commit(ring.version, next);
    log.info("All blocks are where the ring wants them; the old one is let go.", { ring: next.version });
    if (decision.missing.length > 0)
      log.warn("Peers of the old ring are away; nothing they have was needed.", { peers: decision.missing });
  }

  /** Whether it is this peer's turn to do `what`, which is due. */
  #isMyTurn(what: string): boolean {
    const nowMs = this.#deps.clock.monotonicMs();
    if (this.#due.what !== what) this.#due = { what, sinceMs: nowMs };
    return nowMs - this.#due.sinceMs >= this.#rank * 2 * this.#options.watchEveryMs;
  }

  /** Once, until there is something else to tell. */
  #tell(message: string, fields: { readonly peer: PeerId }): void {
    const told = `${message} ${fields.peer}`;
    if (told === this.#told) return;
    this.#told = told;
    this.#deps.log.error(message, fields);
  }
}

function weightOf(ring: RingDescription, peer: PeerId): number {
  return (ring.parts?.new ?? ring).members.find((member) => member.peer === peer)?.weight ?? 1;
}
