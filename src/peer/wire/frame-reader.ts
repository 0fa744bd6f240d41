// FrameReader: chunks of a stream to frames. Small frames are parsed where they came in; what is missing of a large one is
// received where it is to lie (`room`). Bulk always lies in memory of its own. It takes no memory for a frame before its header was
// found right and the sink admitted it, and it can be stopped between any two frames.

import type { FrameLimits, Operation } from "./frame-codec.ts";
import { FrameHeader, frameHeaderBytes, verifyFrameHead } from "./frame-codec.ts";
import type { FrameMemory } from "./frame-memory.ts";

export interface FrameSink {
  /** Memory for a frame of `frameBytes` is about to be taken: false stops the reader until `resume` asks again. */
  admit(frameBytes: number): boolean;
  /**
   * A frame whose head was verified: its arguments lie in `view` at `at` until this returns. The bulk is the sink's until it gives
   * back `memory`, in which it lies (null without bulk).
   */
  frame(
    operation: Operation,
    status: number,
    id: number,
    view: DataView,
    at: number,
    argumentBytes: number,
    bulk: Uint8Array,
    memory: Uint8Array | null,
  ): void;
}

const noBytes = new Uint8Array(0);

/** Less than this is received with what follows it, and copied: cheaper than a read of its own. */
const directBytesMin = 16 * 1024;

export class FrameReader {
  readonly #limits: FrameLimits;
  readonly #sink: FrameSink;
  readonly #memory: FrameMemory;
  readonly #header = new FrameHeader();
  /** Not yet used up; more than the chunk being pushed only while stopped. */
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
  /** What is gathered is the frame's bulk alone. */
  #isBulk = false;
  #stopped = false;
  #running = false;

  constructor(limits: FrameLimits, sink: FrameSink, memory: FrameMemory) {
    this.#limits = limits;
    this.#sink = sink;
    this.#memory = memory;
  }

  /** A frame has begun and is not whole. */
  get midFrame(): boolean {
    return this.#frame !== null || this.#headBytes > 0;
  }

  get stopped(): boolean {
    return this.#stopped;
  }

  /** Where the next bytes should go: the rest of a large frame; null when it does not matter. */
  room(): Uint8Array | null {
    const frame = this.#frame;
    if (frame === null || frame.length - this.#frameFilled < directBytesMin) return null;
    return this.#chunks.length === 0 ? frame.subarray(this.#frameFilled) : null;
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
    const frame = this.#frame;
    if (frame !== null && chunk.buffer === frame.buffer) this.#frameFilled += chunk.length;
    else if (chunk.length > 0) this.#chunks.push(chunk);
    this.#run();
    this.#keepRest(chunk);
  }

  /** The caller takes `chunk` back: what is left of it is copied. */
  #keepRest(chunk: Uint8Array): void {
    const last = this.#chunks.length - 1;
    if (last < 0 || this.#chunks[last] !== chunk) return;
    if (last > 0) {
      this.#chunks[last] = Uint8Array.from(chunk);
      return;
    }
    this.#chunks[0] = Uint8Array.from(chunk.subarray(this.#at));
    this.#chunkView = null;
    this.#at = 0;
  }

  #run(): void {
    if (this.#running) return;
    this.#running = true;
    try {
      while (!this.#stopped) {
        const frame = this.#frame;
        if (frame !== null && this.#frameFilled === frame.length) this.#finish(frame);
        else if (this.#chunks.length > 0) this.#useUp(this.#chunks[0]);
        else break;
      }
    } finally {
      this.#running = false;
    }
  }

  #useUp(chunk: Uint8Array): void {
    this.#step(chunk);
    if (this.#at < chunk.length) return;
    this.#chunks.shift();
    this.#chunkView = null;
    this.#at = 0;
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
      const { argumentBytes, bulkBytes, frameBytes } = this.#header;
      verifyFrameHead(chunk, this.#chunkView, at, argumentBytes);
      this.#at += frameBytes;
      const memory = bulkBytes === 0 ? null : this.#copied(chunk.subarray(this.#at - bulkBytes, this.#at));
      this.#deliver(this.#chunkView, at, memory ?? noBytes, memory);
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
    const { argumentBytes, frameBytes, bulkBytes, id } = this.#header;
    this.#headBytes = 0;
    this.#isBulk = argumentBytes === 0 && bulkBytes > 0;
    if (this.#isBulk) {
      this.#beginBulk(first);
      return;
    }
    const frame = this.#memory.take(frameBytes, id);
    frame.set(first);
    this.#frameFilled = first.length;
    this.#frame = frame;
  }

  /** Without arguments the head is all here, and the bulk is gathered by itself, in memory of its own size. */
  #beginBulk(first: Uint8Array): void {
    if (first.length === 0) {
      this.#head.set(this.#chunks[0].subarray(this.#at, this.#at + frameHeaderBytes));
      this.#at += frameHeaderBytes;
    }
    verifyFrameHead(this.#head, this.#headView, 0, 0);
    this.#frame = this.#memory.take(this.#header.bulkBytes, this.#header.id);
    this.#frameFilled = 0;
  }

  #gather(frame: Uint8Array, chunk: Uint8Array): void {
    const taken = Math.min(frame.length - this.#frameFilled, chunk.length - this.#at);
    frame.set(chunk.subarray(this.#at, this.#at + taken), this.#frameFilled);
    this.#at += taken;
    this.#frameFilled += taken;
  }

  #finish(frame: Uint8Array): void {
    this.#frame = null;
    if (this.#isBulk) {
      this.#deliver(this.#headView, 0, frame, frame);
      return;
    }
    const { argumentBytes, bulkBytes } = this.#header;
    const view = new DataView(frame.buffer, frame.byteOffset, frame.length);
    verifyFrameHead(frame, view, 0, argumentBytes);
    if (bulkBytes === 0) {
      this.#deliver(view, 0, noBytes, null);
      this.#memory.give(frame);
    } else this.#deliver(view, 0, frame.subarray(frame.length - bulkBytes), frame);
  }

  #copied(bulk: Uint8Array): Uint8Array {
    const memory = this.#memory.take(bulk.length, this.#header.id);
    memory.set(bulk);
    return memory;
  }

  #deliver(view: DataView, at: number, bulk: Uint8Array, memory: Uint8Array | null): void {
    const { operation, status, id, argumentBytes } = this.#header;
    this.#sink.frame(operation, status, id, view, at + frameHeaderBytes, argumentBytes, bulk, memory);
  }
}
