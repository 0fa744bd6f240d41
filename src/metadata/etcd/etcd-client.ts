// Calls to a cluster of etcd members: one connection at a time, to a member that has just answered a linearizable read; when
// it fails or falls silent, the next endpoint. Each try has a deadline, each call a total. What cannot be repeated (a
// transaction) is repeated only after failures that certainly did not reach etcd; other failures of it are `timeout`.
//
// While a stream is open, a small linearizable read at the least every `probeMs` shows that its member is alive and has a
// quorum. That is stricter than HTTP/2 pings, which a member cut off from the others answers, and which etcd punishes when
// they come more often than every five seconds.

import type { Clock, Log, Random, Timer } from "#host";
import { sleep } from "#host";
import { isTorusError, messageOf, TorusError } from "#model";
import { serviceClosed } from "../service-limits.ts";
import { Connector } from "./connector.ts";
import type { EtcdTarget } from "./etcd-url.ts";
import type { GrpcStream, StreamHandlers } from "./grpc-channel.ts";
import { GrpcFailure, interrupted } from "./grpc-failure.ts";
import type { Member } from "./member.ts";
import { encodeRange } from "./request-codec.ts";
import { decodeRange, type Header } from "./response-codec.ts";
import { StoreIdentity } from "./store-identity.ts";
import { judge } from "./verdict.ts";

export interface EtcdClientOptions {
  readonly target: EtcdTarget;
  readonly password: string | null;
  /** Deadline of one try. */
  readonly tryMs: number;
  /** Of all tries of a call together. */
  readonly totalMs: number;
  readonly probeMs: number;
}

export interface EtcdClientDeps {
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
}

export interface EtcdCall<Answer> {
  /** Such as /etcdserverpb.KV/Txn. */
  readonly path: string;
  readonly message: Uint8Array;
  /** Doing it twice is as good as once. */
  readonly repeatable: boolean;
  /** For messages, such as "read". */
  readonly what: string;
  decode(bytes: Uint8Array): Answer;
  /** Of a linearizable call: its answer's header, to be checked against what was seen before. */
  headerOf?(answer: Answer): Header;
  readonly totalMs?: number;
}

const backoffMsMin = 20;
const backoffMsMax = 500;
/** Of one call: a token that is refused when it is new will be refused again. */
const authenticationsMax = 2;

export class EtcdClient {
  readonly #options: EtcdClientOptions;
  readonly #deps: EtcdClientDeps;
  readonly #identity: StoreIdentity;
  readonly #connector: Connector;
  #heardMs = Number.NEGATIVE_INFINITY;
  #probeTimer: Timer | null = null;
  #closed = false;

  constructor(options: EtcdClientOptions, deps: EtcdClientDeps) {
    this.#options = options;
    this.#deps = deps;
    this.#identity = new StoreIdentity(options.target.url);
    this.#connector = new Connector(options, { ...deps, identity: this.#identity });
  }

  get url(): string {
    return this.#options.target.url;
  }

  /** Of the etcd cluster that answered. */
  get identity(): string {
    return this.#identity.name;
  }

  /** Why nothing is asked any more; null while all is well. */
  get failure(): TorusError | null {
    return this.#identity.failure;
  }

