// torusblk, a peer and etcd are killed at once, under I/O, and started again in every order. A client that connects again by itself goes on
// and never notices, and all it wrote is what it reads.

import assert from "node:assert/strict";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { bridge, keepWorking, works } from "./coming-back.ts";
import type { Server } from "./daemons.ts";
import { Daemons } from "./daemons.ts";
import { Etcd } from "./etcd.ts";
import { scale } from "./scale.ts";

const restMs = 300;
const startMsMax = 60_000;

type Part = "torusblk" | "peer" | "etcd";

/** In the first three, each is once the first and once the last. */
const orders: readonly (readonly Part[])[] = [
  ["torusblk", "peer", "etcd"],
  ["peer", "etcd", "torusblk"],
  ["etcd", "torusblk", "peer"],
  ["torusblk", "etcd", "peer"],
  ["etcd", "peer", "torusblk"],
  ["peer", "torusblk", "etcd"],
];

/** As an init system does: what ends because it lacks the others is started again. */
async function untilReady<Started>(start: () => Promise<Started>): Promise<Started> {
  const endMs = performance.now() + startMsMax;
  for (;;) {
    try {
      return await start();
    } catch (error) {
      if (performance.now() > endMs) throw error;
      await sleep(restMs);
    }
  }
}

test("torusblk, a peer and etcd come back in every order under a client that writes", async (t) => {
  const etcd = await Etcd.start(t);
  const daemons = await Daemons.start(t, { blockSize: "256KiB", metadataUrl: etcd.url() });
  await daemons.torusctl("volume", "create-block", "v", "256MiB");
  let server = await daemons.startServer(["v"]);
  const work = { isOver: false };
  const working = keepWorking(t, await bridge(t, server, 120), work);
  working.catch(() => {});
  for (const [round, order] of orders.slice(0, Math.ceil(3 * scale)).entries()) {
    await works(server);
    const number = 1 + (round % 3);
    const [member] = etcd.members;
    await Promise.all([daemons.kill(server), daemons.kill(daemons.peers.get(number)!), member.kill()]);
    const start: Record<Part, () => Promise<Server | null>> = {
      torusblk: () => untilReady(() => daemons.startServer(["v"], [], server)),
      peer: () => untilReady(() => daemons.startPeer(number)).then(() => null),
      etcd: async () => {
        etcd.launch(member);
        return null;
      },
    };
    const started: Promise<Server | null>[] = [];
    for (const part of order) {
      started.push(start[part]());
      await sleep(restMs);
    }
    server = (await Promise.all(started)).find((found) => found !== null)!;
    t.diagnostic(`started again: ${order.join(", ")}`);
  }
  await works(server);
  work.isOver = true;
  const jobs = await working;
  const reads = jobs.reduce((sum, { read }) => sum + read.total_ios, 0);
  assert.ok(reads > 0, "what was written was read and verified");
  const { volumes } = JSON.parse(await daemons.torusctl("-o", "json", "volume", "list"));
  assert.equal(volumes[0].cut, null, "nothing that was answered is lost");
  await daemons.stopAll();
});
