// The real Disk: one directory. Data files are written with O_DIRECT, past the page cache (measured: a third of the CPU,
// and memory has a ceiling), and read through it; what must be seen as it is on the device is read with O_DIRECT too.
// Where a file system knows no O_DIRECT (tmpfs), plain I/O takes its place, and the log says so once.
//
// Memory for O_DIRECT must lie at a page boundary, which Node's buffers do not; that of a WebAssembly.Memory does. Not a shared one, into
// which V8 copies with atomic moves, byte by byte where source and target are not aligned alike (measured: a fifth of a peer's time).

import {
  close,
  closeSync,
  constants,
  existsSync,
  fdatasync,
  fstatSync,
  fsyncSync,
  openSync,
  read,
  readdirSync,
  readFileSync,
  readSync,
  renameSync,
  statfsSync,
  write,
  writeFileSync,
  writeSync,
} from "node:fs";
import { join } from "node:path";
import type { Disk, DiskFile, Log } from "#host";
import { assert, formatBytes, messageOf, pageBytes, TorusError } from "#model";
import { BringIn } from "./bring-in.ts";
import type { FileLock } from "./file-lock.ts";
import { lockDirectory } from "./file-lock.ts";
import { makeDirectory } from "./make-directory.ts";

const wasmPageBytes = 64 * 1024;
/** Aligned memory is made by so much, and used as it is touched. */
const arenaBytes = 16 * 1024 * 1024;
const alignedBytesMax = 2 * 1024 * 1024 * 1024;
const zeroStepBytes = 1024 * 1024;

/** The directory, made (mode 0700) when it is missing. Throws `io`. */
export function openDisk(directory: string, deps: { readonly log: Log }): Disk {
  try {
    makeDirectory(directory);
  } catch (error) {
    throw failure("use the directory", directory, error);
  }
  return new NodeDisk(directory, deps.log);
}

/** WebAssembly.Memory, which the types of Node leave out. */
type MemoryClass = new (options: { initial: number; maximum: number }) => { readonly buffer: ArrayBuffer };
const { Memory } = (globalThis as unknown as { WebAssembly: { Memory: MemoryClass } }).WebAssembly;

class NodeDisk implements Disk {
  readonly #directory: string;
  readonly #log: Log;
  #arena = new ArrayBuffer(0);
  #arenaUsed = 0;
  #alignedBytes = 0;
  #zeroes: Uint8Array | null = null;
  #lock: FileLock | null = null;

  constructor(directory: string, log: Log) {
    this.#directory = directory;
    this.#log = log;
  }

  lock(): void {
    this.#lock ??= lockDirectory(this.#directory);
  }

