// Transmission: serves one connection's requests on one device. Requests go to the device as they arrive, any number
// at once up to the limits, and are answered as they finish, in any order.
//
// Invariants: every request gets exactly one reply unless the connection is gone; success is only ever said for a
// call of the device that resolved; beyond the limits the socket is not read, so a client can make us hold only so
// much. A request in flight is a slot that is used again: per request there is one promise, and nothing else new.

import type { Socket } from "node:net";
import type { Counter, Log, MemoryBudget, Metrics, ReusedMemory } from "#host";
import type { TakeMemory } from "#model";
import { AssertionFailure, isTorusError, messageOf } from "#model";
import type { BlockDevice } from "#volume";
import type { StatusRequest } from "./block-status.ts";
import { blockStatus, readStatusRequest, statusBytesMax } from "./block-status.ts";
import { errno, requestErrno } from "./errors.ts";
import { cacheHintBytesMax, inFlightBytesMax, inFlightRequestsMax } from "./limits.ts";
import type { MetaContext } from "./meta-contexts.ts";
import type { HeaderStyle, NbdRequest } from "./nbd-codec.ts";
import { command, commandFlag } from "./nbd-codec.ts";
import type { ReplySocket } from "./outbox.ts";
import { Outbox } from "./outbox.ts";
import type { RequestName } from "./reply-codec.ts";
import { chunkType } from "./reply-codec.ts";
import type { ServedExport } from "./transmission-machine.ts";
import { checkRequest, TransmissionMachine } from "./transmission-machine.ts";

/** Counters of all connections of a server. */
export class TransmissionMetrics {
  readonly reads: Counter;
  readonly readBytes: Counter;
  readonly writes: Counter;
  readonly writeBytes: Counter;
  readonly flushes: Counter;
  readonly trims: Counter;
  readonly zeroes: Counter;
  readonly statuses: Counter;
  readonly errors: Counter;
  readonly garbage: Counter;
  readonly encrypted: Counter;
  readonly tlsFailures: Counter;

  constructor(metrics: Metrics) {
    this.reads = metrics.counter("torus_nbd_reads_total", "READ requests");
    this.readBytes = metrics.counter("torus_nbd_read_bytes_total", "Bytes asked for by READ requests");
    this.writes = metrics.counter("torus_nbd_writes_total", "WRITE requests");
    this.writeBytes = metrics.counter("torus_nbd_written_bytes_total", "Bytes sent by WRITE requests");
    this.flushes = metrics.counter("torus_nbd_flushes_total", "FLUSH requests");
    this.trims = metrics.counter("torus_nbd_trims_total", "TRIM requests");
    this.zeroes = metrics.counter("torus_nbd_write_zeroes_total", "WRITE_ZEROES requests");
    this.statuses = metrics.counter("torus_nbd_block_statuses_total", "BLOCK_STATUS requests");
    this.errors = metrics.counter("torus_nbd_request_errors_total", "Requests answered with an error");
    this.garbage = metrics.counter(
      "torus_nbd_garbage_total",
      "Connections closed because the other side did not speak the protocol",
    );
    this.encrypted = metrics.counter("torus_nbd_tls_total", "Connections that TLS protects");
    this.tlsFailures = metrics.counter("torus_nbd_tls_failures_total", "Connections on which TLS failed");
  }
}

export interface TransmissionOptions {
  readonly style: HeaderStyle;
  readonly contexts: readonly MetaContext[];
}

/** What a device gave: data, or the payloads of chunks. */
type Answer = Uint8Array | readonly Buffer[] | void;

export interface TransmissionDeps {
  readonly socket: ReplySocket & Pick<Socket, "pause" | "resume">;
  readonly device: BlockDevice;
  /** Of all connections of a server. */
  readonly memory: ReusedMemory;
  /** What requests and replies of all connections may take; beyond it no socket is read. */
  readonly budget: MemoryBudget;
  readonly log: Log;
  readonly metrics: TransmissionMetrics;
  /** Called once: no more requests will be served and none is in flight. Replies may still wait in the socket. */
  readonly onFinished: () => void;
}

export class Transmission {
  readonly #socket: TransmissionDeps["socket"];
  readonly #device: BlockDevice;
  readonly #log: Log;
  readonly #metrics: TransmissionMetrics;
  readonly #onFinished: () => void;
  readonly #served: ServedExport;
  readonly #machine: TransmissionMachine;
  readonly #outbox: Outbox;
  readonly #budget: MemoryBudget;
  readonly #wake = (): void => this.#goOn();
  readonly #take: TakeMemory;
  readonly #free: Slot[] = [];
  #inFlight = 0;
  #inFlightBytes = 0;
  /** What the machine has taken for a payload. */
  #assemblyBytes = 0;
  #ending = false;
  #finished = false;
  #errorLogged = false;
  /** The machine may hold requests that were not looked at for want of room. */
  #stalled = false;

