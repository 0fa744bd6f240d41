// torusd under metadata that went back: it notices while it runs and when it starts, changes nothing, says so, and goes on once the
// metadata was adopted [C7].

import assert from "node:assert/strict";
import { renameSync, rmSync } from "node:fs";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { Metrics } from "#host";
import { systemClock, systemNetwork } from "#host/node";
import type { ClusterMetadata } from "#metadata";
import { planAdoption } from "#metadata";
import { isTorusError, testifyWhole } from "#model";
import { PeerClient } from "#peer";
import { openCluster } from "../shared/metadata-options.ts";
import { bench, log } from "./torusd.fixture.ts";

const waitMsMax = 20_000;
const isBehind = (error: unknown): boolean => isTorusError(error, "metadata-behind");

function backUp(file: string): string {
  const database = new DatabaseSync(file);
  database.exec(`VACUUM INTO '${file}.backup'`);
  database.close();
  return `${file}.backup`;
}

/** As an operator does it: the companions go with the file. */
function putBack(backup: string, file: string): void {
  for (const suffix of ["-wal", "-shm"]) rmSync(file + suffix, { force: true });
  renameSync(backup, file);
}

async function waitForCondition(url: string, pattern: RegExp): Promise<void> {
  const deadlineMs = systemClock.monotonicMs() + waitMsMax;
  let found: string | undefined;
  while (systemClock.monotonicMs() < deadlineMs) {
    const cluster = await openCluster(url, { create: false }, { log });
    const { peers } = await cluster.peers.list();
    await cluster.close();
    found = peers[0]?.alive?.condition;
    if (found !== undefined && pattern.test(found)) return;
    await sleep(200);
  }
  assert.fail(`the condition is ${found}, not ${pattern}`);
}

function clientOf(clusterId: string, address: () => string): PeerClient {
  const deps = { connect: systemNetwork.connect, clock: systemClock, log, metrics: new Metrics() };
  return new PeerClient({ clusterId, peer: "" }, { ...deps, addressOf: address });
}

async function createVolume({ volumes }: ClusterMetadata, name: string): Promise<number> {
  const request = { name, sizeBytes: 4096, acknowledge: "replicated", minReplicas: 1 } as const;
  return (await volumes.create(request)).id;
}

test("metadata that is put back: noticed while it runs, again at the next start, and taken once adopted", async (context) => {
  const { directory, url, cluster, start } = await bench(context);
  const flags = ["--data-dir", join(directory, "a"), "--size", "64MiB"];
  const running = start(...flags);
  let [{ address }] = await running.ready();
  const { clusterId } = await cluster.load();
  const client = clientOf(clusterId, () => address);
  context.after(() => client.close());
  await createVolume(cluster, "early");
  const file = join(directory, "metadata.db");
  const backup = backUp(file);
  await createVolume(cluster, "late");
  await client.fence(2, 1, 0, 1, null);
  await waitForCondition(url, /^ok$/);
  putBack(backup, file);
  await waitForCondition(url, /^metadata went back: /);
  await assert.rejects(client.fence(2, 2, 1, 1, null), isBehind);
  assert.equal((await client.list(null, 10)).blocks.length, 0, "it still answers");
  running.child.kill("SIGTERM");
  assert.equal(await running.ended, 0, running.stderr);

  const again = start(...flags, "--auto-join");
  [{ address }] = await again.ready(2);
  await assert.rejects(client.fence(2, 2, 1, 1, null), isBehind);
  const now = await openCluster(url, { create: false }, { log });
  context.after(() => now.close());
  await assert.rejects(createVolume(now, "new"), isBehind);
  assert.deepEqual((await now.rings.current()).members, [], "it does not join the ring");
  const { view, alarm } = await now.adoption.look();
  const { peers } = await now.peers.list();
  const testimony = { ...(await testifyWhole(client)), peer: peers[0].peer };
  const plan = planAdoption(await now.snapshot(), view, alarm?.reason ?? "", [testimony]);
  assert.deepEqual(plan.minter, { from: 1, to: 2 });
  await now.adoption.adopt(plan, []);
  await waitForCondition(url, /^ok$/);
  await client.fence(2, 2, 1, 1, null);
  assert.equal(await createVolume(now, "new"), 3);
});

test("a store of another cluster does not start, and leaves no trace there", async (context) => {
  const { directory, start } = await bench(context);
  const flags = ["--data-dir", join(directory, "a"), "--size", "64MiB"];
  const first = start(...flags);
  await first.ready();
  first.child.kill("SIGTERM");
  await first.ended;
  const other = await bench(context);
  await start(...flags, "-C", other.url).refuses(
    2,
    /belongs to cluster [0-9a-f-]+, this metadata is of cluster/,
  );
  assert.deepEqual((await other.cluster.peers.list()).peers, []);
  const back = start(...flags);
  await back.ready();
  back.child.kill("SIGTERM");
  assert.equal(await back.ended, 0, "its own cluster takes it as before");
});
