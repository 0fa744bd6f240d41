// ServerConnection: one client of a peer: its handshake, its requests handed to the store in the order they came, its
// answers in the order the store gives them.
//
// Requests and unsent answers are bounded: beyond the window the socket is not read, so a client that asks faster than it
// is served, or does not take its answers, slows itself and nobody else. Whatever comes that is not the protocol
// ends this connection and no other.

import type { Clock, Connection, ConnectionHandlers, Counter, MemoryBudget } from "#host";
import type { UserRequest } from "#model";
import { AssertionFailure, isTorusError, messageOf, TorusError } from "#model";
import type { Served } from "./request-handling.ts";
import { answerBytesOf, perform, userRequestOf } from "./request-handling.ts";
import type { Answer } from "./wire/answer-codec.ts";
import { encodeAnswer } from "./wire/answer-codec.ts";
import { encodeError, errorNumbers } from "./wire/error-codec.ts";
import type { FrameScratch, Operation } from "./wire/frame-codec.ts";
import {
  encodeFrameHead,
  frameHeaderBytes,
  operations,
  requestLimits,
  statusOk,
} from "./wire/frame-codec.ts";
import type { FrameMemory } from "./wire/frame-memory.ts";
import type { FrameSink } from "./wire/frame-reader.ts";
import { FrameReader } from "./wire/frame-reader.ts";
import type { Hello, Refusal, Welcome } from "./wire/handshake-codec.ts";
import { decodeHandshake, encodeHandshake } from "./wire/handshake-codec.ts";
import type { Request } from "./wire/request-codec.ts";
import { decodeRequest } from "./wire/request-codec.ts";

export interface ServerConnectionOptions {
  readonly windowRequests: number;
  readonly windowBytes: number;
  readonly handshakeTimeoutMs: number;
  readonly stallTimeoutMs: number;
}

export interface ServerConnectionDeps extends Served {
  readonly clock: Clock;
  /** Shared by all connections: a frame is encoded and copied in one step. */
  readonly scratch: FrameScratch;
  readonly budget: MemoryBudget;
  /** Shared by all connections: what requests lie in, and what was read. */
  readonly memory: FrameMemory;
  readonly greet: (hello: Hello) => Welcome | Refusal;
  /** The store can be trusted no more: drop everyone. */
  readonly poisoned: (reason: string) => void;
  readonly counted: {
    readonly requests: Counter;
    readonly receivedBytes: Counter;
    readonly sentBytes: Counter;
  };
  /** Called once. `error` when the client broke the protocol. */
  readonly ended: (connection: ServerConnection, error: TorusError | null) => void;
}

/** One request in the store's hands. Calls are used again, so that a request costs no closures. */
class ServerCall {
  operation: Operation = operations.ping;
  id = 0;
  weightBytes = 0;
  /** What a user waits for, and since when; null of all else. */
  kind: UserRequest | null = null;
  startedMs = 0;
  /** In which the request's bulk lies. */
  memory: Uint8Array | null = null;
  readonly resolved: (answer: Answer) => void;
  readonly rejected: (error: unknown) => void;

  constructor(connection: ServerConnection) {
    this.resolved = (answer) => connection.answer(this, answer);
    this.rejected = (error) => connection.refuse(this, error);
  }
}

const noBytes = new Uint8Array(0);

export class ServerConnection implements ConnectionHandlers, FrameSink {
  readonly #connection: Connection;
  readonly #options: ServerConnectionOptions;
  readonly #deps: ServerConnectionDeps;
  readonly #reader: FrameReader;
  readonly #idleCalls: ServerCall[] = [];
  readonly #wake = (): void => this.#reconsider();
  readonly #startedMs: number;
  #greeted = false;
  #refused = false;
  #greeting: Uint8Array = noBytes;
  #calls = 0;
  /** Bytes of requests in the store's hands, and of the frame being gathered. */
  #weightBytes = 0;
  #gatheredBytes = 0;
  /** Of answers that were read and have not left. */
  #unsentBytes = 0;
  #paused = false;
  #over = false;
  #receivedSinceCheck = false;
  #quietSinceMs: number;
  #unsentAtCheck = 0;
  #unsentSinceMs: number;

  constructor(
    connection: Connection,
    nowMs: number,
    options: ServerConnectionOptions,
    deps: ServerConnectionDeps,
  ) {
    this.#connection = connection;
    this.#options = options;
    this.#deps = deps;
    this.#reader = new FrameReader(requestLimits, this, deps.memory);
    this.#startedMs = nowMs;
    this.#quietSinceMs = nowMs;
    this.#unsentSinceMs = nowMs;
  }

