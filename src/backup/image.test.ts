// Raw images over devices in memory: whatever is in a device comes back, through files and through pipes; holes stay holes; and what fails leaves nothing.

import assert from "node:assert/strict";
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { PassThrough, Readable } from "node:stream";
import { after, it } from "node:test";
import fc from "fast-check";
import { isTorusError, TorusError } from "#model";
import { MemoryDevice } from "#volume";
import { dumpImage } from "./image-dump.ts";
import { openSink, openSource, pipeSink, pipeSource } from "./image-file.ts";
import { loadImage } from "./image-load.ts";

const MiB = 2 ** 20;
const directory = mkdtempSync(join(tmpdir(), "torus-image-"));
after(() => rmSync(directory, { recursive: true }));

const going = new AbortController().signal;
const silent = { signal: going, onProgress: () => {} };

async function deviceOf(writes: readonly { offset: number; bytes: Uint8Array }[], sizeBytes: number) {
  const device = new MemoryDevice({ name: "d", sizeBytes });
  for (const { offset, bytes } of writes)
    await device.write(offset, bytes.subarray(0, sizeBytes - offset), false);
  return device;
}

async function content(device: MemoryDevice): Promise<Buffer> {
  return Buffer.from(await device.read(0, device.info.sizeBytes));
}

async function dumpToFile(device: MemoryDevice, path: string): Promise<number> {
  const sink = await openSink(path, "partial-1");
  try {
    return await dumpImage(device, sink, silent);
  } finally {
    await sink.close();
  }
}

const pages = fc.integer({ min: 1, max: 1500 });
const anyWrites = fc.array(
  fc.record({
    offset: fc.nat(1499).map((page) => page * 4096),
    bytes: fc.tuple(fc.integer({ min: 1, max: 700 }), fc.nat(255)).map(([count, value]) => {
      return Buffer.alloc(count * 4096, value);
    }),
  }),
  { maxLength: 5 },
);

it("images: what is in a device is in its image, and in the device that is loaded from it, by file and by pipe", async () => {
  await fc.assert(
    fc.asyncProperty(pages, anyWrites, async (count, writes) => {
      const fitting = writes.filter(({ offset }) => offset < count * 4096);
      const device = await deviceOf(fitting, count * 4096);
      const expected = await content(device);
      const path = join(directory, "image");
      await dumpToFile(device, path);
      assert.ok(readFileSync(path).equals(expected));
      const piped = new PassThrough({ highWaterMark: 2 ** 24 });
      await dumpImage(device, pipeSink(piped), silent);
      piped.end();
      const source = await openSource(path);
      assert.equal(source.sizeBytes, expected.length);
      for (const [from, isNew] of [
        [source, true],
        [pipeSource(piped), false],
      ] as const) {
        const copy = new MemoryDevice({ name: "copy", sizeBytes: expected.length });
        if (!isNew) await copy.write(0, Buffer.alloc(expected.length, 7), false);
        await loadImage(from, copy, { ...silent, isNew });
        await from.close();
        assert.ok((await content(copy)).equals(expected));
      }
    }),
    { numRuns: 25, seed: 3 },
  );
});

it("images: holes of a device are not read, and are holes of the file; pages of zeroes are not written", async () => {
  const device = await deviceOf([{ offset: 700 * MiB, bytes: Buffer.alloc(4096, 1) }], 1024 * MiB);
  const path = join(directory, "sparse");
  assert.equal(await dumpToFile(device, path), 4096);
  assert.equal(device.calls.read, 1);
  const { size, blocks } = statSync(path);
  assert.equal(size, 1024 * MiB);
  assert.ok(blocks * 512 < 64 * 1024, `${blocks * 512} bytes on disk`);
  const image = Buffer.concat([Buffer.alloc(2 * MiB), Buffer.alloc(4096, 3), Buffer.alloc(4096)]);
  const copy = new MemoryDevice({ name: "copy", sizeBytes: 4 * MiB });
  const source = pipeSource(Readable.from([image]));
  const loaded = await loadImage(source, copy, { ...silent, isNew: true });
  assert.deepEqual(loaded, { imageBytes: image.length, writtenBytes: 4096 });
  assert.deepEqual([copy.calls.write, copy.calls.writeZeroes, copy.calls.flush], [1, 0, 1]);
});

it("images: an odd size is kept to the byte when it is loaded", async () => {
  const image = Buffer.alloc(MiB + 1234, 9);
  const device = new MemoryDevice({ name: "d", sizeBytes: 2 * MiB });
  await device.write(0, Buffer.alloc(2 * MiB, 1), false);
  await loadImage(pipeSource(Readable.from([image])), device, { ...silent, isNew: false });
  const bytes = await content(device);
  assert.ok(bytes.subarray(0, image.length).equals(image));
  assert.ok(
    bytes.subarray(image.length).every((byte) => byte === 1),
    "what lies behind it stays",
  );
});

it("images: a dump that fails or is stopped keeps the file of before, and leaves no part behind", async () => {
  const path = join(directory, "kept");
  writeFileSync(path, "before");
  const device = await deviceOf([{ offset: 0, bytes: Buffer.alloc(8 * MiB, 1) }], 64 * MiB);
  device.failure = new TorusError("corrupt", "no copy is right");
  await assert.rejects(dumpToFile(device, path), (error) => isTorusError(error, "corrupt"));
  device.failure = null;
  const stopped = new AbortController();
  const sink = await openSink(path, "partial-1");
  const onProgress = (): void => stopped.abort("SIGINT");
  await assert.rejects(dumpImage(device, sink, { signal: stopped.signal, onProgress }), /stopped by SIGINT/);
  await sink.close();
  assert.equal(readFileSync(path, "utf8"), "before");
  assert.deepEqual(
    readdirSync(directory).filter((name) => name.startsWith("kept")),
    ["kept"],
  );
});

it("images: a pipe that nobody reads any more ends a dump with an error", async () => {
  const device = await deviceOf([{ offset: 0, bytes: Buffer.alloc(8 * MiB, 1) }], 64 * MiB);
  const stream = new PassThrough();
  stream.on("data", () => stream.destroy(new Error("EPIPE")));
  await assert.rejects(dumpImage(device, pipeSink(stream), silent), /cannot be written: EPIPE/);
});

it("images: one that is too large, or that the device does not take, is refused with nothing under way", async () => {
  const device = new MemoryDevice({ name: "small", sizeBytes: 2 * MiB });
  const large = (): PassThrough => {
    const stream = new PassThrough({ highWaterMark: 2 ** 24 });
    stream.end(Buffer.alloc(3 * MiB, 1));
    return stream;
  };
  const load = { ...silent, isNew: true };
  await assert.rejects(
    loadImage(pipeSource(large()), device, load),
    /larger than volume "small", which has 2.0 MiB/,
  );
  assert.equal(device.calls.flush, 0);
  const full = new MemoryDevice({ name: "full", sizeBytes: 8 * MiB });
  full.failure = new TorusError("full", "no space");
  await assert.rejects(loadImage(pipeSource(large()), full, load), (error) => isTorusError(error, "full"));
});
