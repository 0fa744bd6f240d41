// A whole cluster with its metadata in three etcd members: the leader dies and another freezes while fio writes and
// verifies, and nobody who uses the volume hears of it.

import assert from "node:assert/strict";
import { join } from "node:path";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { Daemons, uriOf } from "./daemons.ts";
import { Etcd } from "./etcd.ts";
import { Fio, longestStall } from "./fio.ts";
import { digestOf, writeRandomImage } from "./images.ts";
import { run, scratchDirectory } from "./programs.ts";

const imageBytes = 32 * 2 ** 20;
const stallSecondsMax = 5;
const fioMsMax = 60_000;

test("volumes on etcd: what is written is there, and a leader's end is not noticed", async (t) => {
  const etcd = await Etcd.start(t, { members: 3 });
  const metadataUrl = etcd.url("/clusters/one");
  const cluster = await Daemons.start(t, { metadataUrl });
  for (const name of ["copied", "written"]) await cluster.torusctl("volume", "create-block", name, "256MiB");
  const lease = ["--lease", "4s"];
  const server = await cluster.startServer(["copied", "written"], lease);
  const directory = scratchDirectory(t);
  const image = join(directory, "in.img");
  writeRandomImage(image, imageBytes);
  await run("nbdcopy", ["--flush", image, uriOf(server, "copied")]);

  const fio = new Fio(directory, uriOf(server, "written"), [
    ...["--rw=randwrite", "--bs=4k", "--iodepth=16", "--fsync=32", "--size=24m"],
    ...["--verify=crc32c", "--verify_backlog=1024", "--do_verify=1", "--verify_fatal=1"],
    // Paced, so that it lasts over all that happens on any machine.
    "--rate_iops=1000,1000",
  ]);
  await sleep(1000);
  const first = await etcd.leader();
  await first.kill();
  await sleep(1500);
  etcd.launch(first);
  await etcd.ready();
  const second = await etcd.leader();
  second.signal("SIGSTOP");
  await sleep(2500);
  second.signal("SIGCONT");
  assert.equal(fio.hasEnded, false, "fio worked all the time");
  const job = await fio.end(fioMsMax);
  const stall = longestStall(job);
  t.diagnostic(
    `fio: ${job.write.total_ios} writes, ${job.read.total_ios} reads verified, ${job.sync.total_ios} flushes, longest stall ${stall.toFixed(2)} s`,
  );
  assert.ok(stall < stallSecondsMax, `a request took ${stall.toFixed(2)} s`);

  const list = JSON.parse(await cluster.torusctl("-o", "json", "volume", "list"));
  assert.deepEqual(
    list.volumes.map((volume: { status: string }) => volume.status),
    ["in-use", "in-use"],
  );
  const peers = JSON.parse(await cluster.torusctl("-o", "json", "peer", "list"));
  assert.deepEqual(
    peers.peers.map((peer: { member: string }) => peer.member),
    ["OK", "OK", "OK"],
  );
  // Whoever comes after a server that was killed waits until its lease has run out in etcd.
  await cluster.killAll();
  await cluster.startPeers();
  const again = await cluster.startServer(["copied"], lease);
  await cluster.torusctl("volume", "accept-loss", "copied");
  const back = join(directory, "back.img");
  await run("nbdcopy", [uriOf(again, "copied"), back]);
  assert.equal(await digestOf(back, imageBytes), await digestOf(image, imageBytes));
  await cluster.stopAll();
  assert.match(await cluster.torusctl("wipe", "--yes-i-am-sure"), /wiped etcd:/);
  assert.match((await cluster.tryTorusctl("volume", "list")).stderr, /holds no cluster/);
});