  constructor(options: TransmissionOptions, deps: TransmissionDeps) {
    this.#socket = deps.socket;
    this.#device = deps.device;
    this.#log = deps.log;
    this.#metrics = deps.metrics;
    this.#onFinished = deps.onFinished;
    this.#served = servedExport(deps.device, options);
    const { socket, memory, budget } = deps;
    this.#machine = new TransmissionMachine(options.style, memory);
    this.#budget = budget;
    this.#outbox = new Outbox(options, { socket, memory, budget, onTaken: this.#wake });
    this.#take = (bytes) => memory.take(bytes);
  }

  /** Bytes of the client, of which nothing is kept. Not to be called while the socket is paused. */
  receive(chunk: Buffer): void {
    if (this.#ending) return;
    this.#machine.push(chunk);
    this.#pump();
    this.#machine.keepRest();
  }

  /** Where the next bytes should be received; null when it does not matter. To be asked anew after each `receive`. */
  room(): Uint8Array | null {
    return this.#ending ? null : this.#machine.room();
  }

  /** Takes no further request; those in flight are answered. */
  end(): void {
    if (this.#ending) return;
    this.#ending = true;
    this.#budget.forget(this.#wake);
    this.#finishIfIdle();
  }

  /** A slot's request is over; its reply has gone to the outbox. */
  settle(slot: Slot): void {
    this.#inFlight -= 1;
    this.#inFlightBytes -= slot.heldBytes;
    this.#budget.give(slot.heldBytes);
    this.#free.push(slot);
    if (this.#ending) this.#finishIfIdle();
    else if (this.#stalled) this.#goOn();
  }

  succeed(slot: Slot, answer: Answer): void {
    if (slot.type === command.read) this.#sendData(slot, answer as Uint8Array | undefined);
    else if (slot.type === command.blockStatus) this.#sendStatus(slot, answer as readonly Buffer[]);
    else this.#outbox.success(slot);
  }

  #sendData(slot: Slot, data: Uint8Array | undefined): void {
    if (data?.length === slot.length) this.#outbox.data(slot, slot.offset, data, slot.whole);
    else
      this.fail(
        slot,
        new AssertionFailure("assertion failed: a device reads as many bytes as it was asked for"),
      );
  }

  #sendStatus(slot: Slot, payloads: readonly Buffer[]): void {
    const type = this.#served.style === "extended" ? chunkType.blockStatusExtended : chunkType.blockStatus;
    const last = payloads.length - 1;
    for (const [index, payload] of payloads.entries())
      this.#outbox.chunk(slot, type, payload, index === last);
  }

  fail(slot: Slot, error: unknown): void {
    const code = isTorusError(error) ? requestErrno(error.code) : errno.io;
    this.#refuse(slot, code, messageOf(error));
    if (error instanceof AssertionFailure) throw error;
    if (this.#errorLogged) return;
    this.#errorLogged = true;
    this.#log.warn("A request failed; further ones of this connection are only counted.", {
      command: slot.type,
      offset: slot.offset,
      length: slot.length,
      error: isTorusError(error) ? error.message : error,
    });
  }

  #pump(): void {
    this.#stalled = false;
    while (!this.#ending) {
      if (this.#isFull()) {
        this.#stalled = true;
        this.#socket.pause();
        this.#awaitBudget();
        return;
      }
      const event = this.#machine.next();
      this.#countAssembly();
      if (event === "request") this.#serveNext();
      else if (event === "more") return;
      else {
        this.#metrics.garbage.add(1);
        this.#log.debug("The client sent something that is not an NBD request.");
        this.end();
      }
    }
  }

  #awaitBudget(): void {
    if (this.#budget.full) this.#budget.wait(this.#wake);
  }

  #countAssembly(): void {
    const { assemblyBytes } = this.#machine;
    if (assemblyBytes === this.#assemblyBytes) return;
    this.#budget.take(assemblyBytes);
    this.#budget.give(this.#assemblyBytes);
    this.#assemblyBytes = assemblyBytes;
  }

  /** What a payload takes is taken when it begins: it must not wait for others, who may wait for it. */
  #isFull(): boolean {
    return (
      (this.#budget.full && !this.#machine.isAssembling) ||
      this.#inFlight >= inFlightRequestsMax ||
      this.#inFlightBytes >= inFlightBytesMax ||
      this.#outbox.waitingBytes >= inFlightBytesMax
    );
  }

  /** There may be room again: first what is here, then what the socket has. */
  #goOn(): void {
    if (!this.#stalled || this.#ending) return;
    if (this.#isFull()) {
      this.#awaitBudget();
      return;
    }
    this.#pump();
    if (!this.#stalled && !this.#ending) this.#socket.resume();
  }

  /** The device has copied what it wants of the payload when it returns. */
  #serveNext(): void {
    this.#serve(this.#machine.request);
    this.#machine.release();
    this.#countAssembly();
  }

