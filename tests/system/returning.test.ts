// Peers that were away return with what they have: only what they missed is sent to them. One that is taken out for good is not waited for.

import assert from "node:assert/strict";
import type { TestContext } from "node:test";
import { test } from "node:test";
import { createLog } from "#host/node";
import type { ClusterMetadata } from "#metadata";
import { openCluster } from "../../src/cmd/shared/metadata-options.ts";
import type { Server } from "./daemons.ts";
import { Daemons } from "./daemons.ts";
import { NbdClient } from "./nbd-client.ts";
import { auditPool, complaintsOf, isSettled } from "./pool-audit.ts";
import { waitFor } from "./programs.ts";

const mebibyte = 2 ** 20;
const filledMebibytes = 48;
/** What is written while a peer is away. */
const missedMebibytes = 2;
/** That, and the blocks that were open when it went, and INodes; far from all there is. */
const movedMebibytesMax = 10;
const settleMsMax = 60_000;

async function begin(t: TestContext, peers: number, repairAfter: string) {
  const daemons = await Daemons.start(t, {
    peers,
    blockSize: "256KiB",
    peerFlags: ["--heartbeat", "1s", "--repair-after", repairAfter],
  });
  await daemons.torusctl("volume", "create-block", "v", "64MiB");
  const server = await daemons.startServer(["v"]);
  const log = createLog({ level: "silent", name: "test" });
  const cluster = await openCluster(daemons.metadataUrl, { create: false }, { log });
  t.after(() => cluster.close());
  await write(server, 0, filledMebibytes);
  return { daemons, server, cluster };
}

async function write(server: Server, from: number, mebibytes: number): Promise<void> {
  const client = await NbdClient.connect({ kind: "unix", path: server.socket }, "v");
  for (let at = from; at < from + mebibytes; at++)
    await client.write(at * mebibyte, Buffer.alloc(mebibyte, `${at} `));
  await client.flush();
  client.destroy();
}

/** MiB that all peers have sent to others since they started. */
async function moved(cluster: ClusterMetadata): Promise<number> {
  const { peers } = await cluster.peers.list();
  return peers.reduce((sum, { alive }) => sum + (alive?.upkeep?.movedBytes ?? 0), 0) / mebibyte;
}

/** All in place; returns how many copies each needed block has. */
async function inPlace(cluster: ClusterMetadata): Promise<void> {
  const probe = async (): Promise<boolean> => {
    if (!(await isSettled(cluster))) return false;
    const { wrong } = await auditPool(cluster);
    if (wrong.length > 0) throw new Error(complaintsOf(wrong));
    return true;
  };
  await waitFor("every block to have its copies", probe, settleMsMax);
}

async function isMember(cluster: ClusterMetadata, id: string): Promise<boolean> {
  const { ring } = await cluster.peers.list();
  return (ring.parts?.new ?? ring).members.some(({ peer }) => peer === id);
}

test("a peer that was away for a while is sent what it missed, not everything", async (t) => {
  const { daemons, server, cluster } = await begin(t, 3, "10min");
  const away = daemons.peers.get(3)!;
  await daemons.kill(away);
  await write(server, filledMebibytes, missedMebibytes);
  const back = await daemons.startPeer(3);
  assert.equal(back.id, away.id);
  await daemons.stop(server);
  await inPlace(cluster);
  const sent = await moved(cluster);
  t.diagnostic(`${sent.toFixed(1)} MiB were sent, of ${filledMebibytes + missedMebibytes}`);
  assert.ok(sent > 0.5 * missedMebibytes && sent < movedMebibytesMax, `${sent} MiB`);
  await daemons.stopAll();
});

test("a peer that was taken out for being away enters again with what it has", async (t) => {
  const { daemons, server, cluster } = await begin(t, 4, "2s");
  const away = daemons.peers.get(4)!;
  await daemons.kill(away);
  await waitFor("it to be taken out", async () => !(await isMember(cluster, away.id)), settleMsMax);
  await waitFor("its copies to be made anew", () => isSettled(cluster), settleMsMax);
  await write(server, filledMebibytes, missedMebibytes);
  const before = await moved(cluster);
  await daemons.startPeer(4);
  await waitFor("it to be in the ring again", () => isMember(cluster, away.id), settleMsMax);
  await daemons.stop(server);
  await inPlace(cluster);
  const sent = (await moved(cluster)) - before;
  t.diagnostic(`${before.toFixed(1)} MiB were sent when it went, ${sent.toFixed(1)} when it returned`);
  assert.ok(before > filledMebibytes / 2, `${before} MiB`);
  assert.ok(sent < movedMebibytesMax, `${sent} MiB`);
  await daemons.stopAll();
});

test("a crashed peer is taken out by force, below the number of copies, and forgotten; another takes its place", async (t) => {
  const { daemons, server, cluster } = await begin(t, 3, "2s");
  const crashed = daemons.peers.get(3)!;
  await daemons.kill(crashed);
  daemons.peers.delete(3);
  const isDown = async (): Promise<boolean> =>
    (await cluster.peers.list()).peers.some(({ peer, alive }) => peer === crashed.id && alive === null);
  await waitFor("it to be DOWN", isDown, settleMsMax);
  const refused = await daemons.tryTorusctl("peer", "remove", crashed.id);
  assert.notEqual(refused.code, 0);
  assert.match(refused.stderr, /--force/);
  await daemons.torusctl("peer", "remove", crashed.id, "--force");
  await write(server, filledMebibytes, missedMebibytes);
  await waitFor("the old ring to be let go", () => isSettled(cluster), settleMsMax);
  await daemons.torusctl("peer", "remove", crashed.id);
  const { peers } = await cluster.peers.list();
  assert.deepEqual(peers.map(({ peer }) => peer).includes(crashed.id), false);
  await daemons.startPeer(4);
  await daemons.stop(server);
  await inPlace(cluster);
  const { copiesOf } = await auditPool(cluster);
  assert.equal(copiesOf.size, 3);
  await daemons.stopAll();
});
