// PageHistory: what was written to each page of a volume, when it was answered, and so what a read may find. One
// client writes, and never two of its writes to a page at a time.
//
// While an attachment lives, a page holds the last write that was answered. When it ends, and the next lets clients come back, all that
// was answered is there. When clients of before are cut off first, what was not flushed may be lost, but only from the end: each page
// holds its last flushed version or a later one, and nothing that was answered is missing while something that was issued after that
// answer is there. What an attachment is found to begin with stays.

import { createHash } from "node:crypto";

export const pageBytes = 4096;

/** A promise of the cluster that was not kept. */
export class Violation extends Error {
  override readonly name = "Violation";
}

interface Version {
  /** Versions of all pages and answers share one count, so that they can be compared. 0: never written, zeroes. */
  readonly number: number;
  answered: number;
}

interface Page {
  /** A read must find this or something later. */
  durable: number;
  /** Since then, in order. */
  written: Version[];
  /** A read must find this; null when that is not known. */
  exact: number | null;
  /** A write failed in this attachment: whether it took effect may still change. */
  loose: boolean;
}

/** A write on its way. */
export interface PageWrite {
  readonly first: number;
  readonly bytes: Buffer;
  readonly versions: readonly Version[];
}

export class PageHistory {
  readonly volume: string;
  readonly #pages: Page[];
  #count = 0;
  /** Answered and not covered by a flush that was sent, by page. */
  #answered = new Map<number, number>();
  /** Of the check under way: the latest version found, and answered versions that were not. */
  #newest = 0;
  #missing: { page: number; version: Version }[] = [];

  constructor(volume: string, pages: number) {
    this.volume = volume;
    this.#pages = Array.from({ length: pages }, () => ({
      durable: 0,
      written: [],
      exact: 0,
      loose: false,
    }));
  }

  get pages(): number {
    return this.#pages.length;
  }

  /** A write to pages [first, first + count) is issued now. */
  write(first: number, count: number): PageWrite {
    const versions: Version[] = [];
    const contents: Buffer[] = [];
    for (let page = first; page < first + count; page++) {
      this.#count += 1;
      const version = { number: this.#count, answered: Number.POSITIVE_INFINITY };
      versions.push(version);
      contents.push(this.#content(page, version.number));
      this.#pages[page].written.push(version);
      this.#pages[page].exact = null;
    }
    return { first, versions, bytes: Buffer.concat(contents) };
  }

  /** Content that nobody may ever read: what a replaced writer is given. */
  forbidden(page: number): Buffer {
    return fill(`volume ${this.volume} page ${page} of a writer that was replaced `);
  }

  answered(write: PageWrite): void {
    this.#count += 1;
    for (const [i, version] of write.versions.entries()) {
      const page = this.#pages[write.first + i];
      version.answered = this.#count;
      page.exact = version.number;
      this.#answered.set(write.first + i, version.number);
    }
  }

  /** It was answered with an error, and the attachment goes on: it may take effect or not. */
  failed(write: PageWrite): void {
    for (const i of write.versions.keys()) this.#pages[write.first + i].loose = true;
  }

  /** A flush is sent now, and covers what was answered. Call one of what this returns with its outcome. */
  flushSent(): { readonly answered: () => void; readonly failed: () => void } {
    const covered = this.#answered;
    this.#answered = new Map();
    return {
      answered: () => {
        for (const [page, version] of covered) this.#raise(this.#pages[page], version);
      },
      failed: () => {
        for (const [page, version] of covered) {
          if (!this.#answered.has(page)) this.#answered.set(page, version);
        }
      },
    };
  }

  /** The attachment ended. */
  detached(): void {
    this.#answered = new Map();
    for (const page of this.#pages) {
      // Without anything since the last flush it still is what it was.
      page.exact = page.written.every(({ number }) => number === page.durable) ? page.durable : null;
      page.loose = false;
    }
    this.#newest = 0;
    this.#missing = [];
  }

  /** The next one let its clients come back: all that was answered is there. */
  cameBack(): void {
    for (const page of this.#pages) {
      const answered = page.written.findLast((version) => version.answered < Number.POSITIVE_INFINITY);
      if (answered !== undefined) this.#raise(page, answered.number);
    }
  }

  /** Pages from `first` were read. Throws a `Violation` when they may not be as they are. */
  found(first: number, bytes: Buffer): void {
    for (let i = 0; i * pageBytes < bytes.length; i++)
      this.#found(first + i, bytes.subarray(i * pageBytes, (i + 1) * pageBytes));
  }

  /** All pages have been read since the attachment began: whether what was lost was lost from the end. */
  requireOrder(): void {
    const wrong = this.#missing.find(({ version }) => version.answered < this.#newest);
    if (wrong !== undefined) {
      const { page, version } = wrong;
      throw new Violation(
        `volume ${this.volume}: version ${version.number} of page ${page} was answered and is lost, and version ${this.#newest}, written later, is there`,
      );
    }
    this.#missing = [];
  }

  #found(at: number, bytes: Buffer): void {
    const page = this.#pages[at];
    const allowed =
      page.exact === null
        ? [page.durable, ...page.written.map(({ number }) => number)].filter(
            (number) => number >= page.durable,
          )
        : [page.exact];
    // The latest first: that is what it mostly is.
    const found = allowed.reverse().find((number) => bytes.equals(this.#content(at, number)));
    if (found === undefined) {
      const those = [...new Set(allowed)].join(" or ");
      throw new Violation(
        `volume ${this.volume}: page ${at} holds ${this.#describe(at, bytes)}; it must be version ${those} (${page.durable} is certain)`,
      );
    }
    if (page.exact !== null || page.loose) return;
    if (found > page.durable) this.#newest = Math.max(this.#newest, found);
    for (const version of page.written) {
      if (version.number > found && version.answered < Number.POSITIVE_INFINITY)
        this.#missing.push({ page: at, version });
    }
    page.written = page.written.filter(({ number }) => number <= found);
    page.exact = found;
    this.#raise(page, found);
  }

  #raise(page: Page, durable: number): void {
    if (durable < page.durable) return;
    page.durable = durable;
    page.written = page.written.filter(({ number }) => number >= durable);
  }

  #content(page: number, version: number): Buffer {
    return version === 0 ? zeroes : fill(`volume ${this.volume} page ${page} version ${version} `);
  }

  #describe(at: number, bytes: Buffer): string {
    if (bytes.equals(zeroes)) return "zeroes";
    const head = /^volume \S+ page (\d+) (?:version (\d+) |of a writer that was replaced )/.exec(
      bytes.toString("latin1", 0, 128),
    );
    if (head === null) return `something never written (${bytes.toString("hex", 0, 16)}...)`;
    const whole = bytes.equals(fill(head[0])) ? "" : "a torn ";
    return `${whole}"${head[0].trim()}"${Number(head[1]) === at ? "" : ", which is another page"}`;
  }
}

const zeroes = Buffer.alloc(pageBytes);

function fill(head: string): Buffer {
  const bytes = Buffer.allocUnsafe(pageBytes);
  bytes.fill(createHash("sha256").update(head).digest());
  bytes.write(head);
  return bytes;
}
