// Locks of a target: backups beside each other, a deletion alone; who was killed holds up nobody for long; who is only slow is told in time.

import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { it } from "node:test";
import { systemClock, systemRandom } from "#host/node";
import { isTorusError } from "#model";
import { makeBackup } from "./backup-run.ts";
import { deleteBackups } from "./delete-run.ts";
import { MemoryTarget } from "./memory-target.ts";
import { Repository } from "./repository.ts";
import { MemorySource } from "./source.fixture.ts";
import type { LockKind } from "./target-lock.ts";
import { TargetLock, unlock } from "./target-lock.ts";

const outside = { clock: systemClock, random: systemRandom };
const isBusy = (error: unknown): boolean => isTorusError(error, "busy");

function take(target: MemoryTarget, kind: LockKind, beatEveryMs = 60_000): Promise<TargetLock> {
  const options = { kind, holder: `${kind} of test`, onWait: () => {}, beatEveryMs, staleMs: 60 };
  return TargetLock.take(options, { target, ...outside });
}

it("locks of a target: backups run beside each other, and a deletion with nobody", async () => {
  const target = new MemoryTarget();
  const [one, two] = [await take(target, "backup", 5), await take(target, "backup", 5)];
  await assert.rejects(
    take(target, "delete"),
    /backup of test makes a backup in memory: delete when that is done/,
  );
  await one.release();
  await two.release();
  const deletion = await take(target, "delete");
  for (const kind of ["backup", "delete"] as const)
    await assert.rejects(take(target, kind), /delete of test deletes backups in memory: wait/);
  await deletion.requireHeld();
  await deletion.release();
  await (await take(target, "backup")).release();
  assert.deepEqual([...target.objects.keys()], []);
});

it("locks of a target: a backup that was silent is declared ended, and learns of it if it lives", async () => {
  const target = new MemoryTarget();
  const silent = await take(target, "backup");
  const deletion = await take(target, "delete");
  await deletion.release();
  await assert.rejects(silent.requireNotEnded(), isBusy);
  await silent.release();
  assert.deepEqual([...target.objects.keys()], []);
});

it("locks of a target: only a person removes that of a deletion, which stops there then", async () => {
  const target = new MemoryTarget();
  const deletion = await take(target, "delete");
  assert.deepEqual(await unlock(target), ["delete of test"]);
  await assert.rejects(deletion.requireHeld(), isBusy);
  await (await take(target, "backup")).release();
  assert.deepEqual(await unlock(target), []);
});

it("locks of a target: a backup that was taken for dead leaves no record, whatever was removed under it", async () => {
  const target = new MemoryTarget();
  const repository = await Repository.openOrCreate(64 * 1024, { target, ...outside });
  const source = new MemorySource(2 ** 20);
  await source.device.write(0, randomBytes(2 ** 19), false);
  const options = { holder: "test", tell: () => {}, staleMs: 20 };
  let removed = 0;
  const slow = {
    ...options,
    snapshot: null,
    signal: new AbortController().signal,
    onProgress: () => {},
  };
  // Just before the record is put, somebody deletes: all chunks of this backup are named by nobody.
  const put = target.put.bind(target);
  target.put = async (key, bytes) => {
    if (key.startsWith("backups/"))
      removed += (await deleteBackups([], options, { repository, ...outside })).removedObjects;
    await put(key, bytes);
  };
  await assert.rejects(makeBackup(slow, { repository, source, ...outside }), isBusy);
  assert.ok(removed > 0, "chunks were removed");
  assert.deepEqual(await repository.names(null), []);
  target.put = put;
  const { manifest } = await makeBackup(slow, { repository, source, ...outside });
  assert.equal(manifest.contentBytes, 2 ** 19);
});