  openFile(name: string, { create }: { create: boolean }): DiskFile {
    this.#zeroes ??= this.allocateAligned(zeroStepBytes);
    return new NodeFile(join(this.#directory, name), create, { log: this.#log, zeroes: this.#zeroes });
  }

  exists(name: string): boolean {
    return existsSync(join(this.#directory, name));
  }

  names(): string[] {
    try {
      return readdirSync(this.#directory);
    } catch (error) {
      throw failure("list", this.#directory, error);
    }
  }

  readText(name: string): string | null {
    const path = join(this.#directory, name);
    try {
      return readFileSync(path, "utf8");
    } catch (error) {
      if (codeOf(error) === "ENOENT") return null;
      throw failure("read", path, error);
    }
  }

  writeTextDurably(name: string, text: string): void {
    const path = join(this.#directory, name);
    const next = `${path}.next`;
    try {
      const file = openSync(next, "w", 0o600);
      try {
        writeFileSync(file, text);
        fsyncSync(file);
      } finally {
        closeSync(file);
      }
      renameSync(next, path);
      const directory = openSync(this.#directory, "r");
      try {
        fsyncSync(directory);
      } finally {
        closeSync(directory);
      }
    } catch (error) {
      throw failure("write", path, error);
    }
  }

  allocateAligned(bytes: number): Uint8Array {
    const taken = Math.ceil(bytes / pageBytes) * pageBytes;
    if (this.#arenaUsed + taken > this.#arena.byteLength) this.#makeArena(Math.max(arenaBytes, taken));
    const from = this.#arenaUsed;
    this.#arenaUsed += taken;
    return new Uint8Array(this.#arena, from, bytes);
  }

  #makeArena(bytes: number): void {
    const pages = Math.ceil(bytes / wasmPageBytes);
    try {
      if (this.#alignedBytes + bytes > alignedBytesMax) throw new Error("the limit is reached");
      this.#arena = new Memory({ initial: pages, maximum: pages }).buffer;
    } catch (error) {
      const message = `no memory for buffers beyond ${formatBytes(this.#alignedBytes)}`;
      throw new TorusError("limit", message, {}, { cause: error });
    }
    this.#arenaUsed = 0;
    this.#alignedBytes += this.#arena.byteLength;
  }

  space(): { totalBytes: number; freeBytes: number } {
    try {
      const { bsize, blocks, bavail } = statfsSync(this.#directory);
      return { totalBytes: bsize * blocks, freeBytes: bsize * bavail };
    } catch (error) {
      throw failure("ask for the space of", this.#directory, error);
    }
  }

  close(): void {
    this.#lock?.release();
    this.#lock = null;
  }
}

interface NodeFileDeps {
  readonly log: Log;
  /** Aligned, and never written to. */
  readonly zeroes: Uint8Array;
}

class NodeFile implements DiskFile {
  readonly #path: string;
  readonly #deps: NodeFileDeps;
  readonly #direct: number;
  readonly #buffered: number;
  /** Calls in the thread pool: descriptors are closed after the last of them. */
  #pending = 0;
  #closed = false;
  readonly #bringIn = new BringIn((target, offset, length) => this.#readAside(target, offset, length));

  constructor(path: string, create: boolean, deps: NodeFileDeps) {
    this.#path = path;
    this.#deps = deps;
    const flags = constants.O_RDWR | (create ? constants.O_CREAT : 0);
    try {
      this.#direct = this.#openDirect(flags);
      this.#buffered = openSync(path, constants.O_RDONLY);
    } catch (error) {
      throw failure("open", path, error);
    }
  }

  sizeBytes(): number {
    return fstatSync(this.#direct).size;
  }

  writeSync(source: Uint8Array, offset: number): void {
    this.#check(source, offset);
    let at = 0;
    try {
      while (at < source.length) at += writeSync(this.#direct, source, at, source.length - at, offset + at);
    } catch (error) {
      throw failure("write", this.#path, error);
    }
  }

  async write(source: Uint8Array, offset: number): Promise<void> {
    this.#check(source, offset);
    for (let at = 0; at < source.length; ) at += await this.#writeAside(source.subarray(at), offset + at);
  }

  readSync(target: Uint8Array, offset: number): void {
    this.#read(this.#buffered, target, offset);
  }

  bringIn(offset: number, length: number): Promise<void> {
    return this.#bringIn.bring(offset, length);
  }

  readDirectSync(target: Uint8Array, offset: number): void {
    this.#check(target, offset);
    this.#read(this.#direct, target, offset);
  }

  async zeroFill(from: number, to: number): Promise<void> {
    assert(from % pageBytes === 0 && to % pageBytes === 0, "zeroes are written in whole pages");
    const { zeroes } = this.#deps;
    for (let at = from; at < to; )
      at += await this.#writeAside(zeroes.subarray(0, Math.min(zeroes.length, to - at)), at);
    await this.dataSync();
  }

  dataSync(): Promise<void> {
    return this.#aside("fdatasync", (done) => fdatasync(this.#direct, (error) => done(error, undefined)));
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    if (this.#pending === 0) this.#closeNow();
  }

  #openDirect(flags: number): number {
    try {
      return openSync(this.#path, flags | constants.O_DIRECT, 0o600);
    } catch (error) {
      if (codeOf(error) !== "EINVAL") throw error;
      this.#deps.log.warn("The file system knows no direct I/O: writes go through the page cache.", {
        path: this.#path,
      });
      return openSync(this.#path, flags, 0o600);
    }
  }

  #check(bytes: Uint8Array, offset: number): void {
    assert(!this.#closed, "a closed file is not used");
    const aligned = bytes.byteOffset % pageBytes === 0 && bytes.length % pageBytes === 0;
    assert(aligned && offset % pageBytes === 0, "direct I/O is in whole pages of aligned memory");
  }

  #read(descriptor: number, target: Uint8Array, offset: number): void {
    assert(!this.#closed, "a closed file is not used");
    let at = 0;
    try {
      while (at < target.length) {
        const count = readSync(descriptor, target, at, target.length - at, offset + at);
        if (count === 0) throw new Error(`it ends before byte ${offset + target.length}`);
        at += count;
      }
    } catch (error) {
      throw failure("read", this.#path, error);
    }
  }

  /** What cannot be read is for those to hear who want it. */
  async #readAside(target: Uint8Array, offset: number, length: number): Promise<void> {
    if (this.#closed) return;
    const reading = this.#aside("read", (done) => read(this.#buffered, target, 0, length, offset, done));
    await reading.catch(() => {});
  }

  #writeAside(source: Uint8Array, offset: number): Promise<number> {
    return this.#aside("write", (done) => write(this.#direct, source, 0, source.length, offset, done));
  }

  /** Runs one call in the thread pool. */
  #aside<T>(what: string, start: (done: (error: Error | null, value: T) => void) => void): Promise<T> {
    assert(!this.#closed, "a closed file is not used");
    this.#pending += 1;
    return new Promise((resolve, reject) => {
      start((error, value) => {
        this.#pending -= 1;
        if (this.#closed && this.#pending === 0) this.#closeNow();
        if (error === null) resolve(value);
        else reject(failure(what, this.#path, error));
      });
    });
  }

  #closeNow(): void {
    for (const descriptor of [this.#direct, this.#buffered]) {
      close(descriptor, (error) => {
        if (error !== null) this.#deps.log.warn("A file did not close cleanly.", { path: this.#path, error });
      });
    }
  }
}

function codeOf(error: unknown): string {
  return String((error as { code?: unknown }).code);
}

function failure(what: string, path: string, cause: unknown): TorusError {
  const code = codeOf(cause);
  const details = { path, errno: code };
  if (code === "ENOSPC" || code === "EDQUOT") {
    return new TorusError(
      "full",
      `cannot ${what} ${path}: the file system is full. Free space on it`,
      details,
      {
        cause,
      },
    );
  }
  const hint =
    code === "EACCES" || code === "EPERM"
      ? ". Give the user of torusd access to it"
      : code === "EIO"
        ? ". The disk fails: look at the kernel's log, replace it"
        : code === "EROFS"
          ? ". The file system is mounted read-only"
          : "";
  return new TorusError("io", `cannot ${what} ${path}: ${messageOf(cause)}${hint}`, details, { cause });
}
