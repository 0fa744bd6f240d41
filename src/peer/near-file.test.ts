// Reading a peer's own file: only what the peer has read before, only from a slot that still holds the block, and not at all from another machine.

import assert from "node:assert/strict";
import { test } from "node:test";
import type { ForeignFile } from "#host";
import { Metrics } from "#host";
import type { BlockLocation, BlockRef } from "#model";
import { TorusError } from "#model";
import { NearFile } from "./near-file.ts";

const ref: BlockRef = { type: 0, volume: 1, epoch: 2, index: 3 };
const other: BlockRef = { ...ref, index: 4 };
const partBytes = 64 * 1024;
const blockBytes = 4 * partBytes;
const headBytes = 4096;
const take = (bytes: number): Uint8Array => new Uint8Array(bytes);

function bench() {
  const bytes = new Uint8Array(headBytes + blockBytes);
  for (let i = headBytes; i < bytes.length; i++) bytes[i] = (i * 7 + (i >> 10)) & 255;
  bytes.fill(9, 64, 128);
  const state = {
    bytes,
    nowMs: 0,
    /** How long a read of the file takes. */
    readMs: 0,
    bootId: "here",
    length: blockBytes,
    asked: 0,
    opened: 0,
    closed: 0,
    refusal: null as TorusError | null,
    canOpen: true,
    broken: false,
  };
  const file: ForeignFile = {
    readSync(target, offset) {
      if (state.broken) throw new TorusError("io", "the file is broken");
      state.nowMs += state.readMs;
      target.set(bytes.subarray(offset, offset + target.length));
    },
    close: () => {
      state.closed += 1;
    },
  };
  const near = new NearFile({
    bootId: "here",
    openFile: () => {
      state.opened += 1;
      return state.canOpen ? file : null;
    },
    locate: async (): Promise<BlockLocation> => {
      state.asked += 1;
      if (state.refusal !== null) throw state.refusal;
      const { bootId, length } = state;
      const entry = bytes.slice(64, 128);
      return { bootId, path: "/peer/blocks.torus", offset: headBytes, length, entryOffset: 64, entry };
    },
    clock: { monotonicMs: () => state.nowMs, wallMs: () => 0, setTimer: () => ({ cancel: () => {} }) },
    reads: new Metrics().counter("reads", "Reads."),
  });
  /** The peer reads for us, and says where the block lies. */
  const learn = async (offset = 0, length = 4096, of = ref): Promise<void> => {
    near.learn(of, offset, length);
    await new Promise(setImmediate);
  };
  const read = (offset = 0, length = 4096, of = ref): Uint8Array | null =>
    near.readNow(of, offset, length, take);
  return { state, near, learn, read };
}

test("what the peer has read is read from its file, with the rest of its part, and nothing else", async () => {
  const { state, near, learn, read } = bench();
  assert.equal(read(), null);
  assert.equal(near.isOpen, false);
  await learn(8192, 4096);
  assert.ok(near.isOpen);
  for (const offset of [0, 8192, partBytes - 4096]) {
    const expected = state.bytes.subarray(headBytes + offset, headBytes + offset + 4096);
    assert.deepEqual(read(offset), Uint8Array.from(expected));
  }
  assert.equal(read(partBytes), null, "another part");
  assert.equal(read(partBytes - 4096, 8192), null, "partly in another part");
  assert.equal(read(0, 4096, other), null, "another block");
  await learn(partBytes, partBytes);
  assert.equal(read(partBytes - 4096, 8192)?.length, 8192);
  assert.equal(state.asked, 1);
});

test("a slot that holds something else is not read", async () => {
  const { state, learn, read } = bench();
  await learn();
  assert.notEqual(read(), null);
  state.bytes[64] ^= 1;
  assert.equal(read(), null);
  state.bytes[64] ^= 1;
  assert.equal(read(), null, "its place is asked for anew");
  await learn();
  assert.notEqual(read(), null);
  assert.equal(state.asked, 2);
});

test("of a block that grows only what was in the file is read from there", async () => {
  const { state, learn, read } = bench();
  state.length = 8192;
  await learn(0, 4096);
  assert.notEqual(read(4096), null);
  assert.equal(read(8192), null);
  state.length = blockBytes;
  await learn(8192, 4096);
  assert.notEqual(read(8192), null);
});

test("a peer on another machine, with a file that is not ours to read, or that tells nobody, is left alone", async () => {
  for (const change of [
    { bootId: "there" },
    { canOpen: false },
    { refusal: new TorusError("unsupported", "no") },
  ]) {
    const { state, near, learn, read } = bench();
    Object.assign(state, change);
    await learn();
    await learn();
    assert.equal(read(), null);
    assert.deepEqual([near.isOpen, near.isFar], [false, true]);
    assert.equal(state.asked, 1, "it is asked once");
    near.forget();
    Object.assign(state, { bootId: "here", canOpen: true, refusal: null });
    await learn();
    assert.notEqual(read(), null, "after a new connection it is asked again");
  }
});

test("when the link ends all is forgotten, also what was on its way", async () => {
  const { state, near, learn, read } = bench();
  await learn();
  near.learn(other, 0, 4096);
  near.forget();
  assert.equal(state.closed, 1);
  await new Promise(setImmediate);
  assert.equal(near.isOpen, false);
  assert.equal(read(), null);
});

test("a file that cannot be read is given up", async () => {
  const { state, near, learn, read } = bench();
  await learn();
  state.broken = true;
  assert.equal(read(), null);
  assert.equal(near.isOpen, false);
});

test("reads that come from the disk are left to the peer for a while", async () => {
  const { state, learn, read } = bench();
  await learn();
  state.readMs = 2;
  for (let i = 0; i < 8; i++) assert.notEqual(read(), null);
  assert.equal(read(), null);
  state.readMs = 0;
  state.nowMs += 1000;
  assert.equal(read(), null, "nothing counts as in memory");
  await learn();
  assert.notEqual(read(), null);
});

test("what is distrusted is asked for anew", async () => {
  const { near, learn, read } = bench();
  await learn();
  near.distrust(ref);
  assert.equal(read(), null);
});
