// TorusFile: a file on a volume of its own. The first page says how long it is; byte n of the file is byte n of what comes behind.
//
// The length and the bytes are in one log, and a crash leaves a beginning of that. Invariant: past its end a file has zeroes only. So a file
// gets longer before the bytes come, and what is to go is zeroed before it gets shorter: in between it has zeroes at its end, and
// never bytes that it had once. What a write that failed left there is taken away when the file is opened. Whoever makes it shorter waits
// for those who write, and they for him; as does who replaces all that is in it. Only there bytes come before the length: whoever opens it
// before it is whole finds it empty, and takes them away.

import { pageBytes, TorusError } from "#model";
import type { AttachedVolume, BlockDevice } from "#volume";
import { decodeFileHeader, encodeFileHeader, fileBytesMax } from "./file-header-codec.ts";

/** What a file is filled with anew through: its bytes, as a device that is as large as files can be. */
export type FileFilling = Pick<BlockDevice, "info" | "write" | "writeZeroes" | "flush">;

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
  /** Who has it alone now, or had it last. */
  #alone: Promise<unknown> = Promise.resolve();
  #isAlone = false;

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
    if (!this.#isAlone) return this.#write(offset, bytes);
    const copy = Uint8Array.from(bytes);
    while (this.#isAlone) await this.#alone;
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
    while (this.#isAlone) await this.#alone;
    if (length > this.#length) return this.#track([this.#putHeader(length)]);
    if (length === this.#length) return;
    return this.#doAlone(() => this.#shorten(length));
  }

  /**
   * All that is in it becomes what `fill` writes: zeroes at first, as long as `fill` says in the end, which is not before the end of any of
   * its writes. Durable when it resolves. Until then the file is empty for whoever reads it, and stays so when this rejects, with what `fill` met.
   * After a crash it is empty too, or still what it was, or all of it is there already.
   */
  async replace(fill: (filling: FileFilling) => Promise<number>): Promise<void> {
    while (this.#isAlone) await this.#alone;
    return this.#doAlone(() => this.#replace(fill));
  }

  /** Whole pages (4 KiB) of the range read as zeroes from now on, and take no space; the length stays. */
  async trim(offset: number, length: number): Promise<void> {
    requireRange(offset, length);
    while (this.#isAlone) await this.#alone;
    // Past its end there are zeroes only: its last page may go whole.
    const end = offset + length >= this.#length ? roundUp(this.#length) : offset + length;
    if (end > offset) await this.#track([this.#device.trim(pageBytes + offset, end - offset, false)]);
  }

  /** Makes all of it durable and lets go of it. */
  async close(): Promise<void> {
    await Promise.allSettled([...this.#writing, this.#alone]);
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

  #doAlone(work: () => Promise<void>): Promise<void> {
    this.#isAlone = true;
    const done = work().finally(() => {
      this.#isAlone = false;
    });
    this.#alone = done.catch(() => {});
    return done;
  }

  async #replace(fill: (filling: FileFilling) => Promise<number>): Promise<void> {
    await Promise.allSettled(this.#writing);
    try {
      await this.#empty();
      const length = await this.#fill(fill);
      await this.#putHeader(length);
      await this.#device.flush();
    } catch (error) {
      // What is past the end must go before anything is written again: whoever opens it sees to that, when it cannot be done here.
      await this.#empty().catch(() => this.#device.close().catch(() => {}));
      throw error;
    }
  }

  /** First the length, for those who open it after a crash; then what is past the end. */
  async #empty(): Promise<void> {
    await this.#putHeader(0);
    await this.#device.trim(pageBytes, this.#device.info.sizeBytes - pageBytes, false);
  }

  /** The length. Rejects when nothing is under way any more. */
  async #fill(fill: (filling: FileFilling) => Promise<number>): Promise<number> {
    const device = this.#device;
    let end = 0;
    let isOver = false;
    const put = (offset: number, length: number, write: () => Promise<void>): Promise<void> => {
      requireRange(offset, length);
      if (isOver) throw new TorusError("closed", `file "${this.name}" was filled already`);
      end = Math.max(end, offset + length);
      return this.#track([write()]);
    };
    try {
      const length = await fill({
        info: { ...device.info, sizeBytes: fileBytesMax },
        write: async (offset, bytes, fua) =>
          put(offset, bytes.length, () => device.write(pageBytes + offset, bytes, fua)),
        writeZeroes: async (offset, length, fua) =>
          put(offset, length, () => device.writeZeroes(pageBytes + offset, length, fua)),
        flush: () => device.flush(),
      });
      requireRange(length, 0);
      if (length >= end) return length;
      throw new TorusError("invalid-argument", `${end} bytes were written to a file of ${length}`);
    } finally {
      isOver = true;
      await Promise.allSettled(this.#writing);
    }
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
