// Keeps a writer's lease: runs the lease machine on the clock and the metadata service. The owner hears when requests must
// wait, when they may go on, and when the attachment is over; it also asks `mayServe` before it answers.

import type { Clock, Log, Timer } from "#host";
import { isTorusError, messageOf } from "#model";
import type { LeaseCommand, LeaseEvent, LeaseTime } from "./lease-machine.ts";
import { LeaseMachine, leaseTimes } from "./lease-machine.ts";
import type { VolumeWriters, WriterAttachment } from "./volume-writers.ts";

export interface LeaseKeeperDeps {
  readonly writers: VolumeWriters;
  readonly clock: Clock;
  readonly log: Log;
  /** Requests, reads too, must wait. */
  readonly onHold: () => void;
  /** They may go on. The status key may have gone with an old lease: set it again. */
  readonly onResume: () => void;
  /** Another writer came, the volume was deleted, or the metadata went back: every request fails from now on. At most once, nothing follows. */
  readonly onLost: (reason: string) => void;
}

/** Renewals without an answer at the same time: the oldest is given up, not waited for. */
const renewalsMax = 4;
/** A machine that was suspended notices at the latest this long after it woke. */
const tickMsMax = 1000;

export class LeaseKeeper {
  readonly #deps: LeaseKeeperDeps;
  readonly #machine: LeaseMachine;
  #attachment: WriterAttachment;
  #timer: Timer | null = null;
  #renewals = 0;
  #closed = false;

  constructor(attachment: WriterAttachment, deps: LeaseKeeperDeps) {
    this.#attachment = attachment;
    this.#deps = deps;
    this.#machine = new LeaseMachine(leaseTimes(attachment.leaseTtlMs), attachment.leaseSent);
    this.#schedule();
  }

  /** With the lease as it was last renewed. */
  get attachment(): WriterAttachment {
    return this.#attachment;
  }

  mayServe(): boolean {
    return this.#machine.mayServe(this.#now());
  }

  /** Stops renewing. The lease is not given back: `detachWriter` does that. */
  close(): void {
    this.#closed = true;
    this.#timer?.cancel();
  }

  #now(): LeaseTime {
    return { monotonicMs: this.#deps.clock.monotonicMs(), wallMs: this.#deps.clock.wallMs() };
  }

  #schedule(): void {
    this.#timer?.cancel();
    const delayMs = Math.min(tickMsMax, this.#machine.nextTickMs(this.#now()));
    this.#timer = this.#deps.clock.setTimer(delayMs, () => this.#handle({ kind: "tick" }));
  }

  #handle(event: LeaseEvent, reason = ""): void {
    if (this.#closed) return;
    const now = this.#now();
    for (const command of this.#machine.handle(event, now)) this.#obey(command, now, reason);
    if (!this.#closed) this.#schedule();
  }

  #obey(command: LeaseCommand, now: LeaseTime, reason: string): void {
    const { log, onHold, onResume, onLost } = this.#deps;
    const fields = { volume: this.#attachment.name, epoch: this.#attachment.epoch };
    switch (command) {
      case "renew":
        void this.#renew(now);
        return;
      case "hold":
        log.warn(
          "The writer's lease may run out: requests are held until the metadata service answers.",
          fields,
        );
        onHold();
        return;
      case "resume":
        log.info("The writer's lease is renewed: requests go on.", fields);
        onResume();
        return;
      case "lost":
        log.error("The attachment is over.", { ...fields, reason });
        this.close();
        onLost(reason);
        return;
    }
  }

  async #renew(sent: LeaseTime): Promise<void> {
    if (this.#renewals >= renewalsMax) return;
    this.#renewals += 1;
    try {
      const renewed = await this.#deps.writers.renewWriter(this.#attachment);
      // Answers may come out of order: the newest send has the lease that lives.
      if (renewed.leaseSent.monotonicMs >= this.#attachment.leaseSent.monotonicMs) this.#attachment = renewed;
      this.#handle({ kind: "acknowledged", sent });
    } catch (error) {
      // Metadata that went back knows nothing of this writer, even if it says so.
      if (isTorusError(error, "fenced", "metadata-behind")) {
        this.#handle({ kind: "fenced" }, messageOf(error));
        return;
      }
      this.#deps.log.debug("A renewal of the writer's lease failed.", { reason: messageOf(error) });
      this.#handle({ kind: "failed", sent });
    } finally {
      this.#renewals -= 1;
    }
  }
}
