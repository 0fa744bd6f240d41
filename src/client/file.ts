// TorusFile: a file on a volume of its own. The first page says how long it is; byte n of the file is byte n of what comes behind.
//
// The length and the bytes are in one log, and a crash leaves a beginning of that. Invariant: past its end a file has zeroes only. So a file
// gets longer before the bytes come, and what is to go is zeroed before it gets shorter: in between it has zeroes at its end, and
// never bytes that it had once. What a write that failed left there is taken away when the file is opened. Whoever makes it shorter waits
// for those who write, and they for him.

import { pageBytes, TorusError } from "#model";
import type { AttachedVolume } from "#volume";
import { decodeFileHeader, encodeFileHeader, fileBytesMax } from "./file-header-codec.ts";

/** Bytes read and written at once. */
const pieceBytes = 4 * 2 ** 20;

export class TorusFile {
  readonly name: string;
  readonly #device: AttachedVolume;
  #length: number;
  /** The first page could not be written: it is, before anything else counts. */
  #headerDue = false;
  /** Those who write now. */
  readonly #writing = new Set<Promise<unknown>>();
  #shortening: Promise<unknown> = Promise.resolve();
  #isShortening = false;

  private constructor(name: string, device: AttachedVolume, length: number) {
    this.name = name;
    this.#device = device;
    this.#length = length;
  }

  /** Over a device that is the file's alone; it goes with the file. */
  static async open(name: string, device: AttachedVolume): Promise<TorusFile> {
    const length = decodeFileHeader(await device.read(0, pageBytes));
    const end = roundUp(length);
    const rest = await device.read(pageBytes + length, end - length);
    if (rest.some((byte) => byte !== 0)) await device.writeZeroes(pageBytes + length, end - length, false);
    await device.trim(pageBytes + end, device.info.sizeBytes - pageBytes - end, false);
    return new TorusFile(name, device, length);
  }

  /** In bytes. */
  get length(): number {
    return this.#length;
  }

  /** Resolves, at most once, when somebody took the file over or the cluster did: every call now fails. */
  get lost(): Promise<Error> {
    return this.#device.lost;
  }

  /** Up to `length` bytes from `offset` on; less where the file ends. */
  async readAt(offset: number, length: number): Promise<Uint8Array> {
    requireRange(offset, length);
    const count = Math.max(0, Math.min(length, this.#length - offset));
    if (count <= pieceBytes) return this.#device.read(pageBytes + offset, count);
    const bytes = new Uint8Array(count);
    for (let at = 0; at < count; at += pieceBytes) {
      bytes.set(await this.#device.read(pageBytes + offset + at, Math.min(pieceBytes, count - at)), at);
    }
    return bytes;
  }

  /**
   * Writes all of `bytes`, which may be used again once this has returned (it need not have resolved). The file becomes as long as that takes; what lies
   * between its old end and `offset` is zeroes. Durable after `sync`.
   */
  async writeAt(offset: number, bytes: Uint8Array): Promise<void> {
    requireRange(offset, bytes.length);
    if (!this.#isShortening) return this.#write(offset, bytes);
    const copy = Uint8Array.from(bytes);
    while (this.#isShortening) await this.#shortening;
    return this.#write(offset, copy);
  }

  /** All that was answered before is durable on every replica. */
  async sync(): Promise<void> {
    if (this.#headerDue) await this.#track([this.#putHeader(this.#length)]);
    await this.#device.flush();
  }

  /** Makes it so long: longer with zeroes, shorter for good. */
  async truncate(length: number): Promise<void> {
    requireRange(length, 0);
    while (this.#isShortening) await this.#shortening;
    if (length > this.#length) return this.#track([this.#putHeader(length)]);
    if (length === this.#length) return;
    this.#isShortening = true;
    const shortening = this.#shorten(length).finally(() => {
      this.#isShortening = false;
    });
    this.#shortening = shortening.catch(() => {});
    return shortening;
  }

  /** Whole pages (4 KiB) of the range read as zeroes from now on, and take no space; the length stays. */
  async trim(offset: number, length: number): Promise<void> {
    requireRange(offset, length);
    while (this.#isShortening) await this.#shortening;
    // Past its end there are zeroes only: its last page may go whole.
    const end = offset + length >= this.#length ? roundUp(this.#length) : offset + length;
    if (end > offset) await this.#track([this.#device.trim(pageBytes + offset, end - offset, false)]);
  }

  /** Makes all of it durable and lets go of it. */
  async close(): Promise<void> {
    await Promise.allSettled([...this.#writing, this.#shortening]);
    try {
      await this.sync();
    } finally {
      await this.#device.close();
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  #write(offset: number, bytes: Uint8Array): Promise<void> {
    if (bytes.length === 0) return Promise.resolve();
    const parts: Promise<void>[] = [];
    const end = offset + bytes.length;
    // The first page goes into the log first.
    if (end > this.#length || this.#headerDue) parts.push(this.#putHeader(Math.max(end, this.#length)));
    for (let at = 0; at < bytes.length; at += pieceBytes)
      parts.push(this.#device.write(pageBytes + offset + at, bytes.subarray(at, at + pieceBytes), false));
    return this.#track(parts);
  }

  async #putHeader(length: number): Promise<void> {
    this.#length = length;
    this.#headerDue = false;
    try {
      await this.#device.write(0, encodeFileHeader(length), false);
    } catch (error) {
      this.#headerDue = true;
      throw error;
    }
  }

  async #shorten(length: number): Promise<void> {
    await Promise.allSettled(this.#writing);
    const end = roundUp(this.#length);
    await this.#device.writeZeroes(pageBytes + length, end - length, false);
    await this.#putHeader(length);
  }

  /** Resolves when all parts have; rejects, once all have settled, with the first that did. */
  async #track(parts: readonly Promise<void>[]): Promise<void> {
    const all = Promise.allSettled(parts);
    this.#writing.add(all);
    const outcomes = await all;
    this.#writing.delete(all);
    for (const outcome of outcomes) if (outcome.status === "rejected") throw outcome.reason;
  }
}

function roundUp(bytes: number): number {
  return Math.ceil(bytes / pageBytes) * pageBytes;
}

function requireRange(offset: number, length: number): void {
  const areBytes = Number.isSafeInteger(offset) && Number.isSafeInteger(length) && offset >= 0 && length >= 0;
  if (areBytes && offset + length <= fileBytesMax) return;
  throw new TorusError(
    "invalid-argument",
    `${length} bytes at ${offset} are not possible in a file: use whole numbers from 0, up to ${fileBytesMax} together`,
  );
}
