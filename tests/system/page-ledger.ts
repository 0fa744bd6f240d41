// PageLedger: what a test wrote to each page, and what a read may find there after a crash: the last content that a
// flush covered, or anything written after it. Every written page has a version, and content that only that version of that
// page has.

import { createHash } from "node:crypto";

export const pageBytes = 4096;

export class PageLedger {
  #version = 0;
  /** Versions written to each page since the durable one, in order. */
  readonly #written = new Map<number, number[]>();
  readonly #durable = new Map<number, number>();
  /** Answered and not yet covered by a flush that was sent. */
  #answered = new Map<number, number>();

  /** Pages ever written. */
  get pages(): readonly number[] {
    return [...this.#written.keys()];
  }

  /** Bytes to write to pages [first, first + count) now. */
  write(first: number, count: number): { readonly versions: readonly number[]; readonly bytes: Buffer } {
    const versions: number[] = [];
    const contents: Buffer[] = [];
    for (let page = first; page < first + count; page++) {
      this.#version += 1;
      versions.push(this.#version);
      contents.push(contentOf(page, this.#version));
      const written = this.#written.get(page);
      if (written === undefined) this.#written.set(page, [this.#version]);
      else written.push(this.#version);
    }
    return { versions, bytes: Buffer.concat(contents) };
  }

  /** That write was answered. */
  answered(first: number, versions: readonly number[]): void {
    for (const [i, version] of versions.entries()) this.#answered.set(first + i, version);
  }

  /** A flush is sent now; call what this returns when it is answered. One at a time. */
  flushSent(): () => void {
    const covered = this.#answered;
    this.#answered = new Map();
    return () => {
      for (const [page, version] of covered) this.#durable.set(page, version);
    };
  }

  /** A flush was in flight when everything died: what it would have covered may be there or not. */
  crashed(): void {
    this.#answered = new Map();
  }

  /** What was found after a crash stays: from now on it is the least that may be read. Throws when it may not be there. */
  found(page: number, bytes: Buffer): void {
    const durable = this.#durable.get(page) ?? 0;
    const found = [...(this.#written.get(page) ?? []), 0]
      .filter((version) => version >= durable)
      .find((version) => bytes.equals(contentOf(page, version)));
    if (found === undefined) {
      throw new Error(`page ${page} holds ${describe(bytes)}; flushed was version ${durable} of it`);
    }
    this.#durable.set(page, found);
    this.#written.set(page, [found]);
  }
}

/** Content of version 0 is zeroes: never written. */
function contentOf(page: number, version: number): Buffer {
  const bytes = Buffer.alloc(pageBytes);
  if (version === 0) return bytes;
  const head = `page ${page} version ${version} `;
  const pattern = createHash("sha256").update(head).digest();
  bytes.fill(pattern);
  bytes.write(head);
  return bytes;
}

function describe(bytes: Buffer): string {
  if (bytes.every((byte) => byte === 0)) return "zeroes";
  const named = /^page \d+ version \d+ /.exec(bytes.toString("latin1", 0, 64));
  if (named === null) return `something never written (${bytes.toString("hex", 0, 16)}...)`;
  const [, page, version] = /page (\d+) version (\d+)/.exec(named[0])!.map(Number);
  return bytes.equals(contentOf(page, version)) ? named[0].trim() : `a torn ${named[0].trim()}`;
}
