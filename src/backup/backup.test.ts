// Backups over targets in memory: what is restored is what was in the snapshot, whatever came before; what is moved is what changed; what is killed
// goes on; what is deleted takes nothing with it that others need.

import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { it } from "node:test";
import fc from "fast-check";
import { systemClock, systemRandom } from "#host/node";
import { isTorusError } from "#model";
import { MemoryDevice } from "#volume";
import type { BackupDone, BackupOptions } from "./backup-run.ts";
import { makeBackup } from "./backup-run.ts";
import { checkBackups } from "./check-run.ts";
import { deleteBackups } from "./delete-run.ts";
import type { BackupManifest } from "./manifest-codec.ts";
import { MemoryTarget } from "./memory-target.ts";
import { Repository } from "./repository.ts";
import { restoreBackup } from "./restore-run.ts";
import { S3Server, testCredentials } from "./s3-server.fixture.ts";
import { S3Target } from "./s3-target.ts";
import { MemorySource } from "./source.fixture.ts";
import type { BackupTarget } from "./target.ts";

const KiB = 1024;
const MiB = 1024 * KiB;
const chunkBytes = 64 * KiB;
const outside = { clock: systemClock, random: systemRandom };
const going = new AbortController().signal;

interface Told {
  readonly done: BackupDone;
  readonly told: readonly string[];
}

async function repositoryOf(target: BackupTarget): Promise<Repository> {
  return Repository.openOrCreate(null, { target, ...outside });
}

async function newTarget(): Promise<MemoryTarget> {
  const target = new MemoryTarget();
  await Repository.openOrCreate(chunkBytes, { target, ...outside });
  return target;
}

async function backup(
  source: MemorySource,
  target: BackupTarget,
  options: Partial<BackupOptions> = {},
): Promise<Told> {
  const told: string[] = [];
  const done = await makeBackup(
    {
      snapshot: null,
      holder: "test",
      signal: going,
      onProgress: () => {},
      tell: (message) => told.push(message),
      saveEveryMs: 0,
      ...options,
    },
    { repository: await repositoryOf(target), source, ...outside },
  );
  return { done, told };
}

async function restored(manifest: BackupManifest, target: BackupTarget): Promise<Buffer> {
  const device = new MemoryDevice({ name: "new", sizeBytes: manifest.sizeBytes });
  await restoreBackup(manifest, await repositoryOf(target), device, { signal: going, onProgress: () => {} });
  return Buffer.from(await device.read(0, manifest.sizeBytes));
}

async function content(device: MemoryDevice): Promise<Buffer> {
  return Buffer.from(await MemoryDevice.prototype.read.call(device, 0, device.info.sizeBytes));
}

async function problems(target: BackupTarget, quick = false): Promise<string[]> {
  const repository = await repositoryOf(target);
  const options = { quick, signal: going, onProgress: () => {} };
  const result = await checkBackups(await repository.names(null), repository, options);
  return result.problems.map(({ backup: name, problem }) => `${name}: ${problem}`);
}

const step = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.record({
      kind: fc.constant("write" as const),
      page: fc.nat(511),
      pages: fc.integer({ min: 1, max: 40 }),
      value: fc.nat(4),
    }),
  },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant("backup" as const) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("lose-snapshot" as const) }) },
  {
    weight: 1,
    arbitrary: fc.record({ kind: fc.constant("resize" as const), pages: fc.integer({ min: 1, max: 512 }) }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("delete-oldest" as const) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("killed" as const), puts: fc.nat(12) }) },
);