  get remote(): string {
    return this.#connection.remote;
  }

  get greeted(): boolean {
    return this.#greeted;
  }

  connected(): void {}

  received(chunk: Uint8Array): void {
    if (this.#over || this.#refused) return;
    this.#receivedSinceCheck = true;
    this.#deps.counted.receivedBytes.add(chunk.length);
    try {
      if (this.#greeted) this.#reader.push(chunk);
      else this.#greet(chunk);
    } catch (error) {
      this.#fail(error);
    }
  }

  room(): Uint8Array | null {
    return this.#reader.room();
  }

  drained(): void {
    this.#reconsider();
  }

  closed(): void {
    this.#end(null);
  }

  /** Ends the connection; answers not yet sent are dropped. */
  destroy(): void {
    this.#connection.destroy();
    this.#end(null);
  }

  /** Called now and then: ends a connection that does not greet, stops in the middle of a frame, or takes no answers. */
  check(nowMs: number): void {
    if (this.#receivedSinceCheck || this.#paused) this.#quietSinceMs = nowMs;
    this.#receivedSinceCheck = false;
    const unsentBytes = this.#connection.unsentBytes;
    if (unsentBytes === 0 || unsentBytes < this.#unsentAtCheck) this.#unsentSinceMs = nowMs;
    this.#unsentAtCheck = unsentBytes;
    const { handshakeTimeoutMs, stallTimeoutMs } = this.#options;
    if (!this.#greeted && nowMs - this.#startedMs >= handshakeTimeoutMs) this.destroy();
    else if (this.#reader.midFrame && nowMs - this.#quietSinceMs >= stallTimeoutMs) this.destroy();
    else if (nowMs - this.#unsentSinceMs >= stallTimeoutMs) this.destroy();
  }

  // FrameSink

  admit(frameBytes: number): boolean {
    if (this.#overloaded()) {
      this.#pause();
      return false;
    }
    this.#gatheredBytes = frameBytes;
    this.#take(frameBytes);
    return true;
  }

  frame(
    operation: Operation,
    status: number,
    id: number,
    view: DataView,
    at: number,
    argumentBytes: number,
    bulk: Uint8Array,
    memory: Uint8Array | null,
  ): void {
    if (status !== statusOk) throw new TorusError("protocol", `a request has status ${status}`);
    const request = decodeRequest(operation, view, at, argumentBytes, bulk);
    if (this.#gatheredBytes > 0) {
      this.#give(this.#gatheredBytes);
      this.#gatheredBytes = 0;
    }
    this.#deps.counted.requests.add(1);
    if (operation === operations.ping) {
      this.#send(operation, statusOk, id, 0, noBytes);
    } else {
      const weightBytes = frameHeaderBytes + argumentBytes + bulk.length + answerBytesOf(request);
      this.#start(request, id, weightBytes, memory);
    }
    if (this.#overloaded()) this.#pause();
  }

  // Called by ServerCall.

  answer(call: ServerCall, answer: Answer): void {
    const { operation, id } = call;
    if (call.kind !== null) this.#deps.courtesy?.served(call.kind, call.startedMs);
    if (!this.#over) {
      try {
        const argumentBytes = encodeAnswer(this.#deps.scratch, operation, answer);
        const bulk = operation === operations.read ? (answer as Uint8Array) : noBytes;
        this.#send(operation, statusOk, id, argumentBytes, bulk);
      } catch (error) {
        if (!isTorusError(error)) throw error;
        this.#sendError(operation, id, error);
      }
    }
    // Not before: an answer counts without a gap until the client has taken it.
    this.#finish(call);
    this.#reconsider();
  }

  refuse(call: ServerCall, error: unknown): void {
    // Our own mistakes stop the process: going on with a broken invariant is how data is lost.
    if (error instanceof AssertionFailure) throw error;
    const { operation, id } = call;
    this.#finish(call);
    if (isTorusError(error, "poisoned")) this.#deps.poisoned(error.message);
    if (!this.#over) {
      this.#sendError(operation, id, toldOf(error));
    }
    this.#reconsider();
  }

  #greet(chunk: Uint8Array): void {
    this.#greeting = Buffer.concat([this.#greeting, chunk]);
    const decoded = decodeHandshake(this.#greeting);
    if (decoded === null) return;
    const rest = this.#greeting.subarray(decoded.length);
    this.#greeting = noBytes;
    if (decoded.handshake.kind !== "hello") throw new TorusError("protocol", "its handshake is not a hello");
    const answer = this.#deps.greet(decoded.handshake);
    this.#connection.write(encodeHandshake(answer));
    if (answer.kind === "refusal") {
      // It counts as a connection until the client has closed its side too, or the handshake's time is up.
      this.#refused = true;
      this.#connection.close();
      return;
    }
    this.#greeted = true;
    this.#reader.push(rest);
  }

  #start(request: Request, id: number, weightBytes: number, memory: Uint8Array | null): void {
    const call = this.#idleCalls.pop() ?? new ServerCall(this);
    call.operation = request.operation;
    call.id = id;
    call.weightBytes = weightBytes;
    const { courtesy, clock } = this.#deps;
    call.kind = courtesy === null ? null : userRequestOf(request);
    if (call.kind !== null) call.startedMs = clock.monotonicMs();
    call.memory = memory;
    this.#calls += 1;
    this.#take(weightBytes);
    let answer: Promise<Answer>;
    try {
      answer = perform(this.#deps, request);
    } catch (error) {
      answer = Promise.reject(error);
    }
    answer.then(call.resolved, call.rejected);
  }

  #finish(call: ServerCall): void {
    this.#calls -= 1;
    this.#give(call.weightBytes);
    // The store needs the request's bytes until its promise settles, and not after.
    if (call.memory !== null) this.#deps.memory.give(call.memory);
    call.memory = null;
    this.#idleCalls.push(call);
  }

  #sendError(operation: Operation, id: number, error: TorusError): void {
    const argumentBytes = encodeError(this.#deps.scratch, error);
    this.#send(operation, errorNumbers[error.code], id, argumentBytes, noBytes);
  }

  #send(operation: Operation, status: number, id: number, argumentBytes: number, bulk: Uint8Array): void {
    const head = encodeFrameHead(this.#deps.scratch, operation, status, id, argumentBytes, bulk.length);
    this.#connection.writeCopy(head);
    if (bulk.length > 0) this.#sendBulk(bulk);
    this.#deps.counted.sentBytes.add(head.length + bulk.length);
  }

  /** What was read counts until the client has taken it. */
  #sendBulk(bulk: Uint8Array): void {
    const bytes = bulk.length;
    this.#unsentBytes += bytes;
    this.#deps.budget.take(bytes);
    this.#connection.write(bulk, () => {
      this.#deps.memory.give(bulk);
      if (this.#over) return;
      this.#unsentBytes -= bytes;
      this.#deps.budget.give(bytes);
    });
  }

  #overloaded(): boolean {
    return (
      this.#calls >= this.#options.windowRequests ||
      this.#weightBytes + this.#connection.unsentBytes >= this.#options.windowBytes ||
      this.#deps.budget.full
    );
  }

  #pause(): void {
    if (this.#paused || this.#over) return;
    this.#paused = true;
    this.#reader.stop();
    this.#connection.pause();
    if (this.#deps.budget.full) this.#deps.budget.wait(this.#wake);
  }

  /** Reads on if there is room again. */
  #reconsider(): void {
    if (!this.#paused || this.#over) return;
    if (this.#overloaded()) {
      if (this.#deps.budget.full) this.#deps.budget.wait(this.#wake);
      return;
    }
    this.#paused = false;
    try {
      this.#reader.resume();
    } catch (error) {
      this.#fail(error);
    }
    if (!this.#paused && !this.#over) this.#connection.resume();
  }

  #take(bytes: number): void {
    this.#weightBytes += bytes;
    this.#deps.budget.take(bytes);
  }

  #give(bytes: number): void {
    this.#weightBytes -= bytes;
    this.#deps.budget.give(bytes);
  }

  /** What came is not the protocol. */
  #fail(error: unknown): void {
    if (!isTorusError(error)) throw error;
    this.#connection.destroy();
    this.#end(error);
  }

  #end(error: TorusError | null): void {
    if (this.#over) return;
    this.#over = true;
    this.#reader.stop();
    this.#deps.budget.forget(this.#wake);
    this.#give(this.#gatheredBytes);
    this.#gatheredBytes = 0;
    this.#deps.budget.give(this.#unsentBytes);
    this.#unsentBytes = 0;
    this.#deps.ended(this, error);
  }
}

/** What the client is told of `error`. Its own link is not closed when the store is. */
function toldOf(error: unknown): TorusError {
  if (!isTorusError(error)) return new TorusError("io", `the peer failed within: ${messageOf(error)}`);
  return error.code === "closed"
    ? new TorusError("unavailable", `the peer is stopping: ${error.message}`)
    : error;
}
