// Random clients send requests: mostly sensible, sometimes not, cut into chunks anywhere, to a device that answers in
// any order. Every answer is checked against a plain array of bytes.

import assert from "node:assert/strict";
import { test } from "node:test";
import { MemoryBudget, Metrics, ReusedMemory } from "#host";
import type { ErrorCode, TakeMemory } from "#model";
import { errorCodes, pageBytes, TorusError } from "#model";
import { MemoryDevice } from "#volume";
import { errno, requestErrno } from "./errors.ts";
import { Dice, label, mutate, seed, steps } from "./fuzz-suite-dice.ts";
import type { Expected } from "./fuzz-suite-replies.ts";
import { ReplyReader } from "./fuzz-suite-replies.ts";
import type { MetaContext } from "./meta-contexts.ts";
import type { HeaderStyle, RequestFields } from "./nbd-codec.ts";
import { command, commandFlag, encodeRequest } from "./nbd-codec.ts";
import { silent } from "./server-suite-setup.ts";
import { Transmission, TransmissionMetrics } from "./transmission.ts";
import { checkRequest } from "./transmission-machine.ts";

const deviceBytes = 256 * 1024;
const allocation: MetaContext = { id: 1, name: "base:allocation" };

/** A client without chunks has no contexts. */
function contextsOf(style: HeaderStyle): readonly MetaContext[] {
  return style === "simple" ? [] : [allocation];
}

/** A device that does its work when asked, and says so later, in any order. */
class LateDevice extends MemoryDevice {
  readonly waiting: (() => void)[] = [];
  /** Codes to fail the next calls with, in order; null to succeed. */
  readonly verdicts: (ErrorCode | null)[] = [];

  #late<T>(work: Promise<T>): Promise<T> {
    const verdict = this.verdicts.shift() ?? null;
    return new Promise((resolve, reject) => {
      this.waiting.push(() => {
        if (verdict === null) work.then(resolve, reject);
        else reject(new TorusError(verdict, `failed with ${verdict}`));
      });
    });
  }

  override read(offset: number, length: number, take?: TakeMemory) {
    return this.#late(super.read(offset, length, take));
  }
  override write(offset: number, bytes: Uint8Array, fua: boolean) {
    return this.#late(super.write(offset, bytes, fua));
  }
  override trim(offset: number, length: number, fua: boolean) {
    return this.#late(super.trim(offset, length, fua));
  }
  override writeZeroes(offset: number, length: number, fua: boolean) {
    return this.#late(super.writeZeroes(offset, length, fua));
  }
  override extents(offset: number, length: number, countMax: number) {
    return this.#late(super.extents(offset, length, countMax));
  }
  override flush() {
    return this.#late(super.flush());
  }
}

/** The server's side of a socket: keeps what is written, and takes it when it likes. */
class FakeSocket {
  readonly writable = true;
  paused = false;
  readonly written: Buffer[] = [];
  readonly taken: (() => void)[] = [];
  cork(): void {}
  uncork(): void {}
  pause(): this {
    this.paused = true;
    return this;
  }
  resume(): this {
    this.paused = false;
    return this;
  }
  write(bytes: Uint8Array, callback?: () => void): boolean {
    // What is passed to a socket is its own until it has taken it.
    this.taken.push(() => {
      this.written.push(Buffer.from(bytes));
      callback?.();
    });
    return true;
  }
}

test(`every request is answered once and right, in any order, over any chunks (${label})`, async () => {
  const dice = new Dice(seed + 1);
  for (let done = 0; done < steps; ) done += await transmit(dice, Math.min(2000, steps - done));
});