it("backups: each restores to what its snapshot had, through writes, resizing, lost snapshots, kills and deletions", async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 1, maxLength: 25 }), async (steps) => {
      const source = new MemorySource(2 * MiB);
      const target = await newTarget();
      const expected = new Map<string, Buffer>();
      for (const one of steps) {
        const pages = source.device.info.sizeBytes / 4096;
        if (one.kind === "write" && one.page < pages) {
          const count = Math.min(one.pages, pages - one.page);
          await source.device.write(one.page * 4096, Buffer.alloc(count * 4096, one.value), false);
        } else if (one.kind === "resize") await source.resize(one.pages * 4096);
        else if (one.kind === "lose-snapshot") source.kept.clear();
        else if (one.kind === "killed") {
          target.putsLeft = one.puts;
          await backup(source, target).then(
            ({ done }) => expected.set(done.manifest.name, Buffer.alloc(0)),
            () => {},
          );
          target.putsLeft = Number.POSITIVE_INFINITY;
          for (const name of expected.keys()) if (expected.get(name)?.length === 0) expected.delete(name);
        } else if (one.kind === "backup") {
          const { manifest } = (await backup(source, target)).done;
          const kept = source.kept.get(manifest.snapshot.name);
          assert.ok(kept !== undefined, "the snapshot stays as the base of the next");
          expected.set(manifest.name, await content(kept.device));
        } else if (one.kind === "delete-oldest") {
          const [oldest] = expected.keys();
          if (oldest === undefined) continue;
          expected.delete(oldest);
          const repository = await repositoryOf(target);
          const options = { holder: "test", tell: () => {}, staleMs: 1 };
          await deleteBackups([{ volume: "db", name: oldest }], options, { repository, ...outside });
        }
      }
      assert.deepEqual(await problems(target), []);
      const repository = await repositoryOf(target);
      for (const [name, bytes] of expected)
        assert.ok((await restored(await repository.manifest({ volume: "db", name }), target)).equals(bytes));
    }),
    { numRuns: 40, seed: 11 },
  );
});

it("backups: an incremental one reads and sends what changed, in whole chunks, and an unchanged one next to nothing", async () => {
  const source = new MemorySource(64 * MiB);
  const target = await newTarget();
  await source.device.write(0, randomBytes(32 * MiB), false);
  const first = (await backup(source, target)).done.manifest;
  assert.deepEqual([first.parent, first.readBytes, first.contentBytes], [null, 32 * MiB, 32 * MiB]);
  assert.ok(first.sentBytes >= 32 * MiB && first.sentBytes < 32.2 * MiB, `${first.sentBytes} bytes sent`);
  // One chunk in a hundred of those there are.
  for (let i = 0; i < 5; i++)
    await source.device.write((i * 101 + 3) * chunkBytes, randomBytes(chunkBytes), false);
  source.readBytes = 0;
  const putBefore = target.calls.putBytes;
  const second = (await backup(source, target)).done.manifest;
  assert.equal(second.parent, first.name);
  assert.deepEqual([second.readBytes, source.readBytes], [5 * chunkBytes, 5 * chunkBytes]);
  const moved = target.calls.putBytes - putBefore;
  assert.ok(moved < 0.0125 * putBefore, `${moved} bytes put for 1 % of ${putBefore}`);
  assert.ok((await restored(second, target)).equals(await content(source.device)));
  const third = (await backup(source, target)).done.manifest;
  assert.deepEqual([third.readBytes, third.sentBytes], [0, 0]);
  assert.deepEqual([...source.kept.keys()], [third.snapshot.name], "only the newest base is kept");
});

it("backups: the same content is there once, whatever volumes have it; zeroes are not there at all", async () => {
  const target = await newTarget();
  const bytes = randomBytes(4 * chunkBytes);
  for (const id of [1, 2]) {
    const source = new MemorySource(4 * MiB, { name: `v${id}`, id });
    await source.device.write(MiB, bytes, false);
    await source.device.write(0, Buffer.alloc(chunkBytes), false);
    const { manifest } = (await backup(source, target)).done;
    assert.equal(manifest.contentBytes, 4 * chunkBytes);
    if (id === 2) assert.equal(manifest.sentBytes, 0);
  }
  assert.equal([...target.objects.keys()].filter((key) => key.startsWith("chunks/")).length, 4);
});

