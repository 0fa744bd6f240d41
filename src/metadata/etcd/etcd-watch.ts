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
  #closed = false;

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

  #openAfter(delayMs: number): void {
    this.#timer = this.#deps.clock.setTimer(delayMs, () => void this.#open());
  }

  async #open(): Promise<void> {
    try {
      const stream = await this.#deps.client.open("/etcdserverpb.Watch/Watch", {
        message: (bytes) => this.#received(bytes),
        ended: (failure) => this.#ended(failure.message),
      });
      if (this.#closed) {
        stream.close();
        return;
      }
      this.#stream = stream;
      this.#handle({ kind: "opened" });
    } catch (error) {
      if (this.#closed) return;
      // The store went back, or this service was closed: neither gets better.
      if (isTorusError(error, "corrupt", "closed")) {
        this.close();
        this.#options.listener.reset(messageOf(error));
        return;
      }
      this.#ended(messageOf(error));
    }
  }

  #received(bytes: Uint8Array): void {
    let response: WatchResponse;
    try {
      response = decodeWatch(bytes);
    } catch (error) {
      this.#leave();
      this.#ended(messageOf(error));
      return;
    }
    this.#handle({ kind: "response", response });
  }

  #ended(reason: string): void {
    this.#stream = null;
    this.#deps.log.debug("A watch of the metadata was interrupted; opening it again.", { reason });
    this.#handle({ kind: "ended" });
  }

  /** The server does not want this watch: without permission, or with a token that is too old. */
  #canceled(reason: string): void {
    this.#leave();
    this.#deps.log.warn("etcd ended a watch of the metadata; trying again.", {
      prefix: this.#options.prefix,
      reason,
    });
    this.#deps.client.forgetToken();
    this.#handle({ kind: "ended" });
  }

  async #confirm(delivered: number): Promise<void> {
    try {
      const revision = await this.#deps.client.revision();
      if (!this.#closed) this.#handle({ kind: "confirmed", delivered, revision });
    } catch (error) {
      if (this.#closed) return;
      this.#leave();
      this.#ended(messageOf(error));
    }
  }
}
