// torusctl peer rebalance: what it says of all peers together, while they move blocks, when they wait, and when all is in place.

import assert from "node:assert/strict";
import { afterEach, beforeEach, it } from "node:test";
import type { UpkeepReport } from "#metadata";
import { peerIds, TorusctlFixture } from "./torusctl.fixture.ts";

let torusctl: TorusctlFixture;
const leases: number[] = [];

const idle: UpkeepReport = {
  state: "idle",
  ringVersion: 2,
  revision: 9,
  walks: 1,
  walkedPercent: 100,
  misplacedBlocks: 0,
  misplacedBytes: 0,
  keptBlocks: 0,
  movedBytes: 5 * 2 ** 20,
  remainingMs: null,
};
const moving: UpkeepReport = {
  ...idle,
  state: "moving",
  ringVersion: 0,
  walkedPercent: 50,
  remainingMs: 200_000,
};

beforeEach(async () => {
  torusctl = new TorusctlFixture();
  await torusctl.json("init --replication 1");
  leases.length = 0;
  for (const i of [0, 1]) leases.push(await torusctl.startPeer(peerIds[i], `n${i + 1}:4321`, 2 ** 30));
  await torusctl.json("peer add --all-peers");
});

afterEach(() => torusctl.close());

/** What the peers say of themselves from now on. */
async function report(...reports: UpkeepReport[]): Promise<void> {
  await torusctl.withCluster(async ({ peers }) => {
    for (const { peer, alive } of (await peers.list()).peers) {
      const at = peerIds.indexOf(peer);
      if (alive !== null) await peers.beat(peer, { ...alive, upkeep: reports[at] }, leases[at]);
    }
  });
}

it("torusctl peer rebalance: tells how far all peers are, and how long it may take", async () => {
  await report(idle, moving);
  const { out } = await torusctl.run("peer rebalance");
  assert.equal(out, "ring 2: 1 of 2 peers done, 75%, about 3m left\n");
  await report(idle, { ...moving, state: "waiting", walkedPercent: 100, misplacedBlocks: 4 });
  assert.match(
    (await torusctl.run("peer rebalance")).out,
    /100%, 4 blocks wait for peers that are away or full\n$/,
  );
  await torusctl.run("peer rebalance pause");
  assert.match((await torusctl.run("peer rebalance")).out, /paused until torusctl peer rebalance resume/);
  await torusctl.run("peer rebalance resume");
  await report(idle, idle);
  assert.deepEqual(await torusctl.json("peer rebalance"), {
    ring: 2,
    balanced: true,
    paused: false,
    peers: 2,
    done: 2,
    percent: 100,
    waitingBlocks: 0,
    down: 0,
    remainingMs: null,
    movedBytes: 10 * 2 ** 20,
  });
  assert.equal((await torusctl.run("peer rebalance")).out, "every block is where ring 2 wants it\n");
});

it("torusctl peer rebalance --wait: tells how far it is on standard error, and ends when all is in place", async () => {
  await report(idle, moving);
  const told = Promise.withResolvers<string>();
  torusctl.onErr = told.resolve;
  const waiting = torusctl.run("peer rebalance --wait");
  assert.equal(await told.promise, "ring 2: 1 of 2 peers done, 75%, 0 B moved, about 3m left\n");
  await report(idle, { ...idle, movedBytes: 8 * 2 ** 20 });
  const { code, out } = await waiting;
  assert.equal(code, 0);
  assert.equal(out, "every block is where ring 2 wants it, 3.0 MiB moved\n");
  assert.match((await torusctl.run("peer rebalance pause --wait")).err, /--wait does not go with pause/);
});
