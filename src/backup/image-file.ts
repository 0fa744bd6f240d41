// Raw images as files and pipes. A file has holes where the volume has none of its pages, or zeroes in them, and has its name only once it is whole.

import type { FileHandle } from "node:fs/promises";
import { open, rename, rm, stat } from "node:fs/promises";
import { dirname } from "node:path";
import type { Readable, Writable } from "node:stream";
import { messageOf, TorusError } from "#model";
import { syncDirectory } from "./durable-file.ts";
import type { ImageSink } from "./image-dump.ts";
import { pieceBytes } from "./image-dump.ts";
import type { ImageSource } from "./image-load.ts";
import { zeroRuns } from "./zero-pages.ts";

export interface ClosableSink extends ImageSink {
  /** To be called in any case. Before `end` it gives up what was written, where that can be. */
  close(): Promise<void>;
}

export interface ClosableSource extends ImageSource {
  /** Null when that is not known before the end. */
  readonly sizeBytes: number | null;
  close(): Promise<void>;
}

/** `partial`: what tells this process's unfinished files from others'. Rejects with `io` when it cannot be opened. */
export async function openSink(path: string, partial: string): Promise<ClosableSink> {
  try {
    const found = await stat(path).catch(() => null);
    if (found !== null && !found.isFile()) return new PlainSink(await open(path, "w"));
    const partialPath = `${path}.${partial}`;
    return new SparseFile(path, partialPath, await open(partialPath, "wx"));
  } catch (error) {
    throw ioError(`${path} cannot be written`, error);
  }
}

export function pipeSink(stream: Writable): ClosableSink {
  return new PlainSink(new PipeEnd(stream));
}

/** Rejects with `io` when it cannot be opened. */
export async function openSource(path: string): Promise<ClosableSource> {
  try {
    const handle = await open(path, "r");
    const found = await handle.stat();
    return new FileSource(path, handle, found.isFile() ? found.size : null);
  } catch (error) {
    throw ioError(`${path} cannot be read`, error);
  }
}

export function pipeSource(stream: Readable): ClosableSource {
  return new PipeSource(stream);
}

function ioError(what: string, error: unknown): TorusError {
  if (error instanceof TorusError) return error;
  return new TorusError("io", `${what}: ${messageOf(error)}`, {}, { cause: error });
}

class SparseFile implements ClosableSink {
  readonly #path: string;
  readonly #partialPath: string;
  readonly #file: FileHandle;
  #isWhole = false;

  constructor(path: string, partialPath: string, file: FileHandle) {
    this.#path = path;
    this.#partialPath = partialPath;
    this.#file = file;
  }

