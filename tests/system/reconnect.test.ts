// [C2] A client that connects again by itself (QEMU's, with reconnect-delay) goes on over ends of torusblk and never notices; when
// something that it was answered may be lost, it is not let in again, and a person decides.

import assert from "node:assert/strict";
import { join } from "node:path";
import type { TestContext } from "node:test";
import { test } from "node:test";
import type { Server } from "./daemons.ts";
import { Daemons, metricsOf, uriOf } from "./daemons.ts";
import { Fio } from "./fio.ts";
import { Program, run, scratchDirectory, tryRun, waitFor } from "./programs.ts";
import { scale } from "./scale.ts";

const kills = Math.ceil(3 * scale);
const writesBetween = 300;
const progressMsMax = 90_000;
const fioMsMax = 240_000;

/** A client of `server` that comes back, and gives the volume on at a socket of its own: the address of that. */
async function bridge(t: TestContext, server: Server, reconnectSeconds: number): Promise<string> {
  const socket = join(scratchDirectory(t), "bridge.sock");
  const file = [
    "driver=raw,file.driver=nbd,file.server.type=unix",
    `file.server.path=${server.socket},file.export=v,file.reconnect-delay=${reconnectSeconds}`,
  ];
  const flags = ["--persistent", "--shared=0", `--socket=${socket}`, "--image-opts", file.join(",")];
  const program = new Program("qemu-nbd", flags);
  t.after(() => program.killGroup());
  const uri = `nbd+unix:///?socket=${socket}`;
  await waitFor("qemu-nbd to serve", async () => (await tryRun("nbdinfo", [uri], 5000)).code === 0);
  return uri;
}

/** Writes for a long while, flushes now and then, and verifies what it wrote. */
function startFio(t: TestContext, uri: string): Fio {
  return new Fio(scratchDirectory(t), uri, [
    ...["--rw=randwrite", "--bs=4k", "--iodepth=8", "--fsync=100", `--size=${Math.ceil(32 * scale)}m`],
    ...[
      "--verify=crc32c",
      "--verify_backlog=512",
      "--do_verify=1",
      "--verify_fatal=1",
      "--rate_iops=400,400",
    ],
  ]);
}

/** Waits until the server has taken some writes. */
async function works(server: Server): Promise<void> {
  const writes = async () => (await metricsOf(server)).get("torus_nbd_writes_total") ?? 0;
  await waitFor("writes to go on", async () => (await writes()) >= writesBetween, progressMsMax);
}

async function cutOf(daemons: Daemons): Promise<object | null> {
  const { volumes } = JSON.parse(await daemons.torusctl("-o", "json", "volume", "list"));
  return volumes[0].cut;
}

test("torusblk is killed, stopped and its peers restarted under a client that comes back", async (t) => {
  const daemons = await Daemons.start(t, { blockSize: "256KiB" });
  await daemons.torusctl("volume", "create-block", "v", "256MiB");
  let server = await daemons.startServer(["v"]);
  const fio = startFio(t, await bridge(t, server, 120));
  for (let kill = 1; kill <= kills; kill++) {
    await works(server);
    await daemons.kill(server);
    server = await daemons.startServer(["v"], [], server);
  }
  await works(server);
  await daemons.stop(server);
  server = await daemons.startServer(["v"], [], server);
  // Peers that are stopped in order lose nothing, so that a kill of torusblk afterwards costs nothing either.
  for (const number of [1, 2, 3]) {
    await daemons.stop(daemons.peers.get(number)!);
    await daemons.startPeer(number);
  }
  await works(server);
  assert.equal(fio.hasEnded, false, "fio worked all the time");
  await daemons.kill(server);
  server = await daemons.startServer(["v"], [], server);
  const { write, read, sync } = await fio.end(fioMsMax);
  assert.equal(await cutOf(daemons), null);
  t.diagnostic(`${write.total_ios} writes, ${read.total_ios} reads verified, ${sync.total_ios} flushes`);
  assert.ok(read.total_ios >= write.total_ios / 2 && sync.total_ios > 0);
  await daemons.stopAll();
});

test("torusblk and all peers are killed: the client is cut off until the loss is accepted", async (t) => {
  const daemons = await Daemons.start(t, { blockSize: "256KiB" });
  await daemons.torusctl("volume", "create-block", "v", "256MiB");
  let server = await daemons.startServer(["v"]);
  const fio = startFio(t, await bridge(t, server, 15));
  await works(server);
  await daemons.killAll();
  await daemons.startPeers();
  server = await daemons.startServer(["v"], [], server);

  const refused = /after torusblk \d+ on .* may be lost.* torusctl volume accept-loss v\b/s;
  await assert.rejects(run("qemu-img", ["info", uriOf(server, "v")]), refused);
  await assert.rejects(fio.end(fioMsMax), /Input\/output error/);
  assert.match(server.program.output, refused);
  assert.match(await daemons.torusctl("volume", "list"), /in-use, cut off/);
  await daemons.stop(server);
  server = await daemons.startServer(["v"], [], server);
  await assert.rejects(run("qemu-img", ["info", uriOf(server, "v")]), refused, "also after a restart");

  assert.match(await daemons.torusctl("volume", "accept-loss", "v"), /^v: served again/);
  const flags = ["write -P 7 0 1M", "flush", "read -P 7 0 1M"].flatMap((command) => ["-c", command]);
  assert.doesNotMatch(await run("qemu-io", ["-f", "raw", ...flags, uriOf(server, "v")]), /fail/i);
  await daemons.stopAll();
});