it("backups: one that was killed goes on: what is there is not sent again, what was done is not read again", async () => {
  const source = new MemorySource(160 * MiB);
  const target = await newTarget();
  await source.device.write(0, randomBytes(70 * MiB), false);
  target.putsLeft = 1100;
  await assert.rejects(backup(source, target), (error) => isTorusError(error, "unavailable"));
  target.putsLeft = Number.POSITIVE_INFINITY;
  assert.deepEqual(await (await repositoryOf(target)).names(null), [], "no record of half a backup");
  const before = await content(source.device);
  await source.device.write(0, randomBytes(MiB), false);
  source.readBytes = 0;
  const putBefore = target.calls.putBytes;
  const { done, told } = await backup(source, target);
  assert.match(told[0], /^going on with backup db@/);
  assert.ok(done.isResumed);
  assert.ok(source.readBytes <= 6 * MiB, `${source.readBytes} bytes read again`);
  assert.ok(target.calls.putBytes - putBefore < 3 * MiB, "only the rest is sent");
  assert.ok(
    (await restored(done.manifest, target)).equals(before),
    "it is the volume as it was when it began",
  );
  assert.deepEqual(await (await repositoryOf(target)).unfinishedNames(null), []);
});

it("backups: of a volume that grew and became smaller, at the ends of chunks and between them", async () => {
  const source = new MemorySource(10 * chunkBytes);
  const target = await newTarget();
  await source.device.write(0, randomBytes(10 * chunkBytes), false);
  await backup(source, target);
  const between = 3 * chunkBytes + 20 * KiB;
  for (const sizeBytes of [
    between,
    5 * chunkBytes,
    8 * chunkBytes + 4 * KiB,
    4 * chunkBytes,
    between,
    2 * chunkBytes,
  ]) {
    await source.resize(sizeBytes);
    const { manifest } = (await backup(source, target)).done;
    assert.notEqual(manifest.parent, null);
    assert.ok((await restored(manifest, target)).equals(await content(source.device)), `${sizeBytes} bytes`);
    assert.equal(manifest.contentBytes, Math.min(sizeBytes, manifest.contentBytes));
  }
  assert.deepEqual(await problems(target), []);
});

it("backups: without the base's snapshot, or of another volume of the same name, all is read, and it says so", async () => {
  const source = new MemorySource(4 * MiB);
  const target = await newTarget();
  await source.device.write(0, randomBytes(MiB), false);
  await backup(source, target);
  source.kept.clear();
  const { done, told } = await backup(source, target);
  assert.match(told.join(), /no snapshot of an earlier backup of "db" is in the cluster any more/);
  assert.deepEqual([done.manifest.parent, done.manifest.readBytes, done.manifest.sentBytes], [null, MiB, 0]);
  const other = new MemorySource(4 * MiB, { id: 8 });
  assert.equal((await backup(other, target)).done.manifest.parent, null);
});

it("backups: of a snapshot that is named, which stays whatever comes after it", async () => {
  const source = new MemorySource(4 * MiB);
  const target = await newTarget();
  await source.device.write(0, randomBytes(MiB), false);
  await source.take("monday", {});
  const before = await content(source.device);
  await source.device.write(0, randomBytes(MiB), false);
  await backup(source, target);
  const { manifest } = (await backup(source, target, { snapshot: "monday" })).done;
  assert.ok((await restored(manifest, target)).equals(before));
  assert.ok(source.kept.has("monday"));
  await assert.rejects(backup(source, target, { snapshot: "none" }), /volume "db" has no snapshot "none"/);
});

