// What peers were asked to look at and what they answered, for people and for programs.

import type { PeerStatus, ScrubAnswer, ScrubRequestRecord } from "#metadata";
import { durationText } from "./upkeep-status.ts";

/** A peer and what it was asked last. */
export interface AskedPeer {
  readonly status: PeerStatus;
  readonly request: ScrubRequestRecord;
}

/** Of several peers together. */
export interface ScrubTotals {
  /** Those that are done. */
  readonly ended: number;
  readonly percent: number;
  readonly found: number;
  readonly repaired: number;
  readonly unrepairable: number;
  /** Until the last of them is done, at their speed so far; null when that cannot be said. */
  readonly remainingMs: number | null;
}

export function scrubTotals(requests: readonly ScrubRequestRecord[]): ScrubTotals {
  const answers = requests.map(({ answer }) => answer);
  const sum = (name: "done" | "found" | "repaired" | "unrepairable"): number =>
    answers.reduce((total, answer) => total + (answer?.[name] ?? 0), 0);
  const remaining = answers.map(remainingMs);
  return {
    ended: answers.filter((answer) => answer?.ended === true).length,
    percent: requests.length === 0 ? 100 : Math.floor((100 * sum("done")) / requests.length),
    found: sum("found"),
    repaired: sum("repaired"),
    unrepairable: sum("unrepairable"),
    remainingMs: remaining.includes(null) ? null : Math.max(0, ...remaining.map((ms) => ms ?? 0)),
  };
}

function remainingMs(answer: ScrubAnswer | null): number | null {
  if (answer === null) return null;
  const { beganMs, updatedMs, done, ended } = answer;
  if (ended) return 0;
  return done === 0 ? null : (Math.max(0, updatedMs - beganMs) * (1 - done)) / done;
}

/** "2 of 3 peers done, 41%, damaged blocks: 1 found, ...". */
export function scrubText(requests: readonly ScrubRequestRecord[]): string {
  const { ended, percent, found, repaired, unrepairable } = scrubTotals(requests);
  const counts = `damaged blocks: ${found} found, ${repaired} repaired, ${unrepairable} unrepairable`;
  const progress = ended < requests.length ? `, ${percent}%` : "";
  return `${ended} of ${requests.length} peers done${progress}, ${counts}`;
}

export function remainingText(requests: readonly ScrubRequestRecord[]): string {
  const { remainingMs, ended } = scrubTotals(requests);
  return remainingMs === null || ended === requests.length ? "" : `, about ${durationText(remainingMs)} left`;
}

/** asked: the peer has not begun. */
export function scrubCell({ answer }: ScrubRequestRecord): string {
  if (answer === null) return "asked";
  return answer.ended ? "done" : `${Math.floor(100 * answer.done)}%`;
}

export function scrubJson({ askedMs, answer }: ScrubRequestRecord): object {
  return {
    askedMs,
    beganMs: answer?.beganMs ?? null,
    endedMs: answer?.ended === true ? answer.updatedMs : null,
    done: answer?.done ?? 0,
    found: answer?.found ?? 0,
    repaired: answer?.repaired ?? 0,
    unrepairable: answer?.unrepairable ?? 0,
    remainingMs: remainingMs(answer),
  };
}