  /** Rejects with `TorusError`. */
  async call<Answer>(call: EtcdCall<Answer>): Promise<Answer> {
    const { clock, random } = this.#deps;
    const deadlineMs = clock.monotonicMs() + (call.totalMs ?? this.#options.totalMs);
    let authentications = 0;
    for (let count = 0; ; count++) {
      let failure: GrpcFailure;
      let member: Member | null = null;
      try {
        this.#requireUsable();
        member = await this.#connector.member(deadlineMs);
        this.#requireUsable();
        return await this.#try(member, call);
      } catch (error) {
        if (!(error instanceof GrpcFailure)) throw error;
        failure = error;
      }
      const verdict = judge(failure);
      const where = member === null ? "" : `etcd at ${member.name}: `;
      if (member !== null) this.#connector.react(member, verdict, failure.message);
      const again =
        (verdict.unhappened || call.repeatable) &&
        verdict.next !== "never" &&
        !(verdict.next === "authenticate" && ++authentications > authenticationsMax) &&
        !(member === null && failure.lasting);
      const delayMs = count < this.#options.target.endpoints.length ? 0 : backoffMs(count, random);
      if (again && clock.monotonicMs() + delayMs < deadlineMs) {
        if (delayMs > 0) await sleep(clock, delayMs);
        continue;
      }
      throw this.#explain(call, failure, where);
    }
  }

  async #try<Answer>(member: Member, call: EtcdCall<Answer>): Promise<Answer> {
    const since = this.#identity.revision;
    const bytes = await member.call(call.path, call.message, this.#options.tryMs);
    const answer = decodeAnswer(call, bytes);
    if (call.headerOf !== undefined) {
      this.#identity.check(call.headerOf(answer), since, member.name);
      if (member === this.#connector.current) this.#heardMs = this.#deps.clock.monotonicMs();
    }
    return answer;
  }

  #explain<Answer>(call: EtcdCall<Answer>, failure: GrpcFailure, where: string): TorusError {
    const { unhappened, next, code, advice } = judge(failure);
    const text = `${where}${failure.message}${advice === "" ? "" : ` (${advice})`}`;
    const options = { cause: failure };
    if (next === "never" || next === "authenticate") {
      return new TorusError(code, `cannot ${call.what}: ${text}`, {}, options);
    }
    if (unhappened || call.repeatable) {
      return new TorusError(
        "unavailable",
        `cannot ${call.what}: the metadata service ${this.url} does not answer: ${text}`,
        {},
        options,
      );
    }
    return new TorusError(
      "timeout",
      `whether it could ${call.what} is unknown: the metadata service ${this.url} gave no answer: ${text}`,
      {},
      options,
    );
  }

  /** Opens a stream at the current member. Rejects with `TorusError`; the caller tries again. */
  async open(path: string, handlers: StreamHandlers): Promise<GrpcStream> {
    this.#requireUsable();
    try {
      const member = await this.#connector.member(this.#deps.clock.monotonicMs() + this.#options.totalMs);
      this.#requireUsable();
      const stream = member.open(path, {
        message: handlers.message,
        ended: (failure) => {
          const verdict = judge(failure);
          if (verdict.next === "authenticate") this.#connector.react(member, verdict, failure.message);
          handlers.ended(failure);
        },
      });
      this.#armProbe();
      return stream;
    } catch (error) {
      if (!(error instanceof GrpcFailure)) throw error;
      throw new TorusError(
        "unavailable",
        `the metadata service ${this.url}: ${error.message}`,
        {},
        { cause: error },
      );
    }
  }

  /** The token is not valid any more, says a stream. */
  forgetToken(): void {
    this.#connector.forgetToken();
  }

  /** The store's revision now, linearizably. `totalMs`: other than usual. */
  async revision(totalMs?: number): Promise<number> {
    const message = encodeRange({ key: `${this.#options.target.prefix}cluster`, countOnly: true });
    const { header } = await this.call({
      path: "/etcdserverpb.KV/Range",
      message,
      repeatable: true,
      what: "read the metadata",
      decode: decodeRange,
      headerOf: (answer) => answer.header,
      totalMs,
    });
    return header.revision;
  }

  close(): void {
    this.#closed = true;
    this.#probeTimer?.cancel();
    this.#connector.close();
  }

  #armProbe(): void {
    if (this.#probeTimer !== null || this.#closed) return;
    this.#probeTimer = this.#deps.clock.setTimer(this.#options.probeMs, () => {
      this.#probeTimer = null;
      if (this.#connector.current?.hasStreams) void this.#probe();
    });
  }

  async #probe(): Promise<void> {
    try {
      if (this.#deps.clock.monotonicMs() - this.#heardMs >= this.#options.probeMs) await this.revision();
    } catch (error) {
      this.#deps.log.warn("The metadata service cannot be reached; watches wait.", {
        reason: messageOf(error),
      });
    }
    this.#armProbe();
  }

  #requireUsable(): void {
    if (this.#closed) throw serviceClosed(this.url);
    if (this.#identity.failure !== null) throw this.#identity.failure;
  }
}

/** An answer that cannot be read is as good as none: what it says of the outcome is unknown. */
function decodeAnswer<Answer>(call: EtcdCall<Answer>, bytes: Uint8Array): Answer {
  try {
    return call.decode(bytes);
  } catch (error) {
    if (isTorusError(error, "protocol")) throw interrupted(error.message, error);
    throw error;
  }
}

/** Doubles from try to try; half of it random, so that clients in step fall out of it. */
function backoffMs(count: number, random: Random): number {
  const ceiling = Math.min(backoffMsMax, backoffMsMin * 2 ** Math.min(count, 10));
  return ceiling / 2 + (ceiling / 2) * (random.uint32() / 2 ** 32);
}
