// HostedStore: a store and its peer server, as the daemon sees them. One that dies, or does not answer, is a failed peer; the daemon and
// its other peers go on.

import type { Clock } from "#host";
import type { ObservedStore } from "#metadata";
import { TorusError } from "#model";
import type { StoreLine, storeHere } from "./store-line.ts";
import type {
  FromStore,
  StoreAnswer,
  StoreQuestion,
  StoreReady,
  StoreReport,
  StoreStart,
  ToStore,
} from "./store-messages.ts";
import { decodeError } from "./store-messages.ts";

export interface HostedStoreDeps {
  readonly clock: Clock;
  /** It died after it was ready and before it was told to stop. At most once. */
  readonly onFailed: (reason: string) => void;
}

/** A disk that keeps its store waiting longer than this is reported as not answering. */
const reportMsMax = 3000;
const stopMsMax = 15_000;
const answerMsMax = 10_000;

export class HostedStore {
  readonly #deps: HostedStoreDeps;
  readonly #line: StoreLine;
  readonly #started = Promise.withResolvers<StoreReady>();
  readonly #stopped = Promise.withResolvers<void>();
  readonly #questions = new Map<number, (report: StoreReport) => void>();
  readonly #answers = new Map<number, PromiseWithResolvers<StoreAnswer>>();
  #nextRequest = 1;
  #ready = false;
  #stopping = false;
  #failure: string | null = null;
  #last: StoreReport = {
    usedBytes: 0,
    blocks: 0,
    condition: "starting",
    upkeep: null,
    collected: null,
    scrub: null,
    metrics: [],
  };

  /** `open`: where it runs. */
  constructor(start: StoreStart, open: typeof storeHere, deps: HostedStoreDeps) {
    this.#deps = deps;
    // A rejection is for whoever asks; nobody may.
    this.#started.promise.catch(() => {});
    this.#stopped.promise.catch(() => {});
    this.#line = open(start, {
      hear: (message) => this.#hear(message),
      ended: (reason) => this.#end(reason),
    });
  }

  /** Resolves when the peer serves; rejects with why it cannot. */
  get started(): Promise<StoreReady> {
    return this.#started.promise;
  }

  /** What the store says of itself; what it said last, with another condition, when it does not answer. */
  async report(): Promise<StoreReport> {
    if (this.#failure !== null) return { ...this.#last, condition: `failed: ${this.#failure}` };
    const request = this.#nextRequest++;
    const answer = Promise.withResolvers<StoreReport>();
    this.#questions.set(request, answer.resolve);
    const timer = this.#deps.clock.setTimer(reportMsMax, () => {
      answer.resolve({ ...this.#last, condition: "the disk does not answer" });
    });
    this.#tell({ kind: "report", request });
    const report = await answer.promise;
    timer.cancel();
    this.#questions.delete(request);
    return report;
  }

  /** The store behind peer `peer`, to be shown the metadata. */
  observed(peer: string): ObservedStore {
    return {
      peer,
      testify: async (after, limit) => {
        const request = this.#nextRequest++;
        const answer = await this.#ask({ kind: "testify", request, after, limit });
        if (answer.kind !== "testimony") throw unexpected(answer);
        return answer.testimony;
      },
      observe: async (view, proof) => {
        const request = this.#nextRequest++;
        const answer = await this.#ask({ kind: "observe", request, view, proof });
        if (answer.kind !== "observed") throw unexpected(answer);
        return answer.behind;
      },
    };
  }

  async #ask(question: StoreQuestion): Promise<StoreAnswer> {
    if (this.#failure !== null) throw new TorusError("io", `the store failed: ${this.#failure}`);
    const answer = Promise.withResolvers<StoreAnswer>();
    this.#answers.set(question.request, answer);
    const timer = this.#deps.clock.setTimer(answerMsMax, () =>
      answer.reject(new TorusError("timeout", `the store did not answer within ${answerMsMax / 1000} s`)),
    );
    this.#tell(question);
    try {
      return await answer.promise;
    } finally {
      timer.cancel();
      this.#answers.delete(question.request);
    }
  }

  /** Stops serving, makes all durable, closes the store. Rejects when that failed or took too long. */
  async stop(): Promise<void> {
    this.#stopping = true;
    if (this.#failure !== null) return;
    const timer = this.#deps.clock.setTimer(stopMsMax, () => {
      this.#stopped.reject(new TorusError("timeout", `the store did not stop within ${stopMsMax / 1000} s`));
    });
    this.#tell({ kind: "stop" });
    try {
      await this.#stopped.promise;
    } finally {
      timer.cancel();
      await this.#line.close();
    }
  }

  #tell(message: ToStore): void {
    this.#line.tell(message);
  }

  #hear(message: FromStore): void {
    switch (message.kind) {
      case "ready":
        this.#ready = true;
        this.#started.resolve(message);
        return;
      case "failed":
        this.#started.reject(decodeError(message.error));
        return;
      case "report":
        this.#last = message;
        this.#questions.get(message.request)?.(message);
        return;
      case "testimony":
      case "observed":
      case "refused":
        this.#answers.get(message.request)?.resolve(message);
        return;
      case "stopped":
        if (message.error === null) this.#stopped.resolve();
        else this.#stopped.reject(decodeError(message.error));
        return;
    }
  }

  #end(reason: string): void {
    if (this.#failure !== null) return;
    this.#failure = reason;
    const error = new TorusError("io", `the store failed: ${reason}`);
    this.#started.reject(error);
    if (this.#stopping) this.#stopped.reject(error);
    for (const answer of this.#answers.values()) answer.reject(error);
    for (const answer of this.#questions.values()) answer({ ...this.#last, condition: `failed: ${reason}` });
    if (this.#ready && !this.#stopping) this.#deps.onFailed(reason);
  }
}

function unexpected(answer: StoreAnswer): TorusError {
  return answer.kind === "refused"
    ? decodeError(answer.error)
    : new TorusError("protocol", `the store answered with ${answer.kind}`);
}
