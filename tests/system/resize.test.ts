// A volume grows and becomes smaller while clients use it: what they see on the connections they have and on new ones, and an ext4 that
// follows it both ways with the contents it had.

import assert from "node:assert/strict";
import { test } from "node:test";
import type { Server } from "./daemons.ts";
import { Daemons, uriOf } from "./daemons.ts";
import { VolumeDisk } from "./file-system-mount.ts";
import { Fio } from "./fio.ts";
import { NbdClient, NbdError } from "./nbd-client.ts";
import { run } from "./programs.ts";

const MiB = 2 ** 20;
const commandMsMax = 60_000;

async function sizeSeen(server: Server): Promise<number> {
  return Number(await run("nbdinfo", ["--size", uriOf(server, "v")]));
}

const is = (errno: number) => (error: unknown) => error instanceof NbdError && error.errno === errno;
const [invalid, noSpace] = [22, 28];

test("a volume under load grows and becomes smaller; open connections and new ones are told what is there", async (t) => {
  const daemons = await Daemons.start(t, { blockSize: "1MiB" });
  await daemons.torusctl("volume", "create-block", "v", "64MiB");
  const server = await daemons.startServer(["v"]);
  const client = await NbdClient.connect({ kind: "unix", path: server.socket }, "v");
  const fio = new Fio(daemons.directory, uriOf(server, "v"), [
    ...["--rw=randwrite", "--bs=4k", "--iodepth=8", "--fsync=64", "--rate_iops=2000", "--thread"],
    ...["--size=32MiB", "--time_based", "--runtime=600"],
  ]);
  const page = Buffer.alloc(4096, "a page past the end that was ");
  await assert.rejects(client.write(64 * MiB, page), is(noSpace));
  await daemons.torusctl("volume", "resize", "v", "128MiB");
  assert.ok(!fio.hasEnded, "fio still writes");
  assert.equal(await sizeSeen(server), 128 * MiB);
  await client.write(100 * MiB, page);
  assert.ok(
    (await client.read(100 * MiB, 4096)).equals(page),
    "the connection of before has the new part too",
  );
  const refused = await daemons.tryTorusctl("volume", "resize", "v", "64MiB");
  assert.equal(refused.code, 1);
  assert.match(refused.stderr, /in use past 64\.0 MiB, at byte 104857600/);
  assert.equal(await sizeSeen(server), 128 * MiB);
  await daemons.torusctl("block", "resize", "v", "64MiB", "--force");
  await assert.rejects(client.write(100 * MiB, page), is(noSpace));
  await assert.rejects(client.read(64 * MiB - 4096, 8192), is(invalid));
  assert.equal(await sizeSeen(server), 64 * MiB);
  await daemons.torusctl("volume", "resize", "v", "128MiB");
  assert.ok((await client.read(100 * MiB, 4096)).equals(Buffer.alloc(4096)), "what was given up is gone");
  assert.ok(!fio.hasEnded, "fio still writes");
  fio.stop();
  const { error, write } = await fio.end(commandMsMax);
  assert.equal(error, 0);
  assert.ok(write.total_ios > 0);
  client.destroy();
  await daemons.stopAll();
});

/** `work` on the volume as a file. */
async function withDisk(
  t: Parameters<typeof VolumeDisk.open>[0],
  server: Server,
  work: (file: string) => Promise<void>,
) {
  const disk = await VolumeDisk.open(t, uriOf(server, "v"));
  await work(disk.file);
  await disk.close();
}

test("an ext4 grows with its volume, and with it becomes smaller again", async (t) => {
  const daemons = await Daemons.start(t, { blockSize: "1MiB" });
  await daemons.torusctl("volume", "create-block", "v", "64MiB");
  const server = await daemons.startServer(["v"]);
  const check = (file: string) => run("e2fsck", ["-fn", file], commandMsMax);
  const content = "what is in the file\n";
  await withDisk(t, server, async (file) => {
    await run("mkfs.ext4", ["-q", file], commandMsMax);
    await run("sh", [
      "-c",
      'printf %s "$1" > "$3/in" && debugfs -w -R "write $3/in kept" "$2"',
      "sh",
      content,
      file,
      daemons.directory,
    ]);
    await check(file);
  });
  await daemons.torusctl("volume", "resize", "v", "256MiB");
  await withDisk(t, server, async (file) => {
    await run("resize2fs", [file], commandMsMax);
    await check(file);
    assert.match(await run("dumpe2fs", ["-h", file]), /^Block count: +(262144|65536)$/m);
    await run("resize2fs", [file, "48M"], commandMsMax);
  });
  const refused = await daemons.tryTorusctl("volume", "resize", "v", "48MiB");
  assert.match(refused.stderr, /in use past 48\.0 MiB/);
  await daemons.torusctl("volume", "resize", "v", "48MiB", "--force");
  await withDisk(t, server, async (file) => {
    await check(file);
    assert.equal(await run("debugfs", ["-R", "cat kept", file]), content);
  });
  await daemons.stopAll();
});
