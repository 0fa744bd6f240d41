// torusctl block dump and load, with real peers on loopback.

import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { existsSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { PassThrough } from "node:stream";
import { afterEach, beforeEach, it } from "node:test";
import { TorusctlCluster } from "./peers.fixture.ts";

const MiB = 2 ** 20;
let torusctl: TorusctlCluster;

beforeEach(async () => {
  torusctl = await TorusctlCluster.start("1MiB");
});

afterEach(() => torusctl.stop());

async function snapshotNames(): Promise<string[]> {
  const { snapshots } = (await torusctl.json("volume snapshot list")) as { snapshots: { name: string }[] };
  return snapshots.map(({ name }) => name);
}

it("torusctl block dump: of an attached volume, through a snapshot that goes again; and of a snapshot", async () => {
  await torusctl.json("volume create-block db 1GiB");
  const file = join(torusctl.home, "db.img");
  const bytes = randomBytes(3 * MiB);
  await torusctl.attached("db", async (volume) => {
    await volume.write(512 * MiB, bytes, false);
    const { code, out, err } = await torusctl.run(`block dump db ${file}`);
    assert.deepEqual([code, err], [0, ""]);
    assert.match(out, /^dumped db to .*db.img: 3.0 MiB in use of 1.0 GiB$/m);
  });
  assert.equal(statSync(file).size, 2 ** 30);
  assert.ok(
    readFileSync(file)
      .subarray(512 * MiB, 515 * MiB)
      .equals(bytes),
  );
  assert.deepEqual(await snapshotNames(), []);
  await torusctl.json("volume snapshot create db@kept");
  torusctl.stdout = new PassThrough({ highWaterMark: 2 ** 31 });
  const piped = await torusctl.run("block dump db@kept - --progress");
  assert.deepEqual([piped.code, piped.out], [0, ""]);
  assert.match(piped.err, /^dumping db@kept: \[#+\.*\] +\d+%, /m);
  assert.equal(torusctl.stdout.readableLength, 2 ** 30);
  assert.deepEqual(await snapshotNames(), ["kept"]);
});

it("torusctl block dump: the temporary snapshot and the part of the file go, also after an error and a signal", async () => {
  await torusctl.json("volume create-block db 1GiB");
  await torusctl.attached("db", (volume) => volume.write(0, randomBytes(4 * MiB), false));
  const failed = await torusctl.run(`block dump db ${torusctl.home}/no/such/directory`);
  assert.equal(failed.code, 1);
  assert.match(failed.err, /such\/directory cannot be written: ENOENT/);
  assert.deepEqual(await snapshotNames(), []);
  // Nobody reads the pipe, so the dump waits in the middle.
  torusctl.stdout = new PassThrough();
  const running = torusctl.run("block dump db -");
  while (torusctl.stdout.readableLength === 0) await new Promise(setImmediate);
  assert.equal((await snapshotNames()).length, 1);
  torusctl.interrupt?.("SIGINT");
  torusctl.stdout.resume();
  const { code, err } = await running;
  assert.deepEqual([code, err], [1, "torusctl: stopped by SIGINT\n"]);
  assert.deepEqual(await snapshotNames(), []);
  const missing = await torusctl.run(`block dump db@none ${join(torusctl.home, "none.img")}`);
  assert.match(missing.err, /volume "db" has no snapshot "none"/);
  assert.ok(!readdirSync(torusctl.home).some((name) => name.includes("none")));
});

it("torusctl block load: makes the volume, from a file or a pipe, and gives back what was in it", async () => {
  const image = Buffer.concat([randomBytes(2 * MiB), Buffer.alloc(3 * MiB), randomBytes(MiB + 100)]);
  const file = join(torusctl.home, "in.img");
  writeFileSync(file, image);
  const loaded = await torusctl.run(`block load ${file} one`);
  assert.deepEqual([loaded.code, loaded.err], [0, ""]);
  assert.match(loaded.out, /into new volume one: 3.0 MiB written of 6.0 MiB/);
  torusctl.stdin.end(image);
  const piped = (await torusctl.json("block load - two 16MiB")) as object;
  const writtenBytes = 3 * MiB + 100;
  assert.deepEqual(piped, {
    volume: "two",
    file: "-",
    isNew: true,
    sizeBytes: 16 * MiB,
    imageBytes: image.length,
    writtenBytes,
  });
  for (const [name, sizeBytes] of [
    ["one", 6 * MiB + 4096],
    ["two", 16 * MiB],
  ] as const) {
    const back = join(torusctl.home, `${name}.img`);
    await torusctl.json(`block dump ${name} ${back}`);
    const bytes = readFileSync(back);
    assert.equal(bytes.length, sizeBytes);
    assert.ok(bytes.subarray(0, image.length).equals(image));
  }
});

it("torusctl block load: what does not fit, or would overwrite, is refused and leaves nothing", async () => {
  const file = join(torusctl.home, "in.img");
  writeFileSync(file, randomBytes(2 * MiB));
  const volumes = async (): Promise<string[]> =>
    ((await torusctl.json("volume list")) as { volumes: { name: string }[] }).volumes.map(({ name }) => name);
  for (const [args, code, message] of [
    [`block load ${file} v 1MiB`, 2, /2.0 MiB \(2097152 bytes\), which size 1MiB has no room for/],
    ["block load - v", 2, /how large standard input is cannot be told: name the size/],
    [`block load ${file}.none v`, 1, /in.img.none cannot be read: ENOENT/],
    [`block load ${file} v 3`, 2, /size/],
  ] as const) {
    const { code: found, err } = await torusctl.run(args);
    assert.equal(found, code, `${args}: ${err}`);
    assert.match(err, message);
  }
  torusctl.stdin = new PassThrough();
  torusctl.stdin.end(randomBytes(3 * MiB));
  const large = await torusctl.run("block load - v 2MiB");
  assert.match(large.err, /the image is larger than volume "v", which has 2.0 MiB/);
  assert.deepEqual(await volumes(), [], "a volume that was made for it is gone again");
  await torusctl.json(`block load ${file} v 4MiB`);
  const again = await torusctl.run(`block load ${file} v`);
  assert.match(again.err, /volume "v" has 2.0 MiB in use: use --overwrite/);
  assert.match((await torusctl.run(`block load ${file} v 8MiB`)).err, /is there and has 4.0 MiB, not 8MiB/);
  writeFileSync(file, Buffer.alloc(2 * MiB));
  await torusctl.json(`block load ${file} v --overwrite`);
  const back = join(torusctl.home, "back.img");
  await torusctl.json(`block dump v ${back}`);
  assert.ok(readFileSync(back).equals(Buffer.alloc(4 * MiB)), "zeroes over what was there");
  assert.ok(existsSync(file));
});
