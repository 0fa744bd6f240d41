// RingKeeper: keeps the ring in step with who lives and where blocks lie: takes out a peer that was away too long, lets it in again when
// it returns, and settles a union when all has moved. Every peer runs one; the first alive, by id, acts, and the others after it if it
// does not. Each act is one transaction that holds only if the ring is still the one it was decided by.

import type { ClusterSnapshot, PeerListing, PeerStatus } from "#metadata";
import type { PeerId } from "#model";
import { isTorusError } from "#model";
import type { RingDescription } from "#ring";
import { addMembers, removeMembers, settleUnion } from "#ring";
import { AbsenceMachine } from "./absence-machine.ts";
import { decideRepair, decideReturn, isServing } from "./repair-machine.ts";
import { decideSettling } from "./settle-machine.ts";
import type { UpkeepDeps, UpkeepOptions } from "./upkeep-deps.ts";
import type { UpkeepTask } from "./upkeep-task.ts";

export class RingKeeper implements UpkeepTask {
  readonly name = "ring keeper";
  readonly #options: UpkeepOptions;
  readonly #deps: UpkeepDeps;
  readonly #absences: AbsenceMachine;
  /** What is to be done, and since when: whoever comes first, by id, is given time to do it. */
  #due = { what: "", sinceMs: 0 };
  #told = "";

  constructor(options: UpkeepOptions, deps: UpkeepDeps) {
    this.#options = options;
    this.#deps = deps;
    this.#absences = new AbsenceMachine({ gapMsMax: 2 * options.watchEveryMs });
  }

  get everyMs(): number {
    return this.#options.watchEveryMs;
  }

  async pass(): Promise<void> {
    const { metadata, clock, store } = this.#deps;
    const listing = await metadata.peers.list();
    const snapshot = await metadata.snapshot();
    this.#absences.observe(
      clock.monotonicMs(),
      listing.peers.map((status) => ({ peer: status.peer, isAlive: isServing(status) })),
    );
    const self = listing.peers.find(({ peer }) => peer === store.peer);
    if (self === undefined || !isServing(self) || listing.ring.version !== snapshot.ringVersion) return;
    try {
      await this.#comeBack(self, listing, snapshot);
      if (!(await this.#repair(listing))) await this.#settle(listing, snapshot);
    } catch (error) {
      // Somebody else changed the ring, or the peer came back: all is decided anew.
      if (!isTorusError(error, "conflict")) throw error;
    }
  }

  async #comeBack(self: PeerStatus, { ring }: PeerListing, snapshot: ClusterSnapshot): Promise<void> {
    const { metadata, log } = this.#deps;
    const decision = decideReturn(self, snapshot);
    if (decision.kind === "forget") await metadata.peers.forgetRemoval(self.peer);
    if (decision.kind !== "enter") return;
    const next = await metadata.rings.restorePeer(ring, addMembers(ring, [decision.member]), self.peer);
    log.info("This peer was away for long and is in the ring again.", { ring: next.version });
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
    const { peer } = decision;
    if (!this.#isMyTurn(`remove ${peer} ${ring.version}`, peers)) return true;
    const gone = {
      peer,
      weight: weightOf(ring, peer),
      isSilent: peers.every((status) => status.peer !== peer || status.alive === null),
    };
    const next = await metadata.rings.removePeer(ring, removeMembers(ring, [peer]), gone);
    log.warn("A peer was away too long and was taken out of the ring; its blocks are copied anew.", {
      peer,
      awayMs: Math.round(absentMs(peer)),
      ring: next.version,
    });
    return true;
  }

  async #settle({ ring, peers }: PeerListing, snapshot: ClusterSnapshot): Promise<void> {
    const { metadata, log } = this.#deps;
    const decision = decideSettling({
      snapshot,
      peers,
      absentMs: (peer) => this.#absences.absentMs(peer),
      repairAfterMs: this.#options.repairAfterMs,
    });
    if (decision.kind !== "settle") {
      if (decision.kind === "wait") log.debug("a union waits", { reason: decision.reason });
      return;
    }
    if (!this.#isMyTurn(`settle ${ring.version}`, peers)) return;
    const next = settleUnion(ring);
    await metadata.rings.commit(ring.version, next);
    log.info("All blocks are where the ring wants them; the old one is let go.", { ring: next.version });
    if (decision.missing.length > 0)
      log.warn("Peers of the old ring are away; nothing they have was needed.", { peers: decision.missing });
  }

  /** Whether it is this peer's turn to do `what`, which is due. */
  #isMyTurn(what: string, peers: readonly PeerStatus[]): boolean {
    const { clock, store } = this.#deps;
    const nowMs = clock.monotonicMs();
    if (this.#due.what !== what) this.#due = { what, sinceMs: nowMs };
    const alive = peers.filter(isServing).map(({ peer }) => peer);
    const rank = alive.sort().indexOf(store.peer);
    return nowMs - this.#due.sinceMs >= rank * 2 * this.#options.watchEveryMs;
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
