// A simulated connection: two ends, and a pipe each way that carries bytes late, in pieces, in order, or not at all.
//
// It holds its users to their word: bytes given to `write` are summed then and when they leave, and must be the same; bytes that were
// received are spoilt when the receiver returns.

import type { Clock, Connection, ConnectionHandlers } from "#host";
import { assert, crc32 } from "#model";

/** What a pipe needs of the network it is part of. */
export interface PipeNetwork {
  readonly clock: Clock;
  latencyMs(source: string, target: string): number;
  /** Length of the next piece of `bytes` that arrives at once. */
  pieceBytes(bytes: number): number;
  /** Nothing passes from `source` to `target` now. */
  parted(source: string, target: string): boolean;
  /** The end of a connection drops what is on its way, or lets it arrive first. */
  dropsOnDestroy(): boolean;
}

interface PipeItem {
  readonly dueMs: number;
  readonly bytes: Uint8Array | null;
  readonly arrive: () => void;
}

/** What is left in memory that a receiver must not look at any more. */
const spoilt = 0xdb;

/** What a sender may have on its way to a receiver that does not read. */
const pipeBytesMax = 256 * 1024;

/** One direction. */
export class Pipe {
  readonly #network: PipeNetwork;
  readonly #source: string;
  readonly #target: string;
  #items: PipeItem[] = [];
  #bytes = 0;
  #lastDueMs = 0;
  #timerSet = false;
  /** The receiver does not read now; asked before bytes are delivered. */
  held: () => boolean = () => false;
  /** Room was made. */
  moved: () => void = () => {};

  constructor(network: PipeNetwork, source: string, target: string) {
    this.#network = network;
    this.#source = source;
    this.#target = target;
  }

  get full(): boolean {
    return this.#bytes >= pipeBytesMax;
  }

  /** `arrive` runs when all that was sent before has arrived. */
  send(bytes: Uint8Array | null, arrive: () => void): void {
    const dueMs = this.#network.clock.monotonicMs() + this.#network.latencyMs(this.#source, this.#target);
    this.#lastDueMs = Math.max(this.#lastDueMs, dueMs);
    this.#items.push({ dueMs: this.#lastDueMs, bytes, arrive });
    this.#bytes += bytes?.length ?? 0;
    this.pump();
  }

  /** What is on its way is lost. */
  clear(): void {
    this.#items = [];
    this.#bytes = 0;
  }

  /** Delivers what is due, now or when it will be. Called again when a partition heals or the receiver reads on. */
  pump(): void {
    const head = this.#items[0];
    if (head === undefined || this.#timerSet || this.#stuck(head)) return;
    this.#timerSet = true;
    const delayMs = Math.max(0, head.dueMs - this.#network.clock.monotonicMs());
    this.#network.clock.setTimer(delayMs, () => {
      this.#timerSet = false;
      const first = this.#items[0];
      if (first !== undefined && !this.#stuck(first) && first.dueMs <= this.#network.clock.monotonicMs()) {
        this.#items.shift();
        this.#bytes -= first.bytes?.length ?? 0;
        first.arrive();
        this.moved();
      }
      this.pump();
    });
  }

  #stuck(item: PipeItem): boolean {
    return this.#network.parted(this.#source, this.#target) || (item.bytes !== null && this.held());
  }
}

interface Piece {
  readonly bytes: Uint8Array;
  readonly checksum: number;
  readonly left: (() => void) | undefined;
}

export class SimConnection implements Connection {
  readonly remote: string;
  readonly #network: PipeNetwork;
  readonly #out: Pipe;
  readonly #in: Pipe;
  #other: SimConnection | null = null;
  #handlers: ConnectionHandlers | null = null;
  /** Where the next bytes go: asked when the ones before were received, as of real sockets. */
  #room: Uint8Array | null = null;
  #pieces: Piece[] = [];
  #unsentBytes = 0;
  #flushSet = false;
  #paused = false;
  #ending = false;
  #over = false;

  constructor(network: PipeNetwork, remote: string, out: Pipe, back: Pipe) {
    this.#network = network;
    this.remote = remote;
    this.#out = out;
    this.#in = back;
    this.#in.held = () => this.#paused;
    this.#out.moved = () => this.#flush();
  }

