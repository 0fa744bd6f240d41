// ScrubAnswerer: what operators ask the scrubber. It looks now and then whether this peer was asked to look at all its blocks, has the scrubber do it
// once, and says how far it is until it is done. What was not answered to the end is done again, or gone on with, after a restart.

import type { Clock } from "#host";
import type { ScrubAnswer, ScrubRegistry, ScrubRequestRecord } from "#metadata";
import type { PeerId } from "#model";
import type { AskedRound, Scrubber } from "./scrubber.ts";
import type { UpkeepTask } from "./upkeep-task.ts";

export interface ScrubAnswererOptions {
  /** How often it is said how far a round is. */
  readonly everyMs: number;
}

export interface ScrubAnswererDeps {
  readonly peer: PeerId;
  readonly scrubs: Pick<ScrubRegistry, "of" | "answer">;
  readonly scrubber: Pick<Scrubber, "hurry" | "round" | "report">;
  /** Has the scrubber begin. */
  readonly wake: () => void;
  readonly clock: Clock;
}

/** Hardly ever is anything asked: it is looked less often than a round is told of. */
const idleFactor = 3;

export class ScrubAnswerer implements UpkeepTask {
  readonly name = "answerer to requests for a scrub";
  readonly #options: ScrubAnswererOptions;
  readonly #deps: ScrubAnswererDeps;
  #isAsked = false;
  /** Of the round under way: what was repaired before this process was started, and so found. */
  #repairedBefore = 0;

  constructor(options: ScrubAnswererOptions, deps: ScrubAnswererDeps) {
    this.#options = options;
    this.#deps = deps;
  }

  get everyMs(): number {
    return this.#options.everyMs * (this.#isAsked ? 1 : idleFactor);
  }

  async pass(): Promise<void> {
    const { peer, scrubs } = this.#deps;
    const request = await scrubs.of(peer);
    this.#isAsked = request !== null && request.answer?.ended !== true;
    if (request === null || !this.#isAsked) return;
    const round = this.#roundOf(request);
    await scrubs.answer(peer, request.token, this.#answerOf(request, round));
    this.#isAsked = !round.isEnded;
  }

  #roundOf({ token, answer }: ScrubRequestRecord): AskedRound {
    const { scrubber, wake } = this.#deps;
    const known = scrubber.round;
    if (known?.asked === token) return known;
    this.#repairedBefore = answer?.repaired ?? 0;
    scrubber.hurry(token);
    wake();
    return { asked: token, done: 0, found: 0, repaired: 0, isEnded: false };
  }

  #answerOf(request: ScrubRequestRecord, round: AskedRound): ScrubAnswer {
    const { clock, scrubber } = this.#deps;
    const updatedMs = Math.floor(clock.wallMs());
    return {
      beganMs: request.answer?.beganMs ?? updatedMs,
      updatedMs,
      done: round.done,
      found: this.#repairedBefore + round.found,
      repaired: this.#repairedBefore + round.repaired,
      unrepairable: scrubber.report.unrepairable,
      ended: round.isEnded,
    };
  }
}
