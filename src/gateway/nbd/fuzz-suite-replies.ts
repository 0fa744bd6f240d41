// Takes a server's replies apart, of whatever style was agreed on, and holds each against what its request must be answered with.

import assert from "node:assert/strict";
import { pageBytes } from "#model";
import type { HeaderStyle } from "./nbd-codec.ts";

/** What a request must be answered with. */
export interface Expected {
  readonly errno: number;
  readonly offset: number;
  readonly length: number;
  /** Of a READ that succeeds. */
  readonly data: Buffer | null;
  /** It wants one chunk. */
  readonly isWhole: boolean;
  /** Of a BLOCK_STATUS that succeeds: the device's bytes then. */
  readonly pages: Buffer | null;
  readonly one?: boolean;
}

interface Chunk {
  readonly type: number;
  readonly body: Buffer;
}

export class ReplyReader {
  readonly #style: HeaderStyle;
  readonly #expected: Map<number, Expected>;
  /** Chunks of replies that are not done. */
  readonly #chunks = new Map<number, Chunk[]>();

  constructor(style: HeaderStyle, expected: Map<number, Expected>) {
    this.#style = style;
    this.#expected = expected;
  }

  /** Whole replies; strikes what is answered from `expected`. */
  read(bytes: Buffer): void {
    for (let at = 0; at < bytes.length; ) at += this.#one(bytes.subarray(at));
  }

  #one(bytes: Buffer): number {
    const magic = bytes.readUInt32BE(0);
    assert.equal(bytes.readUInt32BE(8), 0xabcd);
    const cookie = bytes.readUInt32BE(12);
    const expected = this.#expected.get(cookie);
    assert.ok(expected !== undefined, `an answer to ${cookie}, which waits for none`);
    if (magic === 0x67446698) {
      assert.notEqual(this.#style, "extended");
      this.#expected.delete(cookie);
      return this.#simple(bytes, expected);
    }
    const isExtended = this.#style === "extended";
    assert.equal(magic, isExtended ? 0x6e8a278c : 0x668e33ef);
    assert.notEqual(this.#style, "simple");
    const head = isExtended ? 32 : 20;
    if (isExtended) {
      assert.equal(bytes.readUInt32BE(16) * 2 ** 32 + bytes.readUInt32BE(20), expected.offset);
      assert.equal(bytes.readUInt32BE(24), 0);
    }
    const length = bytes.readUInt32BE(head - 4);
    const chunks = this.#chunks.get(cookie) ?? [];
    this.#chunks.set(cookie, chunks);
    chunks.push({ type: bytes.readUInt16BE(6), body: bytes.subarray(head, head + length) });
    const flags = bytes.readUInt16BE(4);
    assert.ok(flags === 0 || flags === 1);
    if (flags === 1) {
      this.#chunks.delete(cookie);
      this.#expected.delete(cookie);
      this.#reply(chunks, expected);
    }
    return head + length;
  }

  #simple(bytes: Buffer, { errno, data, pages }: Expected): number {
    assert.equal(bytes.readUInt32BE(4), errno);
    assert.equal(pages, null, "block status needs chunks");
    if (data === null) return 16;
    assert.equal(this.#style, "simple", "a READ is answered by chunks once they are agreed on");
    assert.ok(bytes.subarray(16, 16 + data.length).equals(data), "data");
    return 16 + data.length;
  }

  #reply(chunks: readonly Chunk[], expected: Expected): void {
    const { errno, data, pages, isWhole } = expected;
    const [{ type, body }] = chunks;
    if (errno !== 0) {
      assert.equal(type, 0x8001);
      assert.equal(body.readUInt32BE(0), errno);
      assert.equal(body.readUInt16BE(4), body.length - 6);
    } else if (pages !== null) this.#status(body, type, pages, expected);
    else if (data === null || data.length === 0) assert.ok(type === 0 && body.length === 0);
    else {
      if (isWhole) assert.equal(chunks.length, 1, "not fragmented");
      assert.ok(assemble(chunks, expected).equals(data), "data");
      return;
    }
    assert.equal(chunks.length, 1);
  }

  #status(body: Buffer, type: number, pages: Buffer, { offset, length, one }: Expected): void {
    const isExtended = this.#style === "extended";
    assert.equal(type, isExtended ? 6 : 5);
    assert.equal(body.readUInt32BE(0), 1);
    const [first, size, half] = isExtended ? [8, 16, 8] : [4, 8, 4];
    const count = (body.length - first) / size;
    assert.ok(Number.isInteger(count) && count > 0 && (one !== true || count === 1));
    if (isExtended) assert.equal(body.readUInt32BE(4), count);
    let at = offset;
    for (let index = 0; index < count; index += 1) {
      const place = first + index * size;
      const extent = body.readUInt32BE(place + half - 4);
      const flags = body.readUInt32BE(place + size - 4);
      assert.ok(extent > 0 && (flags === 0 || flags === 3));
      for (let byte = at; byte < at + extent; byte = (Math.floor(byte / pageBytes) + 1) * pageBytes)
        assert.equal(flags, isZeroPage(pages, byte) ? 3 : 0, `page of byte ${byte}`);
      at += extent;
    }
    assert.ok(at <= offset + length);
  }
}

function assemble(chunks: readonly Chunk[], { offset, length }: Expected): Buffer {
  const bytes = Buffer.alloc(length, 0xee);
  let covered = 0;
  for (const { type, body } of chunks) {
    const at = body.readUInt32BE(0) * 2 ** 32 + body.readUInt32BE(4) - offset;
    assert.equal(at, covered, "in order, apart");
    if (type === 1) {
      assert.ok(body.length > 8);
      covered += body.copy(bytes, at, 8);
    } else {
      assert.equal(type, 2);
      assert.equal(body.length, 12);
      const hole = body.readUInt32BE(8);
      bytes.fill(0, at, at + hole);
      covered += hole;
    }
  }
  assert.equal(covered, length);
  return bytes;
}

function isZeroPage(bytes: Buffer, at: number): boolean {
  const start = at - (at % pageBytes);
  return bytes.subarray(start, start + pageBytes).every((byte) => byte === 0);
}
