// [C2] A client that connects again by itself (QEMU's, with reconnect-delay) goes on over ends of torusblk and never notices; when
// something that it was answered may be lost, it is not let in again, and a person decides.

import assert from "node:assert/strict";
import { test } from "node:test";
import { bridge, fioMsMax, keepWorking, startFio, works } from "./coming-back.ts";
import { Daemons, uriOf } from "./daemons.ts";
import { run } from "./programs.ts";
import { scale } from "./scale.ts";

const kills = Math.ceil(3 * scale);

async function cutOf(daemons: Daemons): Promise<object | null> {
  const { volumes } = JSON.parse(await daemons.torusctl("-o", "json", "volume", "list"));
  return volumes[0].cut;
}

test("torusblk is killed, stopped and its peers restarted under a client that comes back", async (t) => {
  const daemons = await Daemons.start(t, { blockSize: "256KiB" });
  await daemons.torusctl("volume", "create-block", "v", "256MiB");
  let server = await daemons.startServer(["v"]);
  const work = { isOver: false };
  const working = keepWorking(t, await bridge(t, server, 120), work);
  working.catch(() => {});
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
  await daemons.kill(server);
  server = await daemons.startServer(["v"], [], server);
  await works(server);
  work.isOver = true;
  const sums = { writes: 0, reads: 0, flushes: 0 };
  for (const { write, read, sync } of await working) {
    sums.writes += write.total_ios;
    sums.reads += read.total_ios;
    sums.flushes += sync.total_ios;
  }
  t.diagnostic(`${sums.writes} writes, ${sums.reads} reads verified, ${sums.flushes} flushes`);
  assert.ok(sums.reads >= sums.writes / 2 && sums.flushes > 0);
  assert.equal(await cutOf(daemons), null);
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