it("backups: over S3, through requests that fail and drop: incremental, checked, restored, deleted", async (t) => {
  const server = await S3Server.start("backups");
  t.after(() => server.close());
  const place = { endpoint: server.endpoint, region: "us-east-1", bucket: "backups", prefix: "a/b/" };
  const deps = { fetch, ...outside };
  const target = new S3Target({ ...place, credentials: testCredentials, deadlineMs: 500 }, deps);
  await Repository.openOrCreate(chunkBytes, { target, ...outside });
  const source = new MemorySource(8 * MiB);
  await source.device.write(0, randomBytes(MiB), false);
  const first = (await backup(source, target)).done.manifest;
  await source.device.write(MiB / 2, randomBytes(MiB), false);
  for (let i = 0; i < 6; i++) server.faults.push("unavailable", null, "drop", null, "slow-down", null);
  const second = (await backup(source, target)).done.manifest;
  assert.equal(server.faults.length, 0);
  assert.deepEqual([second.parent, second.readBytes], [first.name, MiB]);
  assert.ok((await restored(second, target)).equals(await content(source.device)));
  assert.deepEqual(await problems(target), []);
  const repository = await repositoryOf(target);
  const options = { holder: "test", tell: () => {} };
  await deleteBackups([{ volume: "db", name: first.name }], options, { repository, ...outside });
  assert.ok((await restored(second, target)).equals(await content(source.device)));
});

it("backups: a check finds what is missing, cut or changed, and which backups that hurts; a quick one what is missing", async () => {
  const source = new MemorySource(4 * MiB);
  const target = await newTarget();
  await source.device.write(0, randomBytes(4 * chunkBytes), false);
  const { manifest } = (await backup(source, target)).done;
  assert.deepEqual(await problems(target), []);
  const chunks = [...target.objects.keys()].filter((key) => key.startsWith("chunks/"));
  const bytes = target.objects.get(chunks[0]) as Uint8Array;
  const changed = bytes.slice();
  changed[5000] ^= 1;
  for (const [damaged, pattern] of [
    [changed, /is damaged: its content has another hash/],
    [bytes.subarray(0, 1000), /says that it has 65536 bytes, and has others/],
  ] as const) {
    target.objects.set(chunks[0], damaged);
    assert.match((await problems(target)).join(), pattern);
    assert.deepEqual(await problems(target, true), []);
    await assert.rejects(restored(manifest, target), (error) => isTorusError(error, "corrupt"));
  }
  target.objects.delete(chunks[0]);
  const missing = new RegExp(`^db@${manifest.name}: memory: ${chunks[0]} is missing$`);
  assert.match((await problems(target, true)).join(), missing);
  target.objects.set(chunks[0], bytes);
  const record = target.objects.get(`backups/db/${manifest.name}`) as Uint8Array;
  target.objects.set(`backups/db/${manifest.name}`, record.subarray(1));
  assert.match((await problems(target, true)).join(), /is cut short or damaged: its checksum is another/);
});

it("backups: deleting removes what nobody else needs, and nothing when what is left cannot be read", async () => {
  const source = new MemorySource(4 * MiB);
  const target = await newTarget();
  await source.device.write(0, randomBytes(8 * chunkBytes), false);
  const first = (await backup(source, target)).done.manifest;
  await source.device.write(0, randomBytes(chunkBytes), false);
  const second = (await backup(source, target)).done.manifest;
  const repository = await repositoryOf(target);
  const options = { holder: "test", tell: () => {} };
  const deps = { repository, ...outside };
  const index = second.segments[0]?.hash ?? "";
  const key = `indexes/${index.slice(0, 2)}/${index}`;
  const kept = target.objects.get(key) as Uint8Array;
  target.objects.delete(key);
  const objects = target.objects.size;
  const name = { volume: "db", name: first.name };
  await assert.rejects(deleteBackups([name], options, deps), (error) => isTorusError(error, "corrupt"));
  assert.equal(target.objects.size, objects - 1, "the record, and nothing else");
  target.objects.set(key, kept);
  const { removedObjects, keptObjects } = await deleteBackups([], options, deps);
  assert.deepEqual([removedObjects, keptObjects], [2, 9], "one chunk and one index");
  assert.ok((await restored(second, target)).equals(await content(source.device)));
  await assert.rejects(deleteBackups([name], options, deps), /has no backup db@.*: it has of that volume/);
});