  get unsentBytes(): number {
    return this.#unsentBytes;
  }

  get over(): boolean {
    return this.#over;
  }

  attach(handlers: ConnectionHandlers): void {
    this.#handlers = handlers;
    this.#room = handlers.room?.() ?? null;
  }

  join(other: SimConnection): void {
    this.#other = other;
  }

  established(): void {
    if (!this.#over) this.#handlers?.connected();
  }

  write(bytes: Uint8Array, left?: () => void): void {
    if (this.#ending || this.#over || bytes.length === 0) return;
    this.#pieces.push({ bytes, checksum: crc32(bytes), left });
    this.#unsentBytes += bytes.length;
    this.#flushSoon();
  }

  writeCopy(bytes: Uint8Array): void {
    this.write(Uint8Array.from(bytes));
  }

  pause(): void {
    this.#paused = true;
  }

  resume(): void {
    this.#paused = false;
    this.#in.pump();
  }

  close(): void {
    if (this.#ending || this.#over) return;
    this.#ending = true;
    this.#flushSoon();
  }

  destroy(): void {
    if (this.#over) return;
    const reset = this.#network.dropsOnDestroy();
    if (reset) this.#out.clear();
    this.#sendEnd(reset ? new Error("read ECONNRESET") : null);
    this.fail(null);
  }

  /** Ends this end alone, as if `reason` had come from the network. */
  fail(reason: Error | null): void {
    if (this.#over) return;
    this.#over = true;
    this.#pieces = [];
    this.#unsentBytes = 0;
    this.#in.clear();
    const handlers = this.#handlers;
    this.#network.clock.setTimer(0, () => handlers?.closed(reason));
  }

  /** Its process is gone, and hears nothing any more. What is on its way out is lost, or still `arrives`, then its end unless `silent`. */
  die({ arrives, silent }: { readonly arrives: boolean; readonly silent: boolean }): void {
    const wasOver = this.#over;
    this.#handlers = null;
    this.#over = true;
    this.#in.clear();
    if (!arrives) this.#out.clear();
    else if (!silent && !wasOver) this.#sendEnd(new Error("read ECONNRESET"));
  }

  #flushSoon(): void {
    if (this.#flushSet) return;
    this.#flushSet = true;
    this.#network.clock.setTimer(0, () => {
      this.#flushSet = false;
      this.#flush();
    });
  }

  /** Hands what was written to the pipe, as far as it has room. */
  #flush(): void {
    if (this.#over || this.#flushSet) return;
    const before = this.#unsentBytes;
    while (this.#pieces.length > 0 && !this.#out.full) {
      const { bytes, checksum, left } = this.#pieces.shift() as Piece;
      assert(crc32(bytes) === checksum, "bytes do not change between write and drained");
      this.#unsentBytes -= bytes.length;
      this.#sendPieces(Uint8Array.from(bytes));
      left?.();
    }
    if (this.#unsentBytes > 0) return;
    if (this.#ending) {
      this.#sendEnd(null);
      this.fail(null);
    } else if (before > 0) {
      this.#handlers?.drained();
    }
  }

  #sendPieces(bytes: Uint8Array): void {
    for (let at = 0; at < bytes.length; ) {
      const end = Math.min(bytes.length, at + this.#network.pieceBytes(bytes.length - at));
      const piece = Uint8Array.from(bytes.subarray(at, end));
      this.#out.send(piece, () => {
        if (this.#other !== null) this.#other.#deliver(piece);
      });
      at = end;
    }
  }

  /** Hands `piece` on where its receiver wants it, and spoils it then: it may not be kept. */
  #deliver(piece: Uint8Array): void {
    for (let at = 0; at < piece.length && !this.#over && this.#handlers !== null; ) {
      const room = this.#room;
      const part = piece.subarray(at, at + (room?.length ?? piece.length));
      const place = room?.subarray(0, part.length) ?? part;
      if (room !== null) room.set(part);
      at += part.length;
      this.#handlers.received(place);
      if (room === null) part.fill(spoilt);
      this.#room = this.#handlers?.room?.() ?? null;
    }
  }

  #sendEnd(reason: Error | null): void {
    this.#out.send(null, () => this.#other?.fail(reason));
  }
}