  async write(offset: number, bytes: Uint8Array): Promise<void> {
    try {
      for (const { start, end, isZero } of zeroRuns(bytes))
        if (!isZero) await writeAll(this.#file, bytes.subarray(start, end), offset + start);
    } catch (error) {
      throw ioError(`${this.#path} cannot be written`, error);
    }
  }

  async end(sizeBytes: number): Promise<void> {
    try {
      await this.#file.truncate(sizeBytes);
      await this.#file.sync();
      await rename(this.#partialPath, this.#path);
      this.#isWhole = true;
      await syncDirectory(dirname(this.#path));
    } catch (error) {
      throw ioError(`${this.#path} cannot be written`, error);
    }
  }

  async close(): Promise<void> {
    await this.#file.close();
    if (!this.#isWhole) await rm(this.#partialPath, { force: true });
  }
}

async function writeAll(file: FileHandle, bytes: Uint8Array, position: number | null): Promise<void> {
  for (let at = 0; at < bytes.length; ) {
    const from = position === null ? null : position + at;
    const { bytesWritten } = await file.write(bytes, at, bytes.length - at, from);
    at += bytesWritten;
  }
}

/** Where bytes go one after another. */
interface ByteEnd {
  writeNext(bytes: Uint8Array): Promise<void>;
  close(): Promise<void>;
}

/** What cannot have holes: a pipe, a device. They are written as zeroes. */
class PlainSink implements ClosableSink {
  readonly #end: ByteEnd;
  #position = 0;

  constructor(end: FileHandle | ByteEnd) {
    this.#end = "writeNext" in end ? end : new HandleEnd(end);
  }

  async write(offset: number, bytes: Uint8Array): Promise<void> {
    await this.#fill(offset);
    await this.#put(bytes);
  }

  async end(sizeBytes: number): Promise<void> {
    await this.#fill(sizeBytes);
  }

  close(): Promise<void> {
    return this.#end.close();
  }

  async #fill(end: number): Promise<void> {
    while (this.#position < end) await this.#put(zeroes.subarray(0, end - this.#position));
  }

  async #put(bytes: Uint8Array): Promise<void> {
    try {
      await this.#end.writeNext(bytes);
    } catch (error) {
      throw ioError("the output cannot be written", error);
    }
    this.#position += bytes.length;
  }
}

const zeroes = new Uint8Array(pieceBytes);

class HandleEnd implements ByteEnd {
  readonly #file: FileHandle;

  constructor(file: FileHandle) {
    this.#file = file;
  }

  writeNext(bytes: Uint8Array): Promise<void> {
    return writeAll(this.#file, bytes, null);
  }

  async close(): Promise<void> {
    // A pipe cannot be flushed; a device must be.
    await this.#file.sync().catch((error: NodeJS.ErrnoException) => {
      if (error.code !== "EINVAL") throw ioError("the output cannot be flushed", error);
    });
    await this.#file.close();
  }
}

class PipeEnd implements ByteEnd {
  readonly #stream: Writable;
  readonly #failed: Promise<never>;
  readonly #onError: (error: Error) => void;

  constructor(stream: Writable) {
    this.#stream = stream;
    const { promise, reject } = Promise.withResolvers<never>();
    promise.catch(() => {});
    this.#failed = promise;
    this.#onError = reject;
    stream.on("error", this.#onError);
  }

  writeNext(bytes: Uint8Array): Promise<void> {
    const written = new Promise<void>((resolve, reject) => {
      this.#stream.write(bytes, (error) => (error ? reject(error) : resolve()));
    });
    return Promise.race([written, this.#failed]);
  }

  /** The stream is the process's, and stays open; what it says after this is of no interest. */
  async close(): Promise<void> {}
}

/** Bytes of a file or device, read ahead by nobody but the system. */
class FileSource implements ClosableSource {
  readonly sizeBytes: number | null;
  readonly #path: string;
  readonly #file: FileHandle;
  #isAtEnd = false;

  constructor(path: string, file: FileHandle, sizeBytes: number | null) {
    this.#path = path;
    this.#file = file;
    this.sizeBytes = sizeBytes;
  }

  async next(): Promise<Uint8Array | null> {
    if (this.#isAtEnd) return null;
    const target = Buffer.allocUnsafeSlow(pieceBytes);
    let filled = 0;
    try {
      while (filled < target.length) {
        const { bytesRead } = await this.#file.read(target, filled, target.length - filled, null);
        if (bytesRead === 0) break;
        filled += bytesRead;
      }
    } catch (error) {
      throw ioError(`${this.#path} cannot be read`, error);
    }
    this.#isAtEnd = filled < target.length;
    return filled === 0 ? null : target.subarray(0, filled);
  }

  close(): Promise<void> {
    return this.#file.close();
  }
}

class PipeSource implements ClosableSource {
  readonly sizeBytes = null;
  readonly #chunks: AsyncIterator<Uint8Array>;
  readonly #stream: Readable;
  /** What was read and not yet given on. */
  #rest: Uint8Array = new Uint8Array(0);

  constructor(stream: Readable) {
    this.#stream = stream;
    this.#chunks = stream[Symbol.asyncIterator]();
  }

  async next(): Promise<Uint8Array | null> {
    const target = Buffer.allocUnsafeSlow(pieceBytes);
    let filled = 0;
    while (filled < target.length) {
      if (this.#rest.length === 0) {
        const { done, value } = await this.#chunks.next().catch((error: unknown) => {
          throw ioError("the input cannot be read", error);
        });
        if (done) break;
        this.#rest = value;
      }
      const part = this.#rest.subarray(0, target.length - filled);
      target.set(part, filled);
      this.#rest = this.#rest.subarray(part.length);
      filled += part.length;
    }
    return filled === 0 ? null : target.subarray(0, filled);
  }

  async close(): Promise<void> {
    this.#stream.destroy();
  }
}
