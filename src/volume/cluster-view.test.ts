// ClusterView: how full the pool is, as peers say of themselves.

import assert from "node:assert/strict";
import { test } from "node:test";
import { systemClock } from "#host/node";
import { TestCluster } from "./cluster.fixture.ts";
import { ClusterView } from "./cluster-view.ts";

const silent = () => {};
const log = { debug: silent, info: silent, warn: silent, error: silent, child: () => log };

const quiet = { upkeep: null, collected: null, scrub: null };

test("the pool is as full as its fullest peer; a peer outside the ring does not count", async () => {
  const cluster = await TestCluster.open({ peers: 3, replicas: 3, blockBytes: 64 * 1024 });
  const metadata = cluster.metadata();
  const outside = "99999999-0000-4000-8000-000000000009";
  const used = [10, 90, 50, 99];
  for (const [i, peer] of [...cluster.stores.map((store) => store.peer), outside].entries()) {
    const address = `h${i}:1`;
    await metadata.peers.register({ peer, address, sizeBytes: 100, labels: {}, protocolVersion: 1 });
    const alive = { incarnation: 1, usedBytes: used[i], blocks: 1, updatedMs: 1, condition: "ok", ...quiet };
    await metadata.peers.beat(peer, alive, await metadata.peers.grantLease(60_000));
  }
  const view = await ClusterView.open({ metadata, clock: systemClock, log });
  assert.deepEqual(view.pool(), { use: 0.9, copyBytes: 100 });
  assert.ok(view.isTight);
  view.close();
});

test("a block may be with the peers of the newest ring, in its order, and then with those that only older ones know", async () => {
  const cluster = await TestCluster.open({ peers: 4, replicas: 3, blockBytes: 64 * 1024 });
  const metadata = cluster.metadata();
  const view = await ClusterView.open({ metadata, clock: systemClock, log });
  const ref = { type: 0, volume: 7, epoch: 1, index: 3 } as const;
  assert.deepEqual(view.candidatesOf(ref), view.ring.permutation(ref));
  const first = view.ring.toDescription();
  const [gone] = first.members;
  await metadata.rings.commit(1, { ...first, version: 2, members: first.members.slice(1) });
  await view.refreshRing();
  assert.deepEqual(view.candidatesOf(ref), [...view.ring.permutation(ref), gone.peer]);
  await metadata.rings.commit(2, { ...first, version: 3 });
  await view.refreshRing();
  assert.deepEqual(view.candidatesOf(ref), view.ring.permutation(ref));
  view.close();
});
