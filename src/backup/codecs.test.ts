// The bytes of backups: as they were written by the first version, there and back, and anything at all without more than an error.

import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { it } from "node:test";
import fc from "fast-check";
import { isTorusError } from "#model";
import type { ChunkFrame } from "./chunk-codec.ts";
import { decodeChunk, decodeIndex, encodeChunk, encodeIndex } from "./chunk-codec.ts";
import type { BackupManifest, UnfinishedBackup } from "./manifest-codec.ts";
import {
  decodeManifest,
  decodeRepository,
  decodeUnfinished,
  encodeManifest,
  encodeRepository,
  encodeUnfinished,
} from "./manifest-codec.ts";
import { encodeRecord } from "./record-text.ts";
import { decodeError, decodeListing } from "./s3-xml-codec.ts";

const MiB = 2 ** 20;
const hashA = "ab".repeat(32);
const hashB = "0123456789abcdef".repeat(4);

const chunk: ChunkFrame = { compression: "none", length: 5, payload: Buffer.from("hello") };
const index = new Map([
  [3, hashA],
  [1023, hashB],
]);
const repository = {
  id: "6f1c1f0e-54d7-4c3e-9a43-000000000001",
  chunkBytes: 256 * 1024,
  createdMs: 1767225600000,
};
const head = {
  name: "20260101T000000.000Z",
  volume: { name: "db", id: 7, cluster: "9a2b7d31-54d7-4c3e-9a43-000000000002" },
  snapshot: { name: "backup-20260101T000000.000Z", token: "t1", createdMs: 1767225600001 },
  sizeBytes: 600 * MiB,
  chunkBytes: 256 * 1024,
  parent: null,
  createdMs: 1767225600000,
};
const manifest: BackupManifest = {
  ...head,
  parent: "20251231T000000.000Z",
  finishedMs: 1767225601000,
  contentBytes: 524288,
  readBytes: 262144,
  sentBytes: 1234,
  segments: [{ hash: hashA, contentBytes: 524288 }, null, null],
};
const unfinished: UnfinishedBackup = {
  ...head,
  lock: "c0ffee00-54d7-4c3e-9a43-000000000004",
  readBytes: 5,
  sentBytes: 6,
  done: new Map([
    [0, { hash: hashB, contentBytes: 7 }],
    [2, null],
  ]),
};

const goldens: Readonly<Record<string, Uint8Array>> = {
  "chunk-1.bin": encodeChunk(chunk),
  "index-1.bin": encodeIndex(index),
  "repository-1.txt": encodeRepository(repository),
  "backup-1.txt": encodeManifest(manifest),
  "unfinished-1.txt": encodeUnfinished(unfinished),
};

function golden(name: string): Uint8Array {
  const path = join(import.meta.dirname, "testdata", name);
  if (process.env["TORUS_WRITE_GOLDEN"] === "1") writeFileSync(path, goldens[name]);
  return readFileSync(path);
}

for (const name of Object.keys(goldens))
  it(`backup formats: ${name} is written as it always was`, () => {
    assert.deepEqual(Buffer.from(goldens[name]), Buffer.from(golden(name)));
  });

it("backup formats: what was written is read back", () => {
  const { payload, ...rest } = decodeChunk(golden("chunk-1.bin"));
  assert.deepEqual({ ...rest, payload: Buffer.from(payload) }, chunk);
  assert.deepEqual(decodeIndex(golden("index-1.bin")), index);
  assert.deepEqual(decodeRepository(golden("repository-1.txt"), "r"), repository);
  assert.deepEqual(decodeManifest(golden("backup-1.txt"), "b"), manifest);
  assert.deepEqual(decodeUnfinished(golden("unfinished-1.txt"), "u"), unfinished);
});

