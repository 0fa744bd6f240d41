// Protocol Buffers' wire format (protobuf.dev/programming-guides/encoding), as much as etcd's messages need: varints and
// length-delimited fields. Integers are numbers: what does not fit 53 bits is refused, not rounded; only ids that nobody
// calculates with are read as bigint. Unknown fields are skipped, whatever their type: a newer etcd may send more.

import { assert, TorusError } from "#model";

const wireVarint = 0;
const wireFixed64 = 1;
const wireDelimited = 2;
const wireFixed32 = 5;

const textEncoder = new TextEncoder();
/** A BOM is part of the text, and what is not UTF-8 is an error. */
const textDecoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** Writes the fields of one message, each at most as often as it is called. Defaults (0, false, empty) are left out, as proto3 does. */
export class FieldWriter {
  #bytes = new Uint8Array(64);
  #length = 0;

  int(field: number, value: number): this {
    return value === 0 ? this : this.presentInt(field, value);
  }

  /** Also when it is 0: of a oneof, presence says which. */
  presentInt(field: number, value: number): this {
    assert(Number.isSafeInteger(value) && value >= 0, "a number to encode is a whole number of 53 bits");
    this.#tag(field, wireVarint);
    this.#varint(value);
    return this;
  }

  bool(field: number, value: boolean): this {
    return value ? this.presentInt(field, 1) : this;
  }

  text(field: number, value: string): this {
    return value === "" ? this : this.message(field, textEncoder.encode(value));
  }

  /** A message, present also when it is empty. */
  message(field: number, encoded: Uint8Array): this {
    this.#tag(field, wireDelimited);
    this.#varint(encoded.length);
    this.#reserve(encoded.length);
    this.#bytes.set(encoded, this.#length);
    this.#length += encoded.length;
    return this;
  }

  finish(): Uint8Array {
    return this.#bytes.subarray(0, this.#length);
  }

  #tag(field: number, wire: number): void {
    this.#varint(field * 8 + wire);
  }

  #varint(value: number): void {
    this.#reserve(8);
    let rest = value;
    while (rest >= 0x80) {
      this.#bytes[this.#length++] = (rest % 0x80) | 0x80;
      rest = Math.floor(rest / 0x80);
    }
    this.#bytes[this.#length++] = rest;
  }

  #reserve(bytes: number): void {
    const needed = this.#length + bytes;
    if (needed <= this.#bytes.length) return;
    const larger = new Uint8Array(Math.max(needed, 2 * this.#bytes.length));
    larger.set(this.#bytes.subarray(0, this.#length));
    this.#bytes = larger;
  }
}

/** Reads one message field by field: `next()`, then look at `field` and take its value, or none: what is not taken is skipped. */
export class FieldReader {
  readonly #bytes: Uint8Array;
  #at = 0;
  #field = 0;
  #wire = -1;
  /** The value of the current field has not been read. */
  #pending = false;
  #low = 0;
  #high = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  get field(): number {
    return this.#field;
  }

  /** On to the next field; false at the end of the message. */
  next(): boolean {
    if (this.#pending) this.#skip();
    if (this.#at === this.#bytes.length) return false;
    this.#readVarint();
    this.#field = this.#high * 2 ** 29 + (this.#low >>> 3);
    this.#wire = this.#low & 7;
    if (this.#field === 0) throw malformed("field 0");
    this.#pending = true;
    return true;
  }

  /** int64: negative numbers too. */
  int(): number {
    this.#take(wireVarint);
    this.#readVarint();
    const value = (this.#high | 0) * 2 ** 32 + this.#low;
    if (!Number.isSafeInteger(value)) throw malformed(`a number beyond 53 bits in field ${this.#field}`);
    return value;
  }

  /** uint64. */
  id(): bigint {
    this.#take(wireVarint);
    this.#readVarint();
    return (BigInt(this.#high) << 32n) | BigInt(this.#low);
  }

  bool(): boolean {
    this.#take(wireVarint);
    this.#readVarint();
    return this.#low !== 0 || this.#high !== 0;
  }

  /** A view, not a copy. */
  bytes(): Uint8Array {
    this.#take(wireDelimited);
    return this.#delimited();
  }

  text(): string {
    const bytes = this.bytes();
    try {
      return textDecoder.decode(bytes);
    } catch (error) {
      throw malformed(`field ${this.#field} is not UTF-8 text`, error);
    }
  }

  message(): FieldReader {
    return new FieldReader(this.bytes());
  }

  #take(wire: number): void {
    if (this.#wire !== wire) throw malformed(`field ${this.#field} has wire type ${this.#wire}`);
    this.#pending = false;
  }

  #skip(): void {
    this.#pending = false;
    switch (this.#wire) {
      case wireVarint:
        this.#readVarint();
        return;
      case wireFixed64:
        this.#advance(8);
        return;
      case wireDelimited:
        this.#delimited();
        return;
      case wireFixed32:
        this.#advance(4);
        return;
      default:
        throw malformed(`wire type ${this.#wire}`);
    }
  }

  #delimited(): Uint8Array {
    this.#readVarint();
    const start = this.#at;
    this.#advance(this.#high * 2 ** 32 + this.#low);
    return this.#bytes.subarray(start, this.#at);
  }

  #advance(bytes: number): void {
    if (bytes > this.#bytes.length - this.#at) throw malformed("a field goes past the end of its message");
    this.#at += bytes;
  }

  /** Into `#low` and `#high`, both unsigned 32 bits. */
  #readVarint(): void {
    let low = 0;
    let high = 0;
    for (let shift = 0; shift < 70; shift += 7) {
      if (this.#at === this.#bytes.length) throw malformed("a number goes past the end of its message");
      const byte = this.#bytes[this.#at++];
      const bits = byte & 0x7f;
      if (shift < 32) low |= bits << shift;
      if (shift === 28) high |= bits >>> 4;
      else if (shift > 28) high |= bits << (shift - 32);
      if (byte < 0x80) {
        this.#low = low >>> 0;
        this.#high = high >>> 0;
        return;
      }
    }
    throw malformed("a number of more than ten bytes");
  }
}

function malformed(what: string, cause?: unknown): TorusError {
  return new TorusError("protocol", `etcd sent a message that is malformed: ${what}`, {}, { cause });
}