async function transmit(dice: Dice, count: number): Promise<number> {
  const style = dice.pick(["simple", "structured", "extended"] as const);
  const socket = new FakeSocket();
  const device = new LateDevice({ name: "fuzz", sizeBytes: deviceBytes, readOnly: dice.oneIn(8) });
  let finished = false;
  const budget = new MemoryBudget(dice.pick([4096, 2 ** 30]));
  const transmission = new Transmission(
    { style, contexts: contextsOf(style) },
    {
      socket: socket as never,
      device,
      memory: new ReusedMemory(),
      budget,
      log: silent,
      metrics: new TransmissionMetrics(new Metrics()),
      onFinished: () => {
        finished = true;
      },
    },
  );
  const model = Buffer.alloc(deviceBytes);
  const expected = new Map<number, Expected>();
  const replies = new ReplyReader(style, expected);
  for (let cookie = 0; cookie < count; ) {
    const batch: Buffer[] = [];
    for (let size = 1 + dice.below(40); size > 0 && cookie < count; size -= 1, cookie += 1) {
      batch.push(randomRequest(dice, cookie, device, style, model, expected));
    }
    const stream = Buffer.concat(batch);
    for (let at = 0; at < stream.length; ) {
      const end = Math.min(stream.length, at + 1 + dice.below(dice.oneIn(2) ? 50 : 20_000));
      while (socket.paused) await turn(dice, device, socket, replies, true);
      // Where it wants its bytes, now and then, or else in memory that is the socket's again when it returns.
      const room = dice.oneIn(4) ? null : transmission.room();
      const bytes = stream.subarray(at, room === null ? end : Math.min(end, at + room.length));
      const chunk =
        room === null ? Buffer.from(bytes) : Buffer.from(room.buffer, room.byteOffset, bytes.length);
      if (room !== null) chunk.set(bytes);
      transmission.receive(chunk);
      if (room === null) chunk.fill(0xdb);
      at += bytes.length;
    }
    await turn(dice, device, socket, replies, dice.oneIn(2));
  }
  while (expected.size > 0) await turn(dice, device, socket, replies, true);
  transmission.receive(
    encodeRequest(
      { flags: 0, type: command.disconnect, cookieHigh: 0, cookieLow: 0, offset: 0, length: 0 },
      Buffer.alloc(0),
      style === "extended",
    ),
  );
  assert.ok(finished, "DISC with nothing in flight finishes");
  for (const taken of socket.taken.splice(0)) taken();
  assert.equal(budget.bytes, 0, "all that was taken was given back");
  return count;
}

/** Settles some calls in random order, ends the turn, lets the socket take some, and checks what came out. */
async function turn(
  dice: Dice,
  device: LateDevice,
  socket: FakeSocket,
  replies: ReplyReader,
  hurry: boolean,
) {
  for (
    let left = hurry ? device.waiting.length : dice.below(device.waiting.length + 1);
    left > 0;
    left -= 1
  ) {
    const [settle] = device.waiting.splice(dice.below(device.waiting.length), 1);
    settle();
  }
  await new Promise((resolve) => setImmediate(resolve));
  if (hurry || dice.oneIn(2)) for (const taken of socket.taken.splice(0)) taken();
  replies.read(Buffer.concat(socket.written.splice(0)));
}

function randomRequest(
  dice: Dice,
  cookie: number,
  device: LateDevice,
  style: HeaderStyle,
  model: Buffer,
  expected: Map<number, Expected>,
): Buffer {
  const request = randomFields(dice, cookie, style);
  const hasPayload =
    style === "extended" ? (request.flags & commandFlag.payloadLength) !== 0 : request.type === command.write;
  if (hasPayload && request.length > 100_000) request.length = 100_000;
  const filler = hasPayload ? dice.bytes(16).fill(0, 0, dice.pick([0, 16])) : Buffer.alloc(0);
  const data = hasPayload ? Buffer.alloc(request.length, filler) : filler;
  const { sizeBytes, readOnly } = device.info;
  let refused = checkRequest(request, { sizeBytes, readOnly, style, contexts: contextsOf(style) });
  // A payload of BLOCK_STATUS that makes sense is tested by itself.
  if (request.type === command.blockStatus && hasPayload) refused = errno.invalid;
  const isWhole = (request.flags & commandFlag.df) !== 0;
  const { offset, length } = request;
  const base = { offset, errno: refused, data: null, pages: null, length, isWhole };
  if (refused !== errno.none) expected.set(cookie, base);
  else {
    const verdict = dice.oneIn(20) ? dice.pick(errorCodes) : null;
    device.verdicts.push(verdict);
    const read = apply(model, request, data);
    if (verdict !== null) expected.set(cookie, { ...base, errno: requestErrno(verdict) });
    else if (request.type === command.blockStatus)
      expected.set(cookie, { ...base, pages: Buffer.from(model), one: (request.flags & 8) !== 0 });
    else expected.set(cookie, { ...base, data: read });
  }
  return encodeRequest(request, data, style === "extended");
}

