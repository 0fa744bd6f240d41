// Deleting a volume that was written, with real peers on loopback.

import assert from "node:assert/strict";
import { afterEach, beforeEach, it } from "node:test";
import { formatAddress } from "#host";
import type { PeerServer } from "#peer";
import { MemoryStore } from "#storage";
import { serveStore } from "./peers.fixture.ts";
import { peerIds, TorusctlFixture } from "./torusctl.fixture.ts";

let torusctl: TorusctlFixture;
let servers: PeerServer[] = [];
let stores: MemoryStore[] = [];

/** Three peers with memory for disks, in the ring; volume "db", attached once and let go without a checkpoint of its lease. */
beforeEach(async () => {
  torusctl = new TorusctlFixture();
  const made = (await torusctl.json("init")) as { clusterId: string };
  stores = peerIds.slice(0, 3).map((peer) => new MemoryStore({ peer, sizeBytes: 2 ** 20 }));
  servers = [];
  for (const store of stores) {
    const server = await serveStore(store, made.clusterId);
    servers.push(server);
    await torusctl.startPeer(store.peer, formatAddress(server.address), 2 ** 20);
  }
  await torusctl.json("peer add --all-peers");
  await torusctl.json("volume create-block db 1GiB");
  await torusctl.withCluster(async ({ volumes, writers }) => {
    const { spec } = await volumes.find("db");
    const attachment = await writers.attachWriter(spec.id, {
      owner: "o",
      holder: "n1",
      leaseTtlMs: 60_000,
      force: false,
    });
    const rows = [{ fromIndex: 1, ringVersion: 2, replicas: 3, without: [] }];
    await writers.commitLogmap(attachment, { epoch: 1, rows, struck: [] }, 0);
    await writers.detachWriter(attachment);
  });
});

afterEach(async () => {
  for (const server of servers) await server.close();
  torusctl.close();
});

/** The epoch below which each store refuses. */
async function fences(): Promise<number[]> {
  const epochs: number[] = [];
  for (const store of stores) {
    // Raised one by one until the store agrees: a lower one is refused.
    let epoch = 0;
    while (
      !(await store.fence(1, epoch, 1, 1, null).then(
        () => true,
        () => false,
      ))
    )
      epoch += 1;
    epochs.push(epoch);
  }
  return epochs;
}

it("deleting a volume that was written: fences every peer of its log before it goes", async () => {
  assert.equal((await torusctl.run("volume delete db")).code, 0);
  assert.deepEqual(await fences(), [2, 2, 2]);
});

it("deleting a volume that was written: one silent peer does not stop it: every write needs a peer that was told", async () => {
  await servers[2].close();
  const { code, err } = await torusctl.run("volume delete db");
  assert.deepEqual([code, err], [0, ""]);
  assert.deepEqual((await fences()).slice(0, 2), [2, 2]);
});

it("deleting a volume that was written: too many silent peers stop it, unless forced", async () => {
  await servers[1].close();
  await servers[2].close();
  const refused = await torusctl.run("volume delete db");
  assert.equal(refused.code, 1);
  assert.match(refused.err, /2 of 3 peers were not told that volume "db" goes/);
  assert.match((await torusctl.run("volume list")).out, /^db /m);
  const forced = await torusctl.run("volume delete db --force");
  assert.equal(forced.code, 0);
  assert.match(forced.err, /^warning: 2 of 3 peers/);
  assert.doesNotMatch((await torusctl.run("volume list")).out, /^db /m);
});

it("deleting a volume that was written: a peer that knows a newer epoch stops it: the metadata went back [C7]", async () => {
  await stores[0].fence(1, 9, 1, 1, null);
  const { code, err } = await torusctl.run("volume delete db --force");
  assert.equal(code, 1);
  assert.match(err, /the metadata went back: peer .* knows a newer epoch of volume "db"/);
});
