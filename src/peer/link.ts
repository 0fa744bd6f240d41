// PeerLink: one connection of a client to a peer, from connecting to its end. It owns the requests sent on it, so that
// an answer can only ever settle a request of the same connection: a peer that restarted in between has forgotten what
// was asked of it, and what it held only in memory.
//
// When the link ends everything sent on it is rejected at once; whether it took effect is then unknown.

import type { Address, Clock, Connect, Connection, ConnectionHandlers } from "#host";
import { isTorusError, messageOf, TorusError } from "#model";
import type { PeerIdentity } from "./greeting.ts";
import { judgeAnswer } from "./greeting.ts";
import type { Outstanding } from "./outstanding.ts";
import { decodeAnswer } from "./wire/answer-codec.ts";
import { decodeError } from "./wire/error-codec.ts";
import type { FrameScratch, Operation } from "./wire/frame-codec.ts";
import { answerLimits, encodeFrameHead, operations, statusOk } from "./wire/frame-codec.ts";
import { FreshMemory } from "./wire/frame-memory.ts";
import type { FrameSink } from "./wire/frame-reader.ts";
import { FrameReader } from "./wire/frame-reader.ts";
import type { Hello } from "./wire/handshake-codec.ts";
import { decodeHandshake, encodeHandshake } from "./wire/handshake-codec.ts";
import { bulkOf, encodeRequest } from "./wire/request-codec.ts";

export interface PeerLinkOptions {
  readonly address: Address;
  /** "peer p at HOST:PORT", for messages. */
  readonly name: string;
  readonly hello: Hello;
  readonly connectTimeoutMs: number;
  readonly pingEveryMs: number;
  readonly silenceMs: number;
}

export interface PeerLinkDeps {
  readonly connect: Connect;
  readonly clock: Clock;
  readonly scratch: FrameScratch;
  /** The peer greeted; throws to end the link. `progressed` follows. */
  readonly greeted: (identity: PeerIdentity) => void;
  /** Requests were settled or sent bytes left: more may be sent. */
  readonly progressed: () => void;
  /** An answer to a request that was given up came after all. */
  readonly late: () => void;
  /** Called once, when all requests of the link were rejected with `error`. */
  readonly ended: (link: PeerLink, error: TorusError) => void;
}

const noBytes = new Uint8Array(0);

/** What has left this process and is still on its way counts as slow, not as silence, down to so many bytes a second. */
const lineBytesPerMsMin = (8 * 2 ** 20) / 1000;
const lineMsMax = 500;

