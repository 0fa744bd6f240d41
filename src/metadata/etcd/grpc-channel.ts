// One HTTP/2 connection to one server, and gRPC calls on it: unary ones, each with a deadline, and streams both ways. A call
// that fails says whether it was certainly not looked at (grpc-failure.ts). A channel never repeats and never reconnects: who
// holds it makes a new one. `retire` lets calls under way finish, ends streams, and takes nothing new.

import type { ClientHttp2Session, ClientHttp2Stream } from "node:http2";
import type { Clock, Timer } from "#host";
import { messageOf, TorusError } from "#model";
import { type ConnectionError, explainConnection, unspoken } from "./connection-error.ts";
import { GrpcAnswer } from "./grpc-answer.ts";
import { encodeMessage, encodeTimeout, grpcStatus, MessageReader } from "./grpc-codec.ts";
import { GrpcFailure, interrupted, unsent } from "./grpc-failure.ts";

export interface TlsMaterial {
  readonly ca: Uint8Array | null;
  readonly cert: Uint8Array | null;
  readonly key: Uint8Array | null;
}

export interface ChannelOptions {
  readonly host: string;
  readonly port: number;
  /** null: no TLS. */
  readonly tls: TlsMaterial | null;
  readonly connectMs: number;
}

export interface ChannelDeps {
  readonly clock: Clock;
}

export interface GrpcCall {
  /** Such as /etcdserverpb.KV/Txn. */
  readonly path: string;
  readonly message: Uint8Array;
  readonly headers: Readonly<Record<string, string>>;
  /** Without a byte of the answer; while it comes in, up to `answerMsMax`. */
  readonly timeoutMs: number;
}

export interface StreamHandlers {
  message(message: Uint8Array): void;
  /** Once, nothing follows. Not after `close`. */
  ended(failure: GrpcFailure): void;
}

export interface GrpcStream {
  send(message: Uint8Array): void;
  close(): void;
}

const streamWindowBytes = 1024 * 1024;
const connectionWindowBytes = 16 * 1024 * 1024;
const sessionMegabytesMax = 64;
const answerMsMax = 60_000;
const callsMax = 1024;
/** RFC 9113, section 7: CANCEL. */
const cancelled = 0x8;

export class GrpcChannel {
  readonly #session: ClientHttp2Session;
  readonly #secure: boolean;
  readonly #clock: Clock;
  readonly #streams = new Set<(failure: GrpcFailure) => void>();
  #calls = 0;
  #usable = true;
  #reason: ConnectionError;
  #onRetired: (() => void) | null = null;

  /** Rejects with a `GrpcFailure` that is `unsent`. */
  static async connect(options: ChannelOptions, deps: ChannelDeps): Promise<GrpcChannel> {
    // Only here: it takes 12 MiB, which a thread whose metadata is elsewhere has no use for.
    const { connect } = await import("node:http2");
    const { host, port, tls, connectMs } = options;
    const authority = `${tls === null ? "http" : "https"}://${host.includes(":") ? `[${host}]` : host}:${port}`;
    return new Promise((resolve, reject) => {
      let timer: Timer | null = null;
      let session: ClientHttp2Session;
      const fail = (failure: GrpcFailure): void => {
        timer?.cancel();
        session?.destroy();
        reject(failure);
      };
      try {
        session = connect(authority, {
          ...(tls === null
            ? {}
            : { ca: own(tls.ca), cert: own(tls.cert), key: own(tls.key), minVersion: "TLSv1.2" as const }),
          settings: { enablePush: false, initialWindowSize: streamWindowBytes },
          maxSessionMemory: sessionMegabytesMax,
        });
      } catch (error) {
        // A certificate or key that cannot be parsed.
        reject(new GrpcFailure(grpcStatus.unavailable, messageOf(error), { unsent: true, lasting: true }));
        return;
      }
      timer = deps.clock.setTimer(connectMs, () =>
        fail(unsent(`no connection within ${connectMs / 1000} s`)),
      );
      // For as long as it lives: an error nobody listens to would end the process.
      session.on("error", (error) => fail(notConnected(explainConnection(error, tls !== null), error)));
      session.once("close", () => fail(unsent("the connection was closed while it was made")));
      session.once("connect", () => {
        // Node tells of the connection also when it was given up just before.
        if (session.destroyed) return;
        timer.cancel();
        session.setLocalWindowSize(connectionWindowBytes);
        resolve(new GrpcChannel(session, tls !== null, deps));
      });
    });
  }

