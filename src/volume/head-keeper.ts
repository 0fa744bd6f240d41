// HeadKeeper: the transactions of one attachment on its volume's head and logmap, one after another, each guarded by what the last
// one left. The logmap that goes with a head is the last one committed, never one that is only planned.

import type { Clock, Log } from "#host";
import { sleep } from "#host";
import type { HeadRecord, LogMapRecord, SessionsChange, VolumeWriters, WriterAttachment } from "#metadata";
import { isTorusError, messageOf } from "#model";
import { trimLogmap } from "./placement-machine.ts";

export interface HeadKeeperDeps {
  readonly writers: VolumeWriters;
  readonly attachment: WriterAttachment;
  /** The attachment is over: nothing is tried again. */
  readonly isOver: () => boolean;
  readonly clock: Clock;
  readonly log: Log;
}

const retryMs = 1000;

export class HeadKeeper {
  readonly #deps: HeadKeeperDeps;
  #revisions = { head: 0, logmap: 0 };
  #logmap: LogMapRecord | null = null;
  /** Until the first head of this epoch is committed, logmaps are only remembered: nothing was acknowledged under them. */
  #serving = false;
  /** Goes with the first head. */
  #sessions: SessionsChange | null = null;
  #turn: Promise<unknown> = Promise.resolve();

  constructor(deps: HeadKeeperDeps) {
    this.#deps = deps;
  }

  /** The modRevisions that were read when the volume was attached. */
  readAt(revisions: { readonly head: number; readonly logmap: number }): void {
    this.#revisions = { head: revisions.head, logmap: revisions.logmap };
  }

  /** What the first head says of clients: from then on those of this attachment count, and not those of before. */
  beginWith(sessions: SessionsChange): void {
    this.#sessions = sessions;
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

  /** Commits a checkpoint, waiting for the metadata service as long as it takes. `initial` is the logmap if none was committed yet. */
  commitHead(head: HeadRecord, initial: LogMapRecord): Promise<void> {
    return this.#inTurn(async () => {
      const { writers, attachment, clock, log, isOver } = this.#deps;
      const logmap = trimLogmap(this.#logmap ?? initial, head.replayFrom);
      for (;;) {
        try {
          const records = { head, logmap };
          const revision = await writers.commitHead(attachment, records, this.#revisions, this.#sessions);
          this.#sessions = null;
          this.#revisions = { head: revision, logmap: revision };
          this.#logmap = logmap;
          this.#serving = true;
          return;
        } catch (error) {
          if (!isTorusError(error, "unavailable", "timeout") || isOver()) throw error;
          log.warn("a checkpoint waits for the metadata service", { reason: messageOf(error) });
          await sleep(clock, retryMs);
        }
      }
    });
  }

  #inTurn(transaction: () => Promise<void>): Promise<void> {
    const turn = this.#turn.then(transaction);
    this.#turn = turn.catch(() => {});
    return turn;
  }
}