export class PeerLink implements ConnectionHandlers, FrameSink {
  readonly #options: PeerLinkOptions;
  readonly #deps: PeerLinkDeps;
  readonly #connection: Connection;
  readonly #fresh = new FreshMemory();
  readonly #reader = new FrameReader(answerLimits, this, {
    take: (bytes, id) => this.#outstanding.get(id)?.take?.(bytes) ?? this.#fresh.take(bytes),
    give: () => {},
  });
  /** By request id, in the order sent, so also by deadline. */
  readonly #outstanding = new Map<number, Outstanding>();
  #outstandingBytes = 0;
  #lastId = 0;
  #pingId = 0;
  #state: "connecting" | "greeting" | "ready" | "over" = "connecting";
  #greeting: Uint8Array = noBytes;
  #stood = false;
  #version = 0;
  #answered = false;
  readonly #startedMs: number;
  /** Since when something was due and nothing came. */
  #quietSinceMs: number;
  #unsentAtCheck = 0;

  constructor(options: PeerLinkOptions, deps: PeerLinkDeps) {
    this.#options = options;
    this.#deps = deps;
    this.#startedMs = deps.clock.monotonicMs();
    this.#quietSinceMs = this.#startedMs;
    this.#connection = deps.connect(options.address, this);
  }

  get ready(): boolean {
    return this.#state === "ready";
  }

  /** The peer greeted, though the link may be over now. */
  get stood(): boolean {
    return this.#stood;
  }

  /** Something is due from the other side. */
  get busy(): boolean {
    return this.#state !== "ready" || this.#outstanding.size > 0 || this.#pingId !== 0;
  }

  /** It gave an answer: what is behind the address works. */
  get answered(): boolean {
    return this.#answered;
  }

  get outstandingRequests(): number {
    return this.#outstanding.size;
  }

  get outstandingBytes(): number {
    return this.#outstandingBytes;
  }

  get unsentBytes(): number {
    return this.#connection.unsentBytes;
  }

  /** Sends a request; the link is ready. The answer, or the link's end, settles it. */
  send(item: Outstanding): void {
    if (this.#outstanding.size === 0) this.#quietSinceMs = this.#deps.clock.monotonicMs();
    const id = this.#nextId();
    const { request } = item;
    const bulk = bulkOf(request);
    const argumentBytes = encodeRequest(this.#deps.scratch, request, this.#version);
    this.#connection.writeCopy(
      encodeFrameHead(this.#deps.scratch, request.operation, statusOk, id, argumentBytes, bulk.length),
    );
    if (bulk.length > 0) this.#connection.write(bulk);
    this.#outstanding.set(id, item);
    this.#outstandingBytes += item.weightBytes;
  }

  /** Asks for a sign of life, unless one is asked for already. */
  ping(): void {
    if (this.#pingId !== 0 || this.#state !== "ready") return;
    if (this.#outstanding.size === 0) this.#quietSinceMs = this.#deps.clock.monotonicMs();
    this.#pingId = this.#nextId();
    this.#connection.writeCopy(
      encodeFrameHead(this.#deps.scratch, operations.ping, statusOk, this.#pingId, 0, 0),
    );
  }

  /**
   * Gives up requests whose deadline passed and asks for, or misses, signs of life. `idlePings`: also while nothing is
   * outstanding.
   */
  check(nowMs: number, idlePings: boolean): void {
    const { connectTimeoutMs, silenceMs, pingEveryMs, name } = this.#options;
    if (this.#state === "connecting" || this.#state === "greeting") {
      if (nowMs - this.#startedMs < connectTimeoutMs) return;
      const what = this.#state === "connecting" ? "did not accept the connection" : "did not greet";
      this.#end(new TorusError("unavailable", `${name} ${what} within ${connectTimeoutMs} ms`));
      return;
    }
    this.#expire(nowMs);
    const unsentBytes = this.#connection.unsentBytes;
    if (unsentBytes < this.#unsentAtCheck) this.#quietSinceMs = nowMs;
    this.#unsentAtCheck = unsentBytes;
    const due = this.#outstanding.size > 0 || this.#pingId !== 0;
    const quietMs = nowMs - this.#quietSinceMs;
    const lineMs = Math.min(lineMsMax, this.#outstandingBytes / lineBytesPerMsMin);
    if (due && quietMs >= silenceMs + lineMs) {
      const silentMs = Math.round(quietMs);
      this.#end(new TorusError("unavailable", `${name} was silent for ${silentMs} ms`, { silentMs }));
    } else if ((due || idlePings) && quietMs >= pingEveryMs) {
      this.ping();
    }
  }

  /** This process did not run for a while: what came meanwhile has not been read yet, so nobody was silent. */
  forgiveSilence(nowMs: number): void {
    this.#quietSinceMs = nowMs;
  }

  destroy(error: TorusError): void {
    this.#end(error);
  }

  // ConnectionHandlers

  connected(): void {
    if (this.#state !== "connecting") return;
    this.#state = "greeting";
    this.#connection.write(encodeHandshake(this.#options.hello));
  }

  received(chunk: Uint8Array): void {
    if (this.#state === "over") return;
    this.#quietSinceMs = this.#deps.clock.monotonicMs();
    try {
      if (this.#state === "ready") this.#reader.push(chunk);
      else this.#greet(chunk);
    } catch (error) {
      if (!isTorusError(error)) throw error;
      this.#end(new TorusError(error.code, `${this.#options.name} cannot be used: ${error.message}`));
    }
    if (this.ready) this.#deps.progressed();
  }

  room(): Uint8Array | null {
    return this.#reader.room();
  }

  drained(): void {
    if (this.ready) this.#deps.progressed();
  }

  closed(reason: Error | null): void {
    const { name } = this.#options;
    const why = reason === null ? "it closed the connection" : messageOf(reason);
    const what = {
      connecting: `${name} cannot be reached: ${why}`,
      greeting: `${name} did not greet: ${why}`,
      ready: `the connection to ${name} was lost: ${why}`,
      over: "",
    }[this.#state];
    this.#end(new TorusError("unavailable", what));
  }

  // FrameSink

  admit(): boolean {
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
  ): void {
    this.#answered = true;
    if (operation === operations.ping && id === this.#pingId) {
      this.#pingId = 0;
      return;
    }
    const item = this.#outstanding.get(id);
    if (item === undefined) {
      this.#deps.late();
      return;
    }
    if (item.request.operation !== operation) {
      throw new TorusError("protocol", `it answered operation ${item.request.operation} with ${operation}`);
    }
    // Decoded before it is taken off the table: what cannot be decoded is rejected with the rest.
    if (status === statusOk) {
      const answer = decodeAnswer(item.request, view, at, argumentBytes, bulk);
      this.#take(id, item);
      item.resolve(answer);
    } else {
      const error = decodeError(status, view, at, argumentBytes);
      this.#take(id, item);
      item.reject(error);
    }
  }

  #greet(chunk: Uint8Array): void {
    this.#greeting = Buffer.concat([this.#greeting, chunk]);
    const decoded = decodeHandshake(this.#greeting);
    if (decoded === null) return;
    const rest = this.#greeting.subarray(decoded.length);
    this.#greeting = noBytes;
    const identity = judgeAnswer(this.#options.hello, decoded.handshake);
    this.#deps.greeted(identity);
    this.#version = identity.version;
    this.#state = "ready";
    this.#stood = true;
    this.#reader.push(rest);
  }

  #nextId(): number {
    do this.#lastId = this.#lastId === 0xffffffff ? 1 : this.#lastId + 1;
    while (this.#outstanding.has(this.#lastId));
    return this.#lastId;
  }

  #take(id: number, item: Outstanding): void {
    this.#outstanding.delete(id);
    this.#outstandingBytes -= item.weightBytes;
  }

  #expire(nowMs: number): void {
    let unsentBulk = false;
    for (const [id, item] of this.#outstanding) {
      if (item.deadlineMs > nowMs) break;
      this.#take(id, item);
      unsentBulk ||= bulkOf(item.request).length > 0 && this.#connection.unsentBytes > 0;
      item.reject(
        new TorusError("timeout", `${this.#options.name} did not answer in time; the outcome is unknown`),
      );
    }
    // Its owner may now reuse bytes that are still waiting to be sent: they must not leave in another form.
    if (unsentBulk) {
      this.#end(new TorusError("unavailable", `${this.#options.name} did not take what was sent in time`));
    }
    this.#deps.progressed();
  }

  #end(error: TorusError): void {
    if (this.#state === "over") return;
    this.#state = "over";
    this.#reader.stop();
    this.#connection.destroy();
    const items = [...this.#outstanding.values()];
    this.#outstanding.clear();
    this.#outstandingBytes = 0;
    for (const item of items) item.reject(error);
    this.#deps.ended(this, error);
  }
}