it("backup formats: fields of later versions are let be; later formats are refused by name", () => {
  const segments = [[hashA, 1], null, null];
  const later = {
    ...head,
    finishedMs: 1,
    contentBytes: 1,
    readBytes: 1,
    sentBytes: 1,
    segmentChunks: 1024,
    segments,
    news: [1],
  };
  assert.equal(decodeManifest(encodeRecord("backup", later), "b").segments.length, 3);
  const newer = encodeRecord("backup", { ...later, version: 2 });
  assert.throws(() => decodeManifest(newer, "x/y"), /x\/y has format 2; this Torus reads 1/);
  const chunkOfLater = encodeChunk(chunk);
  chunkOfLater[4] = 2;
  assert.throws(
    () => decodeChunk(chunkOfLater),
    (error) => isTorusError(error, "unsupported"),
  );
});

it("backup formats: what contradicts itself is refused", () => {
  const isCorrupt = (error: unknown): boolean => isTorusError(error, "corrupt");
  for (const wrong of [
    { ...manifest, segments: manifest.segments.slice(1) },
    { ...manifest, chunkBytes: 1000 },
    { ...manifest, volume: { ...manifest.volume, id: -1 } },
    { ...manifest, name: "" },
  ])
    assert.throws(() => decodeManifest(encodeManifest(wrong), "b"), isCorrupt);
  const text = Buffer.from(golden("backup-1.txt")).toString();
  for (const wrong of [text.slice(0, -1), text.replace("db", "dc"), `${text}\n`, "", "{}\n\n"])
    assert.throws(() => decodeManifest(Buffer.from(wrong), "b"), isCorrupt);
  assert.throws(() => decodeManifest(golden("unfinished-1.txt"), "b"), /is no backup record/);
});

const decoders: readonly ((bytes: Uint8Array) => unknown)[] = [
  decodeChunk,
  decodeIndex,
  (bytes) => decodeRepository(bytes, "r"),
  (bytes) => decodeManifest(bytes, "b"),
  (bytes) => decodeUnfinished(bytes, "u"),
];

it("backup formats: whatever the bytes are, a decoder gives a value or an error of ours", () => {
  const mutated = fc
    .tuple(fc.constantFrom(...Object.keys(goldens)), fc.nat(), fc.nat(255), fc.nat(3))
    .map(([name, at, value, cut]) => {
      const bytes = Buffer.from(goldens[name]);
      bytes[at % bytes.length] = value;
      return bytes.subarray(0, bytes.length - cut);
    });
  fc.assert(
    fc.property(fc.oneof(mutated, fc.uint8Array({ maxLength: 200 })), (bytes) => {
      for (const decode of decoders) {
        try {
          decode(bytes);
        } catch (error) {
          assert.ok(isTorusError(error), String(error));
        }
      }
    }),
    { numRuns: 3000 },
  );
});

it("backup formats: an index of any chunks comes back", () => {
  const hash = fc
    .uint8Array({ minLength: 32, maxLength: 32 })
    .map((bytes) => Buffer.from(bytes).toString("hex"));
  fc.assert(
    fc.property(fc.array(fc.tuple(fc.nat(1023), hash)), (entries) => {
      const hashes = new Map(entries);
      const sorted = new Map([...hashes].sort(([a], [b]) => a - b));
      assert.deepEqual([...decodeIndex(encodeIndex(hashes))], [...sorted]);
    }),
  );
});

it("S3's XML: keys, whether there is more, errors; anything else without harm", () => {
  const listing = decodeListing(
    '<?xml version="1.0"?><ListBucketResult xmlns="x"><Name>b</Name><IsTruncated>true</IsTruncated>' +
      "<Contents><Key>a&amp;b</Key><Size>1</Size></Contents><Contents>\n<LastModified/><Key>c</Key></Contents></ListBucketResult>",
  );
  assert.deepEqual(listing, { keys: ["a&b", "c"], isTruncated: true });
  assert.throws(
    () => decodeListing("<html>"),
    (error) => isTorusError(error, "protocol"),
  );
  assert.deepEqual(decodeError("<Error><Code>NoSuchKey</Code><Message>it&#39;s gone</Message></Error>"), {
    code: "NoSuchKey",
    message: "it's gone",
  });
  assert.deepEqual(decodeError(""), { code: "", message: "" });
  fc.assert(
    fc.property(fc.string({ unit: "binary" }), (text) => {
      decodeError(text);
      try {
        decodeListing(text);
      } catch (error) {
        assert.ok(isTorusError(error));
      }
    }),
  );
});
