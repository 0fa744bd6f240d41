// torusctl backup, with real peers on loopback: incremental backups of a volume that is attached, restored to another cluster.

import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, it } from "node:test";
import { TorusctlCluster } from "./peers.fixture.ts";

const MiB = 2 ** 20;
let torusctl: TorusctlCluster;
let target: string;

beforeEach(async () => {
  torusctl = await TorusctlCluster.start("1MiB");
  target = join(torusctl.home, "backups");
  await torusctl.json("volume create-block db 1GiB");
});

afterEach(() => torusctl.stop());

interface Backup {
  readonly name: string;
  readonly parent: string | null;
  readonly readBytes: number;
}

async function snapshotNames(): Promise<string[]> {
  const { snapshots } = (await torusctl.json("volume snapshot list db")) as { snapshots: { name: string }[] };
  return snapshots.map(({ name }) => name);
}

it("torusctl backup: of an attached volume, then of what changed; restored to another cluster", async () => {
  const [old, now] = [randomBytes(3 * MiB), randomBytes(MiB)];
  let first: Backup;
  let second: Backup;
  await torusctl.attached("db", async (volume) => {
    await volume.write(512 * MiB, old, false);
    first = (await torusctl.json(`backup create db ${target}`)) as Backup;
    assert.deepEqual([first.parent, first.readBytes], [null, 3 * MiB]);
    await volume.write(513 * MiB, now, false);
    second = (await torusctl.json(`volume backup db ${target}`)) as Backup;
    assert.deepEqual([second.parent, second.readBytes], [first.name, MiB]);
  });
  assert.deepEqual(await snapshotNames(), [`backup-${second!.name}`]);
  const listed = await torusctl.run(`backup list ${target}`);
  assert.match(
    listed.out,
    new RegExp(`^db@${second!.name} +1.0 GiB +3.0 MiB +\\d.*${first!.name} +\\d+s ago$`, "m"),
  );
  const other = await TorusctlCluster.start("64KiB");
  try {
    const restored = await other.run(`backup restore ${target} db again`);
    assert.deepEqual([restored.code, restored.err], [0, ""]);
    assert.match(restored.out, /as volume again: 3.0 MiB written of 1.0 GiB/);
    await other.json(`backup restore ${target} db@${first!.name} before`);
    for (const [name, middle] of [
      ["again", now],
      ["before", old.subarray(MiB, 2 * MiB)],
    ] as const)
      await other.attached(name, async (volume) => {
        const expected = Buffer.concat([
          Buffer.alloc(MiB),
          old.subarray(0, MiB),
          middle,
          old.subarray(2 * MiB),
        ]);
        assert.ok(expected.equals(await volume.read(511 * MiB, 4 * MiB)));
      });
    const taken = await other.run(`backup restore ${target} db again`);
    assert.match(taken.err, /there is a volume named "again"|already/);
  } finally {
    await other.stop();
  }
});

it("torusctl backup: checked, deleted; a chunk that is missing hurts what needs it, and leaves no half volume", async () => {
  await torusctl.attached("db", (volume) => volume.write(512 * MiB, randomBytes(3 * MiB), false));
  const first = (await torusctl.json(`backup create db ${target}`)) as Backup;
  await torusctl.attached("db", (volume) => volume.write(513 * MiB, randomBytes(MiB), false));
  const second = (await torusctl.json(`backup create db ${target}`)) as Backup;
  const checked = await torusctl.run(`backup check ${target}`);
  assert.match(checked.out, /^2 backups with 16 chunks are whole, 4.0 MiB read and hashed$/m);
  assert.equal((await torusctl.run(`backup delete ${target} db@${first.name}`)).code, 0);
  const chunks = join(target, "chunks");
  const [folder] = readdirSync(chunks).filter((name) => readdirSync(join(chunks, name)).length > 0);
  const [chunk] = readdirSync(join(chunks, folder));
  rmSync(join(chunks, folder, chunk));
  const hurt = await torusctl.run(`backup check ${target} db --quick`);
  assert.equal(hurt.code, 1);
  assert.match(hurt.out, new RegExp(`^db@${second.name}: .*${chunk} is missing$`, "m"));
  assert.match(hurt.err, /1 of 1 backups in .* cannot be restored as they were/);
  const lost = await torusctl.run(`backup restore ${target} db lost`);
  assert.match(lost.err, new RegExp(`${chunk} is missing`));
  const { volumes } = (await torusctl.json("volume list")) as { volumes: { name: string }[] };
  assert.deepEqual(
    volumes.map(({ name }) => name),
    ["db"],
    "what was made for it is gone again",
  );
});

it("torusctl backup: what is asked for wrongly, or is not there, is told, and nothing is made", async () => {
  for (const [args, code, message] of [
    [`backup create nope ${target}`, 1, /there is no volume named "nope"/],
    [`backup create db@none ${target}`, 1, /volume "db" has no snapshot "none"/],
    [`backup create db ${target} --chunk-size 100KiB`, 2, /--chunk-size "100KiB" is not 64KiB/],
    ["backup create db ftp://x/y", 2, /"ftp:\/\/x\/y" is neither a directory nor s3:/],
    ["backup create db s3://backups/p", 2, /AWS_ACCESS_KEY_ID is not set/],
    ["backup create db s3://backups/../p", 2, /is not s3:\/\/BUCKET\/PREFIX/],
    [`backup create db ${target} --s3-endpoint http://x`, 2, /--s3-endpoint is for s3:/],
    [`backup list ${target}-none`, 1, /there are no backups in .*-none/],
    [`backup delete ${target} db`, 2, /"db" names no backup/],
  ] as const) {
    const { code: found, err } = await torusctl.run(args);
    assert.match(err, message, args);
    assert.equal(found, code, `${args}: ${err}`);
  }
  assert.deepEqual(await snapshotNames(), []);
});

it("torusctl backup: one that is stopped goes on at the next call, which makes one of the present too", async () => {
  await torusctl.attached("db", (volume) => volume.write(0, randomBytes(8 * MiB), false));
  const running = torusctl.run(`backup create db ${target}`);
  while (torusctl.interrupt === null) await new Promise(setImmediate);
  torusctl.interrupt("SIGTERM");
  const stopped = await running;
  assert.deepEqual([stopped.code, stopped.err], [1, "torusctl: stopped by SIGTERM\n"]);
  const listed = await torusctl.run(`backup list ${target}`);
  assert.match(listed.out, /^unfinished: db@\S+; torusctl backup create goes on with it$/m);
  const again = await torusctl.run(`backup create db ${target}`);
  assert.equal(again.code, 0);
  assert.match(again.err, /^going on with backup db@/);
  const { backups } = (await torusctl.json(`backup list ${target}`)) as { backups: Backup[] };
  assert.deepEqual([backups.length, backups[1].parent], [2, backups[0].name]);
});
