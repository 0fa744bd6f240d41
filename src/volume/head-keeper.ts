// HeadKeeper: the transactions of one attachment on its volume's head and logmap, one after another, each guarded by what the last
// one left. The logmap that goes with a head is the last one committed, never one that is only planned.

import type { Clock, Log } from "#host";
import { sleep } from "#host";
import type {
  HeadCompany,
  HeadRecord,
  HistoryMark,
  LogMapRecord,
  SessionsChange,
  VolumeWriters,
  WriterAttachment,
} from "#metadata";
import { assert, isTorusError, messageOf, TorusError } from "#model";
import type { LogWriterDeps } from "./log-writer-options.ts";
import { trimLogmap } from "./placement-machine.ts";
import { RecordTime } from "./record-time.ts";

export interface HeadKeeperDeps {
  readonly writers: VolumeWriters;
  readonly attachment: WriterAttachment;
  /** The attachment is over: nothing is tried again. */
  readonly isOver: () => boolean;
  readonly clock: Clock;
  readonly log: Log;
}

/** What an attach says of clients, and which of the kernel's devices goes with its heads. */
export interface Sessions extends SessionsChange {
  readonly device: string | null;
}

/** What whoever makes a head says of it for the volume's history. */
export type HeadMark = Omit<HistoryMark, "endOfBefore">;

const retryMs = 1000;

export class HeadKeeper {
  /** Of the records of this attachment, and so of its heads. */
  readonly times: RecordTime;
  readonly #deps: HeadKeeperDeps;
  #revisions = { head: 0, logmap: 0 };
  #logmap: LogMapRecord | null = null;
  /** Until the first head of this epoch is committed, logmaps are only remembered: nothing was acknowledged under them. */
  #serving = false;
  /** Goes with the first head. */
  #sessions: SessionsChange | null = null;
  #endOfBefore = 1;
  #device: string | null = null;
  /** The last head was committed: none may follow. */
  #ended = false;
  #turn: Promise<unknown> = Promise.resolve();

  constructor(deps: HeadKeeperDeps) {
    this.#deps = deps;
    this.times = new RecordTime(deps.clock);
  }

  /** What a log writer asks of it. */
  forLog(): Pick<LogWriterDeps, "times" | "isServing" | "commitLogmap"> {
    const { times } = this;
    return {
      times,
      isServing: () => this.#serving,
      commitLogmap: (logmap) => this.commitLogmap(logmap),
    };
  }

  /** The modRevisions that were read when the volume was attached. */
  readAt(revisions: { readonly head: number; readonly logmap: number }): void {
    this.#revisions = { head: revisions.head, logmap: revisions.logmap };
  }

  /**
   * What the first head says of clients: from then on those of this attachment count, and not those of before. And of the log before: the first block of
   * it that was appended again.
   */
  beginWith(sessions: Sessions, endOfBefore: number): void {
    this.#sessions = sessions;
    this.#device = sessions.device;
    this.#endOfBefore = endOfBefore;
  }

  /** The kernel's device that every head of this attachment names: it may go on with the next. */
  get device(): string | null {
    return this.#device;
  }

  /** Rejects with `fenced` when another writer came, `unavailable` or `timeout` to be tried again with the same value. */
  commitLogmap(logmap: LogMapRecord): Promise<void> {
    return this.#inTurn(async () => {
      const { writers, attachment } = this.#deps;
      if (this.#serving) {
        this.#revisions.logmap = await writers.commitLogmap(attachment, logmap, this.#revisions.logmap);
      }
      this.#logmap = logmap;
    });
  }

  /**
   * Commits a checkpoint, waiting for the metadata service as long as it takes. `initial` is the logmap if none was committed yet. False when a guard of
   * `company` does not hold: nothing was committed then.
   */
  commitHead(
    initial: LogMapRecord,
    head: HeadRecord,
    mark: HeadMark,
    company: HeadCompany | null = null,
  ): Promise<boolean> {
    return this.#inTurn(async () => {
      if (this.#ended) throw new TorusError("closed", "the last head of this attachment was committed");
      return this.#commit(head, mark, initial, company);
    });
  }

  /** As `commitHead`, and once it has happened no other head is committed: what is in memory is not what the volume is any more. */
  commitLastHead(
    initial: LogMapRecord,
    head: HeadRecord,
    mark: HeadMark,
    company: HeadCompany,
  ): Promise<boolean> {
    return this.#inTurn(async () => {
      // Whoever has parts of the volume in memory has them of what it was.
      this.#device = null;
      this.#ended = await this.#commit(head, mark, initial, company);
      return this.#ended;
    });
  }

  async #commit(
    made: HeadRecord,
    marked: HeadMark,
    initial: LogMapRecord,
    company: HeadCompany | null,
  ): Promise<boolean> {
    const head: HeadRecord = { ...made, device: this.#device };
    const mark: HistoryMark = { ...marked, endOfBefore: this.#endOfBefore };
    const { clock, log, isOver } = this.#deps;
    const logmap = trimLogmap(this.#logmap ?? initial, head.replayFrom);
    for (;;) {
      try {
        const revision = await this.#transact({ head, logmap, mark }, company);
        if (revision === null) return false;
        this.#sessions = null;
        this.#revisions = { head: revision, logmap: revision };
        this.#logmap = logmap;
        this.#serving = true;
        return true;
      } catch (error) {
        if (!isTorusError(error, "unavailable", "timeout") || isOver()) throw error;
        log.warn("a checkpoint waits for the metadata service", { reason: messageOf(error) });
        await sleep(clock, retryMs);
      }
    }
  }

  #transact(
    commit: { readonly head: HeadRecord; readonly logmap: LogMapRecord; readonly mark: HistoryMark },
    company: HeadCompany | null,
  ): Promise<number | null> {
    const { writers, attachment } = this.#deps;
    if (company === null) return writers.commitHead(attachment, commit, this.#revisions, this.#sessions);
    assert(this.#sessions === null, "the first head of an attachment comes alone");
    return writers.commitHeadWith(attachment, commit, this.#revisions, company);
  }

  #inTurn<Result>(transaction: () => Promise<Result>): Promise<Result> {
    const turn = this.#turn.then(transaction);
    this.#turn = turn.catch(() => {});
    return turn;
  }
}
