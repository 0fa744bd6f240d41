// torusctl ring plan, peer drain and peer rebalance on a real database: what they say before, and while, data moves.

import assert from "node:assert/strict";
import { afterEach, beforeEach, it } from "node:test";
import { peerIds, TorusctlFixture } from "./torusctl.fixture.ts";

let torusctl: TorusctlFixture;

beforeEach(() => {
  torusctl = new TorusctlFixture();
});

afterEach(() => torusctl.close());

async function refused(args: string, code: number, message: RegExp): Promise<void> {
  const result = await torusctl.run(args);
  assert.equal(result.code, code, `${args}: ${result.err}`);
  assert.match(result.err, message);
}

async function done(args: string): Promise<string> {
  const { code, out, err } = await torusctl.run(args);
  assert.equal(code, 0, `${args}: ${err}`);
  return out;
}

it("torusctl ring plan: tells what would move and changes nothing", async () => {
  await done("init --replication 2");
  for (let i = 0; i < 3; i++) await torusctl.startPeer(peerIds[i], `n${i + 1}:4321`, 2 ** 30);
  await done("peer add n1:4321 n2:4321");
  const before = await done("ring get");
  const plan = (await torusctl.json("ring plan add n3:4321")) as {
    movedShare: number;
    balance: number;
    domains: { domain: string; apart: number }[];
    peers: { address: string; inBytes: number; shareAfter: number }[];
  };
  assert.ok(Math.abs(plan.movedShare - 1 / 3) < 0.03, `${plan.movedShare}`);
  assert.ok(plan.balance < 1.1);
  assert.deepEqual(plan.domains, [{ domain: "host", apart: 1 }]);
  const added = plan.peers.find(({ address }) => address === "n3:4321");
  assert.ok(added !== undefined && added.inBytes > 0 && Math.abs(added.shareAfter - 1 / 3) < 0.03);
  const text = await done("ring plan add n3:4321 --budget 1MiB/s");
  assert.match(text, /\nMoves \S+ MiB, 3\d\.\d% of all copies, in about \d+[sm] at 1\.0 MiB\/s a peer\n/);
  const slow = (await torusctl.json("ring plan add n3:4321 --budget 1MiB/s")) as { seconds: number };
  // All that comes, comes to one peer.
  assert.ok(Math.abs(slow.seconds - (added?.inBytes ?? 0) / 2 ** 20) <= 1, `${slow.seconds} s`);
  assert.match(await done("ring plan remove n2:4321"), /Copies in different failure domains of kind host/);
  await done("ring plan replicas 1");
  await done("ring plan type mod");
  await refused("ring plan type union", 2, /type/);
  await refused("ring plan replicas 99", 2, /replication "99"/);
  assert.equal(await done("ring get"), before);
});

it("torusctl peer drain: takes a peer out and says what still needs it; moving can be paused", async () => {
  await done("init --replication 1");
  await torusctl.startPeer(peerIds[0], "n1:4321", 2 ** 30);
  const lease = await torusctl.startPeer(peerIds[1], "n2:4321", 2 ** 30);
  await done("peer add --all-peers");
  await done("volume create-block v1 1GiB --min-replicas 1");
  assert.match(
    await done("peer drain n1:4321"),
    /draining n1:4321: .*\n.*not yet safe to remove: it does not move/,
  );
  assert.deepEqual(await torusctl.json("peer drain n1:4321"), {
    peer: peerIds[0],
    safe: false,
    reason: "it does not move its blocks: upgrade its torusd",
  });
  await torusctl.stopPeer(lease);
  await refused("peer drain n2:4321", 1, /DOWN.*peer remove/);
  assert.deepEqual(await torusctl.json("peer rebalance pause"), { paused: true });
  assert.match(await done("peer rebalance resume"), /^resumed/);
  await refused("peer rebalance stop", 2, /pause, resume/);
});