  private constructor(session: ClientHttp2Session, secure: boolean, deps: ChannelDeps) {
    this.#session = session;
    this.#secure = secure;
    this.#reason = unspoken(secure);
    session.once("remoteSettings", () => {
      this.#reason = { text: "the connection was closed", lasting: false };
    });
    this.#clock = deps.clock;
    session.on("error", (error) => {
      // In TLS 1.3 a server refuses our certificate when the connection already seems to stand.
      this.#reason = explainConnection(error, secure);
    });
    session.on("goaway", () => this.retire("the server is closing the connection"));
    session.on("close", () => this.retire(this.#reason.text));
  }

  /** Takes calls. */
  get usable(): boolean {
    return this.#usable;
  }

  get hasStreams(): boolean {
    return this.#streams.size > 0;
  }

  /** Called once, when it takes no more calls. */
  onRetired(callback: () => void): void {
    this.#onRetired = callback;
    if (!this.#usable) callback();
  }

  /** Rejects with `GrpcFailure`, also for a status other than 0; `unavailable` when too many calls wait. */
  unary(call: GrpcCall): Promise<Uint8Array> {
    return new Promise((resolve, reject) => {
      if (this.#calls >= callsMax) {
        reject(
          new TorusError(
            "unavailable",
            `${callsMax} calls to etcd wait for an answer: this one was not sent`,
          ),
        );
        return;
      }
      const stream = this.#request(call.path, {
        ...call.headers,
        "grpc-timeout": encodeTimeout(call.timeoutMs),
      });
      if (stream instanceof GrpcFailure) {
        reject(stream);
        return;
      }
      this.#calls += 1;
      const answer = new GrpcAnswer();
      const deadline = new AnswerDeadline(call.timeoutMs, this.#clock, (waitedMs) => {
        stream.close(cancelled);
        settle(new GrpcFailure(grpcStatus.deadlineExceeded, `no answer within ${Math.round(waitedMs)} ms`));
      });
      const settle = (outcome: Uint8Array | GrpcFailure): void => {
        if (!answer.settle()) return;
        deadline.cancel();
        this.#calls -= 1;
        if (outcome instanceof GrpcFailure) reject(outcome);
        else resolve(outcome);
        if (!this.#usable) this.#destroyWhenIdle();
      };
      stream.on("response", (headers) => answer.headers(headers));
      stream.on("trailers", (headers) => answer.trailers(headers));
      stream.on("data", (chunk: Uint8Array) => {
        deadline.heard();
        const failure = answer.data(chunk);
        if (failure === null) return;
        stream.close(cancelled);
        settle(failure);
      });
      stream.on("error", (error) => answer.error(explainConnection(error, this.#secure)));
      stream.on("close", () => settle(answer.outcome(stream.rstCode ?? 0, this.#reason)));
      stream.end(encodeMessage(call.message));
    });
  }

  /** A stream both ways. Throws `GrpcFailure`, unsent. */
  open(path: string, headers: Readonly<Record<string, string>>, handlers: StreamHandlers): GrpcStream {
    const stream = this.#request(path, headers);
    if (stream instanceof GrpcFailure) throw stream;
    const answer = new GrpcAnswer();
    const messages = new MessageReader();
    const end = (failure: GrpcFailure): void => {
      if (!answer.settle()) return;
      this.#streams.delete(end);
      stream.close(cancelled);
      handlers.ended(failure);
    };
    this.#streams.add(end);
    stream.on("response", (received) => answer.headers(received));
    stream.on("trailers", (received) => answer.trailers(received));
    stream.on("data", (chunk: Uint8Array) => {
      let complete: Uint8Array[];
      try {
        complete = messages.push(chunk);
      } catch (error) {
        end(interrupted(messageOf(error), error));
        return;
      }
      for (const message of complete) if (!answer.settled) handlers.message(message);
    });
    stream.on("error", (error) => answer.error(explainConnection(error, this.#secure)));
    stream.on("close", () => end(answer.ending(stream.rstCode ?? 0, this.#reason)));
    return {
      send: (message) => {
        if (!answer.settled && stream.writable) stream.write(encodeMessage(message));
      },
      close: () => {
        if (!answer.settle()) return;
        this.#streams.delete(end);
        stream.close(cancelled);
        if (!this.#usable) this.#destroyWhenIdle();
      },
    };
  }

  retire(reason: string): void {
    if (!this.#usable) return;
    this.#usable = false;
    this.#reason = { text: reason, lasting: this.#reason.lasting };
    for (const end of [...this.#streams]) end(interrupted(reason));
    this.#onRetired?.();
    this.#destroyWhenIdle();
  }

  /** Ends it at once; calls under way fail. */
  close(): void {
    this.retire("the metadata service was closed");
    this.#session.destroy();
  }

  #destroyWhenIdle(): void {
    if (this.#calls === 0 && !this.#session.destroyed) this.#session.destroy();
  }

  #request(path: string, headers: Readonly<Record<string, string>>): ClientHttp2Stream | GrpcFailure {
    if (!this.#usable) return unsent(this.#reason.text);
    try {
      return this.#session.request({
        ":method": "POST",
        ":path": path,
        "content-type": "application/grpc",
        te: "trailers",
        ...headers,
      });
    } catch (error) {
      return unsent(messageOf(error), error);
    }
  }
}

/** Of one call: `timeoutMs` of silence, and `answerMsMax` in all. */
class AnswerDeadline {
  readonly #timeoutMs: number;
  readonly #clock: Clock;
  readonly #late: (waitedMs: number) => void;
  readonly #startMs: number;
  #heardMs: number;
  #timer: Timer;

  constructor(timeoutMs: number, clock: Clock, late: (waitedMs: number) => void) {
    this.#timeoutMs = timeoutMs;
    this.#clock = clock;
    this.#late = late;
    this.#startMs = clock.monotonicMs();
    this.#heardMs = this.#startMs;
    this.#timer = clock.setTimer(timeoutMs, () => this.#check());
  }

  heard(): void {
    this.#heardMs = this.#clock.monotonicMs();
  }

  cancel(): void {
    this.#timer.cancel();
  }

  #check(): void {
    const nowMs = this.#clock.monotonicMs();
    const leftMs = Math.min(this.#heardMs + this.#timeoutMs, this.#startMs + answerMsMax) - nowMs;
    if (leftMs > 0) this.#timer = this.#clock.setTimer(leftMs, () => this.#check());
    else this.#late(nowMs - this.#startMs);
  }
}

function notConnected({ text, lasting }: ConnectionError, cause: unknown): GrpcFailure {
  return new GrpcFailure(grpcStatus.unavailable, text, { unsent: true, lasting, cause });
}

function own(bytes: Uint8Array | null): Buffer | undefined {
  return bytes === null ? undefined : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
}
