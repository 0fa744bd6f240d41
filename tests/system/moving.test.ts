// Peers come, are drained and die for good while fio writes and verifies: no error, no wrong byte, and in the end every block has all its
// copies, where the ring wants them and nowhere else.

import assert from "node:assert/strict";
import { test } from "node:test";
import { Metrics } from "#host";
import { createLog, systemClock, systemNetwork } from "#host/node";
import type { ClusterMetadata } from "#metadata";
import type { BlockRef, BlockStatus } from "#model";
import { blockRefKey } from "#model";
import { PeerPool } from "#peer";
import { desiredPeers, ringOf, standingOf } from "#upkeep";
import { openCluster } from "../../src/cmd/shared/metadata-options.ts";
import { Daemons, uriOf } from "./daemons.ts";
import { Fio } from "./fio.ts";
import { scratchDirectory, waitFor } from "./programs.ts";

const log = createLog({ level: "silent", name: "test" });
const settleMsMax = 60_000;
const fioMsMax = 60_000;

/** fio, again and again, until it is told to stop; resolves with how often. */
function writeAllTheTime(directory: string, uri: string): { stop(): Promise<number> } {
  let stopping = false;
  const work = async (): Promise<number> => {
    for (let runs = 1; ; runs++) {
      const fio = new Fio(directory, uri, [
        ...["--rw=randwrite", "--bs=4k", "--iodepth=8", "--fsync=64", "--size=32m", "--rate_iops=2000,2000"],
        ...["--verify=crc32c", "--verify_backlog=1024", "--do_verify=1", "--verify_fatal=1"],
        `--randseed=${runs}`,
      ]);
      await fio.end(fioMsMax);
      if (stopping) return runs;
    }
  };
  const ended = work();
  ended.catch(() => {});
  return {
    stop: () => {
      stopping = true;
      return ended;
    },
  };
}

/** Every peer has found all it holds in place by a ring that is no union any more. */
async function isSettled(cluster: ClusterMetadata): Promise<boolean> {
  const { ring, peers } = await cluster.peers.list();
  if (ring.type === "union") return false;
  return ring.members.every((member) => {
    const report = peers.find(({ peer }) => peer === member.peer)?.alive?.upkeep;
    return report?.ringVersion === ring.version && report.misplacedBlocks === 0;
  });
}

async function settled(cluster: ClusterMetadata, what: string): Promise<void> {
  await waitFor(what, () => isSettled(cluster), settleMsMax);
}

/** Who has what sealed, by block, of those whose place the ring decides; and what is not where it should be. */
async function misplacedBlocks(cluster: ClusterMetadata): Promise<{ blocks: number; wrong: string[] }> {
  const { peers } = await cluster.peers.list();
  const addressOf = (id: string): string | null =>
    peers.find(({ peer }) => peer === id)?.record?.address ?? null;
  const { clusterId } = await cluster.load();
  const deps = { connect: systemNetwork.connect, clock: systemClock, log, metrics: new Metrics() };
  const pool = new PeerPool({ clusterId }, { ...deps, addressOf });
  const holders = new Map<string, { ref: BlockRef; peers: string[] }>();
  const lists: { peer: string; status: BlockStatus }[] = [];
  for (const { peer } of peers.filter(({ alive }) => alive !== null)) {
    for (let after: BlockRef | null = null; ; ) {
      const page: { blocks: readonly BlockStatus[]; next: BlockRef | null } = await pool
        .storeOf(peer)
        .list(after, 4096);
      for (const status of page.blocks) lists.push({ peer, status });
      if (page.next === null) break;
      after = page.next;
    }
  }
  await pool.close();
  const snapshot = await cluster.snapshot();
  for (const { peer, status } of lists) {
    if (status.state !== "sealed" || standingOf(status.ref, snapshot) !== "placed") continue;
    const key = blockRefKey(status.ref);
    const holder = holders.get(key) ?? { ref: status.ref, peers: [] };
    holder.peers.push(peer);
    holders.set(key, holder);
  }
  const ring = ringOf(snapshot);
  const wrong = [...holders].flatMap(([key, { ref, peers: has }]) => {
    const desired = desiredPeers(ring, ref);
    return desired.length === 3 && [...desired].sort().join() === [...has].sort().join() ? [] : [key];
  });
  return { blocks: holders.size, wrong };
}

test("peers come, leave and die while fio writes and verifies", async (t) => {
  const daemons = await Daemons.start(t, {
    blockSize: "256KiB",
    peerFlags: ["--repair-after", "5s", "--repair-budget", "256MiB/s"],
  });
  await daemons.torusctl("volume", "create-block", "v1", "64MiB");
  const server = await daemons.startServer(["v1"]);
  const cluster = await openCluster(daemons.metadataUrl, { create: false }, { log });
  t.after(() => cluster.close());
  const startedMs = performance.now();
  const past = (what: string): void =>
    t.diagnostic(`${what} after ${((performance.now() - startedMs) / 1000).toFixed(1)} s`);
  const fio = writeAllTheTime(scratchDirectory(t), uriOf(server, "v1"));
  await Promise.all([daemons.startPeer(4), daemons.startPeer(5)]);
  const holds = async (number: number): Promise<boolean> => {
    const { peers } = await cluster.peers.list();
    return (peers.find(({ peer }) => peer === daemons.peers.get(number)?.id)?.alive?.blocks ?? 0) > 20;
  };
  await waitFor("data to move to new peers", async () => (await holds(4)) && (await holds(5)), settleMsMax);
  past("two peers more");
  const drained = daemons.peers.get(1)!;
  const told = await daemons.torusctl("peer", "drain", drained.id, "--wait");
  assert.match(told, /safe to remove: stop its torusd/);
  await daemons.stop(drained);
  daemons.peers.delete(1);
  await daemons.torusctl("peer", "remove", drained.id);
  past("one drained");
  daemons.peers.get(2)!.program.child.kill("SIGKILL");
  const dead = daemons.peers.get(2)!.id;
  const isOut = async (): Promise<boolean> => {
    const { ring } = await cluster.peers.list();
    return !(ring.parts?.new ?? ring).members.some(({ peer }) => peer === dead);
  };
  await waitFor("a dead peer to be taken out of the ring", isOut, settleMsMax);
  past("a dead one out of the ring");
  await settled(cluster, "the copies of a dead peer to be made anew");
  past("its copies made anew");
  const runs = await fio.stop();
  await daemons.stop(server);
  await settled(cluster, "the last blocks to be in place");
  const placement = async () => {
    const found = await misplacedBlocks(cluster);
    return found.wrong.length === 0 ? found : null;
  };
  const { blocks } = await waitFor("every block to have its copies", placement, settleMsMax);
  t.diagnostic(`fio ran ${runs} times; ${blocks} blocks have 3 copies each`);
  assert.ok(blocks > 100, `${blocks} blocks`);
  daemons.peers.delete(2);
  await daemons.stopAll();
});
