// One watch: a stream of its own to the member in use, run by WatchMachine. When the stream ends it is opened again, for as
// long as the watch is not closed; the listener hears of it only when history is gone.

import type { Clock, Log, Timer } from "#host";
import { isTorusError, messageOf } from "#model";
import type { Watch, WatchEvent, WatchListener } from "../service.ts";
import type { EtcdClient } from "./etcd-client.ts";
import type { GrpcStream } from "./grpc-channel.ts";
import { encodeWatchCreate, prefixEnd } from "./request-codec.ts";
import { type ChangeEvent, decodeWatch, type WatchResponse } from "./response-codec.ts";
import { type WatchCommand, type WatchInput, WatchMachine } from "./watch-machine.ts";

export interface EtcdWatchOptions {
  /** In etcd: with our prefix. */
  readonly prefix: string;
  /** etcd's own. */
  readonly fromRevision: number;
  readonly listener: WatchListener;
}

export interface EtcdWatchDeps {
  readonly client: EtcdClient;
  readonly clock: Clock;
  readonly log: Log;
  readonly toEvent: (event: ChangeEvent) => WatchEvent;
  readonly toRevision: (revision: number) => number;
  readonly onClose: (watch: EtcdWatch) => void;
}

export class EtcdWatch implements Watch {
  readonly #options: EtcdWatchOptions;
  readonly #deps: EtcdWatchDeps;
  readonly #machine: WatchMachine;
  #stream: GrpcStream | null = null;
  #timer: Timer | null = null;
  #attempt = 0;
  #closed = false;
  /** It could not be opened, and that was said. */
  #outage = false;

  constructor(options: EtcdWatchOptions, deps: EtcdWatchDeps) {
    this.#options = options;
    this.#deps = deps;
    this.#machine = new WatchMachine(options.fromRevision);
    this.#openAfter(0);
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#timer?.cancel();
    this.#leave();
    this.#deps.onClose(this);
  }

  #leave(): void {
    const stream = this.#stream;
    this.#stream = null;
    stream?.close();
  }

  #handle(input: WatchInput): void {
    for (const command of this.#machine.handle(input)) if (!this.#closed) this.#obey(command);
  }

  #obey(command: WatchCommand): void {
    const { prefix, listener } = this.#options;
    const { toEvent, toRevision } = this.#deps;
    switch (command.kind) {
      case "create": {
        const { startRevision } = command;
        this.#stream?.send(encodeWatchCreate({ key: prefix, rangeEnd: prefixEnd(prefix), startRevision }));
        return;
      }
      case "deliver":
        listener.events(command.events.map(toEvent), toRevision(command.revision));
        return;
      case "confirm":
        void this.#confirm(command.delivered);
        return;
      case "leave":
        this.#canceled(command.reason);
        return;
      case "reopen":
        this.#openAfter(command.delayMs);
        return;
      case "reset":
        this.close();
        listener.reset(command.reason);
        return;
    }
  }

  /** There is one stream at a time: whatever an earlier one still says is not heard. */
  #openAfter(delayMs: number): void {
    this.#leave();
    this.#timer?.cancel();
    this.#attempt += 1;
    const attempt = this.#attempt;
    this.#timer = this.#deps.clock.setTimer(delayMs, () => void this.#open(attempt));
  }

  async #open(attempt: number): Promise<void> {
    const isCurrent = (): boolean => attempt === this.#attempt && !this.#closed;
    try {
      const stream = await this.#deps.client.open("/etcdserverpb.Watch/Watch", {
        message: (bytes) => isCurrent() && this.#received(bytes),
        ended: (failure) => isCurrent() && this.#ended(failure.message),
      });
      if (!isCurrent()) {
        stream.close();
        return;
      }
      this.#stream = stream;
      this.#outage = false;
      this.#handle({ kind: "opened" });
    } catch (error) {
      if (!isCurrent()) return;
      // The store went back, or this service was closed: neither gets better.
      if (isTorusError(error, "corrupt", "metadata-behind", "closed")) {
        this.close();
        this.#options.listener.reset(messageOf(error));
        return;
      }
      if (!this.#outage) {
        this.#deps.log.warn("A watch of the metadata cannot be opened; trying again.", {
          prefix: this.#options.prefix,
          reason: messageOf(error),
        });
      }
      this.#outage = true;
      this.#handle({ kind: "ended" });
    }
  }

  #received(bytes: Uint8Array): void {
    let response: WatchResponse;
    try {
      response = decodeWatch(bytes);
    } catch (error) {
      this.#ended(messageOf(error));
      return;
    }
    this.#handle({ kind: "response", response });
  }

  #ended(reason: string): void {
    this.#deps.log.debug("A watch of the metadata was interrupted; opening it again.", { reason });
    this.#handle({ kind: "ended" });
  }

  /** The server does not want this watch: without permission, or with a token that is too old. */
  #canceled(reason: string): void {
    this.#deps.log.warn("etcd ended a watch of the metadata; trying again.", {
      prefix: this.#options.prefix,
      reason,
    });
    if (/permission|auth/.test(reason)) this.#deps.client.forgetToken();
    this.#handle({ kind: "ended" });
  }

  async #confirm(delivered: number): Promise<void> {
    try {
      const revision = await this.#deps.client.revision();
      if (!this.#closed) this.#handle({ kind: "confirmed", delivered, revision });
    } catch (error) {
      // Nothing is certain of this member: start over, maybe at another.
      if (!this.#closed) this.#ended(messageOf(error));
    }
  }
}
