// Disk: one directory of one disk, as a store needs it. Small writes and reads are synchronous (a store has its own
// thread; measured, a blocked thread costs a tenth of the thread pool per call), large writes and flushes need not be.

/** A data file. Offsets, lengths and buffers of writes and of `readDirectSync` are multiples of 4096, buffers from `allocateAligned`. */
export interface DiskFile {
  sizeBytes(): number;
  /** Writes all of `source` past the page cache, or throws `full` or `io`. Not durable before `dataSync`. */
  writeSync(source: Uint8Array, offset: number): void;
  /** As `writeSync`, in the background. Until it settles `source` must not change, and what is at that place is neither old nor new. */
  write(source: Uint8Array, offset: number): Promise<void>;
  /** Fills `target` through the page cache; throws `io` when the file is too short. */
  readSync(target: Uint8Array, offset: number): void;
  /**
   * Has the system read [offset, offset + length) into its page cache, in the background, so that `readSync` finds it there. A hint:
   * resolves also when that failed. The file has those bytes.
   */
  bringIn(offset: number, length: number): Promise<void>;
  /** Fills `target` from the device itself, past the page cache. */
  readDirectSync(target: Uint8Array, offset: number): void;
  /** Writes zeroes over [from, to), growing the file, in the background; durable when it resolves. `full` without space. */
  zeroFill(from: number, to: number): Promise<void>;
  /** fdatasync. After a rejection nothing written since the last success may be taken as durable. */
  dataSync(): Promise<void>;
  close(): void;
}

/** A file that another process writes, read through the page cache. */
export interface ForeignFile {
  /** Fills `target`, or throws `io`. */
  readSync(target: Uint8Array, offset: number): void;
  close(): void;
}

/** Opens it for reading; null when that is not possible here. */
export type OpenForeignFile = (path: string) => ForeignFile | null;

export interface Disk {
  /** Takes the directory for this process alone until `close`; `busy` names who may have it. Creates it if missing. */
  lock(): void;
  openFile(name: string, options: { create: boolean }): DiskFile;
  exists(name: string): boolean;
  /** Names of all that is in the directory, in no order. */
  names(): string[];
  /** Small files: all or nothing. `writeTextDurably` replaces the file atomically and is durable when it returns. */
  readText(name: string): string | null;
  writeTextDurably(name: string, text: string): void;
  /** Memory at a page boundary, zeroed. Never given back to the system, so callers keep and reuse it. */
  allocateAligned(bytes: number): Uint8Array;
  /** Of the file system that holds the directory. */
  space(): { totalBytes: number; freeBytes: number };
  close(): void;
}
