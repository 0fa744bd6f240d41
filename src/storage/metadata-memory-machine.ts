// MetadataMemoryMachine: judges the metadata a store is shown by the highest it has seen, and says when that must be written down.
//
// What decides whether a number may be given out again (volume ids, ring versions, adoptions, who keeps the metadata) is written at once;
// the revision, which moves with every heartbeat, only every `saveEveryMs`. A store that refuses goes on refusing until a later
// adoption: a store behind can overtake a revision, and is not the one that was known for that. Another cluster's metadata is refused as long as it
// is shown, and forgotten: somebody named the wrong one.

import type { MetadataView } from "#model";
import { judgeView } from "#model";

/** When a revision was seen: for telling how old a backup is. */
export interface RevisionMark {
  readonly revision: number;
  /** Wall clock. */
  readonly timeMs: number;
}

export interface MetadataKept {
  readonly view: MetadataView | null;
  /** Why the metadata shown last is refused, "" when it is not. */
  readonly behind: string;
  /** 0 when unknown. */
  readonly asOfMs: number;
  readonly marks: readonly RevisionMark[];
}

export interface MemoryTimes {
  readonly monotonicMs: number;
  readonly wallMs: number;
}

export const nothingKept: MetadataKept = { view: null, behind: "", asOfMs: 0, marks: [] };

/** A peer that crashes forgets at most the revisions of so long. */
export const saveEveryMs = 60_000;
const markEveryMs = 3600_000;
/** A week. */
const marksMax = 7 * 24;

export class MetadataMemoryMachine {
  #kept: MetadataKept;
  #savedMs = Number.NEGATIVE_INFINITY;
  #unsaved = false;
  /** Why the metadata shown last is another cluster's, "" when it is not. */
  #foreign = "";
  /** What is not written down must not wait. */
  #urgent = false;

  constructor(kept: MetadataKept) {
    this.#kept = kept;
  }

  /** The highest seen, with what is not written down yet. */
  get kept(): MetadataKept {
    return this.#kept;
  }

  /** Why the metadata shown last is refused, "" when it is not. */
  get behind(): string {
    return this.#foreign || this.#kept.behind;
  }

  /** Something is not written down: for the end of a store's life. */
  get unsaved(): boolean {
    return this.#unsaved;
  }

  /** What was kept is on disk. */
  saved(times: MemoryTimes): void {
    this.#savedMs = times.monotonicMs;
    this.#unsaved = false;
    this.#urgent = false;
  }

  /**
   * The metadata looks like `seen`; it was read after all that is known here was. `proof`: why it is behind although its numbers do not show it,
   * "" without. Returns whether the memory must be written now.
   */
  observe(seen: MetadataView, proof: string, times: MemoryTimes): boolean {
    const { view, behind } = this.#kept;
    this.#foreign = view !== null && seen.clusterId !== view.clusterId ? judgeView(view, seen) : "";
    if (this.#foreign !== "") return this.#urgent;
    const isAdopted = view !== null && seen.generation > view.generation;
    const found = (view === null ? "" : judgeView(view, seen)) || proof;
    const reason = isAdopted ? found : behind || found;
    if (reason !== "") {
      this.#refuse(reason, seen);
      return this.#urgent;
    }
    const isNew =
      view === null ||
      behind !== "" ||
      seen.identity !== view.identity ||
      seen.generation !== view.generation ||
      seen.ringVersion !== view.ringVersion ||
      seen.lastVolumeId !== view.lastVolumeId;
    const marks = isAdopted ? [] : this.#kept.marks;
    this.#kept = { view: seen, behind: "", asOfMs: 0, marks: withMark(marks, seen.revision, times.wallMs) };
    this.#unsaved ||= isNew || seen.revision !== view.revision;
    this.#urgent ||= isNew;
    return this.#urgent || (this.#unsaved && times.monotonicMs - this.#savedMs >= saveEveryMs);
  }

  #refuse(reason: string, seen: MetadataView): void {
    const { view, behind, marks } = this.#kept;
    if (reason === behind) return;
    const isOlder = view !== null && seen.revision < view.revision;
    const asOfMs = isOlder ? (marks.findLast(({ revision }) => revision <= seen.revision)?.timeMs ?? 0) : 0;
    this.#kept = { ...this.#kept, behind: reason, asOfMs };
    this.#unsaved = true;
    this.#urgent = true;
  }
}

function withMark(marks: readonly RevisionMark[], revision: number, timeMs: number): readonly RevisionMark[] {
  const last = marks.at(-1);
  if (last !== undefined && timeMs - last.timeMs < markEveryMs) return marks;
  return [...marks, { revision, timeMs }].slice(-marksMax);
}
