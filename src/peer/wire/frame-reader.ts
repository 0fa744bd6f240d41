// FrameReader: chunks of a stream to frames. A frame that lies whole in one chunk is handed on as a view of it; one that
// is split is gathered once into memory of its size. It takes no memory for a frame before its header was found
// right and the sink admitted it, and it can be stopped between any two frames.

import type { FrameLimits, Operation } from "./frame-codec.ts";
import { FrameHeader, frameHeaderBytes, verifyFrameHead } from "./frame-codec.ts";

export interface FrameSink {
  /** Memory for a frame of `frameBytes` is about to be taken: false stops the reader until `resume` asks again. */
  admit(frameBytes: number): boolean;
  /**
   * A frame whose head was verified: its arguments lie in `view` at `at`. The views stay valid: the memory is never
   * written again, unless the sink gives it back (`gathered`, `reuse`).
   */
  frame(
    operation: Operation,
    status: number,
    id: number,
    view: DataView,
    at: number,
    argumentBytes: number,
    bulk: Uint8Array,
  ): void;
}

const noBytes = new Uint8Array(0);

/** Memory of frames from this size on is worth keeping: touching new pages costs more than copying into old ones. */
const sparedBytesMin = 64 * 1024;
const sparesMax = 4;

export class FrameReader {
  readonly #limits: FrameLimits;
  readonly #sink: FrameSink;
  readonly #header = new FrameHeader();
  /** Chunks not yet used up; more than one only while stopped. */
  readonly #chunks: Uint8Array[] = [];
  #chunkView: DataView | null = null;
  #at = 0;
  /** The first bytes of a header that is split. */
  readonly #head = new Uint8Array(frameHeaderBytes);
  readonly #headView = new DataView(this.#head.buffer);
  #headBytes = 0;
  /** The frame being gathered. */
  #frame: Uint8Array | null = null;
  #frameFilled = 0;
  /** What the frame is gathered in, when that may be given back. */
  #memory: Uint8Array | null = null;
  #gathered: Uint8Array | null = null;
  readonly #spares: Uint8Array[] = [];
  #stopped = false;
  #running = false;

  constructor(limits: FrameLimits, sink: FrameSink) {
    this.#limits = limits;
    this.#sink = sink;
  }

  /** A frame has begun and is not whole. */
  get midFrame(): boolean {
    return this.#frame !== null || this.#headBytes > 0;
  }

  get stopped(): boolean {
    return this.#stopped;
  }

  /** During `frame`: the memory of the frame, if the sink may give it back by `reuse` once it needs no byte of it. */
  get gathered(): Uint8Array | null {
    return this.#gathered;
  }

  /** Memory that was `gathered` holds nothing that is needed any more. */
  reuse(memory: Uint8Array): void {
    if (this.#spares.length < sparesMax) this.#spares.push(memory);
  }

  /** Hands no frame on from now until `resume`. */
  stop(): void {
    this.#stopped = true;
  }

  resume(): void {
    this.#stopped = false;
    this.#run();
  }

  /** Takes the next chunk. Throws `protocol` at the first byte that cannot be right; the stream is then over. */
  push(chunk: Uint8Array): void {
    if (chunk.length > 0) this.#chunks.push(chunk);
    this.#run();
  }

  #run(): void {
    if (this.#running) return;
    this.#running = true;
    try {
      while (!this.#stopped && this.#chunks.length > 0) {
        const chunk = this.#chunks[0];
        this.#step(chunk);
        if (this.#at === chunk.length) {
          this.#chunks.shift();
          this.#chunkView = null;
          this.#at = 0;
        }
      }
    } finally {
      this.#running = false;
    }
  }

  /** Uses up a part of `chunk`, or stops. */
  #step(chunk: Uint8Array): void {
    if (this.#frame !== null) {
      this.#gather(this.#frame, chunk);
      return;
    }
    const rest = chunk.length - this.#at;
    if (this.#headBytes > 0 || rest < frameHeaderBytes) {
      const taken = Math.min(frameHeaderBytes - this.#headBytes, rest);
      this.#head.set(chunk.subarray(this.#at, this.#at + taken), this.#headBytes);
      this.#at += taken;
      this.#headBytes += taken;
      if (this.#headBytes < frameHeaderBytes) return;
      this.#header.decode(this.#headView, 0, this.#limits);
      this.#begin(this.#head);
      return;
    }
    this.#chunkView ??= new DataView(chunk.buffer, chunk.byteOffset, chunk.length);
    this.#header.decode(this.#chunkView, this.#at, this.#limits);
    if (this.#header.frameBytes <= rest) {
      const at = this.#at;
      this.#at += this.#header.frameBytes;
      this.#deliver(chunk, this.#chunkView, at);
      return;
    }
    this.#begin(noBytes);
  }

  /** Starts to gather the frame of the decoded header, of which `first` is here. Nothing is used up when refused. */
  #begin(first: Uint8Array): void {
    if (this.#header.frameBytes > frameHeaderBytes && !this.#sink.admit(this.#header.frameBytes)) {
      this.#stopped = true;
      return;
    }
    const frame = this.#take(this.#header.frameBytes);
    frame.set(first);
    this.#frameFilled = first.length;
    this.#headBytes = 0;
    this.#frame = frame;
    if (this.#frameFilled === frame.length) this.#finish(frame);
  }

  #take(bytes: number): Uint8Array {
    this.#memory = null;
    if (bytes < sparedBytesMin) return Buffer.allocUnsafeSlow(bytes);
    const spare = this.#spares.findIndex((memory) => memory.length >= bytes);
    this.#memory = spare >= 0 ? this.#spares.splice(spare, 1)[0] : Buffer.allocUnsafeSlow(roundedUp(bytes));
    return this.#memory.subarray(0, bytes);
  }

  #gather(frame: Uint8Array, chunk: Uint8Array): void {
    const taken = Math.min(frame.length - this.#frameFilled, chunk.length - this.#at);
    frame.set(chunk.subarray(this.#at, this.#at + taken), this.#frameFilled);
    this.#at += taken;
    this.#frameFilled += taken;
    if (this.#frameFilled === frame.length) this.#finish(frame);
  }

  #finish(frame: Uint8Array): void {
    this.#frame = null;
    this.#gathered = this.#memory;
    this.#memory = null;
    try {
      this.#deliver(frame, new DataView(frame.buffer, frame.byteOffset, frame.length), 0);
    } finally {
      this.#gathered = null;
    }
  }

  #deliver(bytes: Uint8Array, view: DataView, at: number): void {
    const { operation, status, id, argumentBytes, bulkBytes, frameBytes } = this.#header;
    verifyFrameHead(bytes, view, at, argumentBytes);
    const end = at + frameBytes;
    const bulk = bulkBytes === 0 ? noBytes : bytes.subarray(end - bulkBytes, end);
    this.#sink.frame(operation, status, id, view, at + frameHeaderBytes, argumentBytes, bulk);
  }
}

/** The next power of two: frames of about a size share memory. */
function roundedUp(bytes: number): number {
  return 2 ** Math.ceil(Math.log2(bytes));
}