  #serve(request: NbdRequest): void {
    if (request.type === command.disconnect) {
      this.end();
      return;
    }
    const refusal = checkRequest(request, this.#served);
    const status =
      request.type === command.blockStatus && refusal === errno.none
        ? readStatusRequest(request, this.#machine.payload, this.#served)
        : undefined;
    if (refusal !== errno.none || status === null) {
      const code = refusal || errno.invalid;
      this.#refuse(request, code, refusalMessage(request, code, this.#served));
      return;
    }
    const slot = this.#free.pop() ?? new Slot(this);
    slot.begin(request, status);
    this.#inFlight += 1;
    this.#inFlightBytes += slot.heldBytes;
    this.#budget.take(slot.heldBytes);
    let done: Promise<Answer>;
    try {
      done = this.#start(request, slot, status);
    } catch (error) {
      done = Promise.reject(error);
    }
    done.then(slot.onDone, slot.onError);
  }

  #start(request: NbdRequest, slot: Slot, status: StatusRequest | undefined): Promise<Answer> {
    const { type, offset, length } = request;
    const fua = (request.flags & commandFlag.fua) !== 0;
    switch (type) {
      case command.read:
        this.#metrics.reads.add(1);
        this.#metrics.readBytes.add(length);
        return this.#device.read(offset, length, this.#take);
      case command.write:
        this.#metrics.writes.add(1);
        this.#metrics.writeBytes.add(length);
        return this.#device.write(offset, this.#machine.payload, fua);
      case command.flush:
        this.#metrics.flushes.add(1);
        return this.#device.flush();
      case command.trim:
        this.#metrics.trims.add(1);
        return this.#device.trim(offset, length, fua);
      case command.writeZeroes:
        this.#metrics.zeroes.add(1);
        return this.#device.writeZeroes(offset, length, fua);
      case command.blockStatus:
        this.#metrics.statuses.add(1);
        return blockStatus(status as StatusRequest, this.#served.style === "extended", this.#device);
      default:
        return this.#device.read(offset, slot.heldBytes); // CACHE: a read that nobody takes
    }
  }

  #refuse(to: RequestName, code: number, message: string): void {
    this.#metrics.errors.add(1);
    this.#outbox.error(to, code, message);
  }

  #finishIfIdle(): void {
    if (this.#inFlight > 0 || this.#finished) return;
    this.#finished = true;
    this.#machine.abandon();
    this.#countAssembly();
    this.#outbox.flush();
    this.#onFinished();
  }
}

/** A request in flight. */
class Slot {
  type = 0;
  cookieHigh = 0;
  cookieLow = 0;
  offset = 0;
  offsetHigh = 0;
  offsetLow = 0;
  length = 0;
  /** A READ wants one chunk. */
  whole = false;
  /** Memory that the request may take until it is answered. */
  heldBytes = 0;
  readonly onDone: (answer: Answer) => void;
  readonly onError: (error: unknown) => void;

  constructor(owner: Transmission) {
    this.onDone = (answer) => {
      try {
        owner.succeed(this, answer);
      } finally {
        owner.settle(this);
      }
    };
    this.onError = (error) => {
      try {
        owner.fail(this, error);
      } finally {
        owner.settle(this);
      }
    };
  }

  begin(request: NbdRequest, status: StatusRequest | undefined): void {
    this.type = request.type;
    this.cookieHigh = request.cookieHigh;
    this.cookieLow = request.cookieLow;
    this.offset = request.offset;
    this.offsetHigh = request.offsetHigh;
    this.offsetLow = request.offsetLow;
    this.length = request.length;
    this.whole = (request.flags & commandFlag.df) !== 0;
    this.heldBytes = status === undefined ? heldBytes(request) : statusBytesMax(status);
  }
}

/** A device may get another size while it is served. */
function servedExport(device: BlockDevice, options: TransmissionOptions): ServedExport {
  return {
    ...options,
    readOnly: device.info.readOnly,
    get sizeBytes() {
      return device.info.sizeBytes;
    },
  };
}

function heldBytes({ type, length }: NbdRequest): number {
  if (type === command.read || type === command.write) return length;
  return type === command.cache ? Math.min(length, cacheHintBytesMax) : 0;
}

function refusalMessage(
  { type, flags, offset, length }: NbdRequest,
  code: number,
  served: ServedExport,
): string {
  const what = `command ${type} (flags ${flags}) of ${length} bytes at ${offset}`;
  if (code === errno.permission) return `${what}: this export is read-only`;
  return `${what} is not possible on an export of ${served.sizeBytes} bytes`;
}