function randomFields(dice: Dice, cookie: number, style: HeaderStyle): RequestFields {
  const type = dice.oneIn(60) ? dice.below(65536) : dice.pick([0, 0, 0, 1, 1, 1, 3, 4, 5, 6, 7]);
  let length = dice.oneIn(30)
    ? dice.below(2 ** 32)
    : dice.pick([0, 1, 512, pageBytes, dice.below(30_000), dice.below(70_000)]);
  if (style === "extended" && dice.oneIn(60)) length *= 2 ** dice.below(32);
  const offset = dice.oneIn(30)
    ? dice.below(2 ** 32) * 2 ** dice.below(32)
    : dice.below(deviceBytes - 30_000);
  let flags = dice.oneIn(30) ? dice.below(65536) : dice.below(2);
  if (type === command.read && dice.oneIn(3)) flags |= commandFlag.df;
  if (type === command.blockStatus && dice.oneIn(3)) flags |= commandFlag.requestOne;
  if (style === "extended" && (type === command.write ? !dice.oneIn(40) : dice.oneIn(60)))
    flags |= commandFlag.payloadLength;
  const request = { flags, type, cookieHigh: 0xabcd, cookieLow: cookie, offset, length };
  if (type === command.disconnect) request.type = command.flush;
  return request;
}

/** Does the request to the model; what a READ must give. */
function apply(model: Buffer, { type, offset, length }: RequestFields, data: Buffer): Buffer | null {
  if (type === command.read) return Buffer.from(model.subarray(offset, offset + length));
  if (type === command.write) data.copy(model, offset);
  if (type === command.writeZeroes) model.fill(0, offset, offset + length);
  const first = Math.ceil(offset / pageBytes) * pageBytes;
  const end = Math.floor((offset + length) / pageBytes) * pageBytes;
  if (type === command.trim && end > first) model.fill(0, first, end);
  return null;
}

test(`garbage ends transmission, and nothing is answered that was not asked (${label})`, async () => {
  const dice = new Dice(seed + 2);
  for (let step = 0; step < steps / 100; step += 1) {
    const socket = new FakeSocket();
    const device = new LateDevice({ name: "fuzz", sizeBytes: deviceBytes });
    const transmission = new Transmission(
      { style: step % 2 === 0 ? "structured" : "extended", contexts: [allocation] },
      {
        socket: socket as never,
        device,
        memory: new ReusedMemory(),
        budget: new MemoryBudget(2 ** 30),
        log: silent,
        metrics: new TransmissionMetrics(new Metrics()),
        onFinished: () => {},
      },
    );
    const stream = Array.from({ length: 5 }, (_, cookie) =>
      randomRequest(
        dice,
        cookie,
        device,
        step % 2 === 0 ? "structured" : "extended",
        Buffer.alloc(deviceBytes),
        new Map(),
      ),
    );
    const bytes = mutate(dice, Buffer.concat(stream));
    for (let at = 0; at < bytes.length && !socket.paused; ) {
      const end = Math.min(bytes.length, at + 1 + dice.below(40_000));
      transmission.receive(bytes.subarray(at, end));
      at = end;
    }
    transmission.end();
    for (const settle of device.waiting) settle();
    if (step % 50 === 0) await new Promise((resolve) => setImmediate(resolve));
  }
});
