// Peers come, are drained and die for good, and the number of copies changes, while fio writes and verifies: no error, no wrong byte, and in
// the end every block has all its copies, where the ring wants them and nowhere else. Every one of them is read.

import assert from "node:assert/strict";
import { test } from "node:test";
import { createLog } from "#host/node";
import type { ClusterMetadata } from "#metadata";
import { openCluster } from "../../src/cmd/shared/metadata-options.ts";
import { Daemons, uriOf } from "./daemons.ts";
import { Fio } from "./fio.ts";
import { auditPool, complaintsOf, isSettled } from "./pool-audit.ts";
import { scratchDirectory, waitFor } from "./programs.ts";

const log = createLog({ level: "silent", name: "test" });
const settleMsMax = 60_000;
const fioMsMax = 60_000;
const peerFlags = ["--heartbeat", "1s", "--repair-after", "2s", "--repair-budget", "256MiB/s"];
/** Shares follow a hash: of a few hundred blocks a peer has more or less of its share. */
const unevenMax = 1.35;

/** fio, again and again, until it is told to stop; resolves with how often. */
function writeAllTheTime(directory: string, uri: string): { stop(): Promise<number> } {
  let stopping = false;
  const work = async (): Promise<number> => {
    for (let runs = 1; ; runs++) {
      const fio = new Fio(directory, uri, [
        ...["--rw=randwrite", "--bs=4k", "--iodepth=8", "--fsync=64", "--size=32m", "--rate_iops=3000,3000"],
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

/** Blocks of the fullest of these peers over those of the average one. */
async function unevenness(cluster: ClusterMetadata, members: readonly string[]): Promise<number> {
  const { copiesOf } = await auditPool(cluster);
  const counts = members.map((peer) => copiesOf.get(peer) ?? 0);
  return Math.max(...counts) / (counts.reduce((sum, count) => sum + count, 0) / counts.length);
}

test("peers come, leave and die, and copies become fewer and more, while fio writes and verifies", async (t) => {
  const daemons = await Daemons.start(t, { blockSize: "256KiB", peerFlags });
  await daemons.torusctl("volume", "create-block", "v1", "64MiB");
  const server = await daemons.startServer(["v1"]);
  const cluster = await openCluster(daemons.metadataUrl, { create: false }, { log });
  t.after(() => cluster.close());
  const startedMs = performance.now();
  const past = (what: string): void =>
    t.diagnostic(`${what} after ${((performance.now() - startedMs) / 1000).toFixed(1)} s`);
  const fio = writeAllTheTime(scratchDirectory(t), uriOf(server, "v1"));

  await Promise.all([daemons.startPeer(4), daemons.startPeer(5)]);
  await daemons.torusctl("ring", "set-replication", "2");
  const drained = daemons.peers.get(1)!;
  const told = await daemons.torusctl("peer", "drain", drained.id, "--wait");
  assert.match(told, /safe to remove: stop its torusd/);
  await daemons.stop(drained);
  daemons.peers.delete(1);
  await daemons.torusctl("peer", "remove", drained.id);
  past("two peers more, a copy less, one drained");
  const uneven = await unevenness(
    cluster,
    [2, 3, 4, 5].map((number) => daemons.peers.get(number)!.id),
  );
  t.diagnostic(`the fullest peer has ${uneven.toFixed(2)} times the blocks of the average`);
  assert.ok(uneven <= unevenMax, `${uneven}`);

  await daemons.torusctl("ring", "set-replication", "3");
  const dead = daemons.peers.get(2)!;
  await daemons.kill(dead);
  daemons.peers.delete(2);
  const isOut = async (): Promise<boolean> => {
    const { ring } = await cluster.peers.list();
    return !(ring.parts?.new ?? ring).members.some(({ peer }) => peer === dead.id);
  };
  await waitFor("a dead peer to be taken out of the ring", isOut, settleMsMax);
  past("a copy more, a dead one out of the ring");
  await waitFor("its copies to be made anew", () => isSettled(cluster), settleMsMax);
  past("its copies made anew");

  const runs = await fio.stop();
  await daemons.stop(server);
  const { needed, bytes } = await waitFor(
    "every block to have its copies",
    async () => {
      const audit = await auditPool(cluster);
      if (audit.wrong.length > 0 || !(await isSettled(cluster))) throw new Error(complaintsOf(audit.wrong));
      return audit;
    },
    settleMsMax,
  );
  past("all in place");
  t.diagnostic(`fio ran ${runs} times; ${needed} blocks have 3 copies each, ${bytes} bytes were read`);
  assert.ok(needed > 100, `${needed} blocks`);
  await daemons.stopAll();
});
