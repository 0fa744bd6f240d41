// The replicator over real links on a simulated network: when a member that gives no sign of life is overdue, and that a slow one is
// not.

import assert from "node:assert/strict";
import { test } from "node:test";
import { formatAddress, Metrics } from "#host";
import type { BlockRef, PeerId, Progress } from "#model";
import { PeerPool } from "#peer";
import { MemoryStore } from "#storage";
import { loopbackCluster, openLoopback, silentLog } from "../peer/loopback.fixture.ts";
import { SimClock } from "../sim/clock.ts";
import { SimNetwork, simNetworkDefaults } from "../sim/network.ts";
import { SeededRandom } from "../sim/random.ts";
import { sampleBlock } from "../storage/record.fixture.ts";
import { Replicator, replicatorDefaults } from "./index.ts";

const ref = { type: 0, volume: 1, epoch: 1, index: 1 };
const peers = ["p1", "p2", "p3"];
const { strikeAfterMs } = replicatorDefaults;

/** A store whose disk takes `syncMs` to sync. */
class SlowStore extends MemoryStore {
  syncMs = 0;
  clock: SimClock | null = null;

  override async sync(refs: readonly BlockRef[]): Promise<Progress[]> {
    const { clock } = this;
    if (clock !== null) await new Promise<void>((resolve) => clock.setTimer(this.syncMs, resolve));
    return super.sync(refs);
  }
}

/** A block of four records, the first of which every member holds. */
async function openWorld() {
  const clock = new SimClock();
  const network = new SimNetwork(simNetworkDefaults, { clock, random: new SeededRandom(1) });
  const stores = new Map(peers.map((peer) => [peer, new SlowStore({ peer, sizeBytes: 2 ** 24 })]));
  for (const [peer, store] of stores) {
    store.clock = clock;
    await openLoopback(store, { network: network.machine(peer), clock, address: { host: peer, port: 4321 } });
  }
  const deps = { clock, log: silentLog, metrics: new Metrics() };
  const addressOf = (peer: PeerId) => formatAddress({ host: peer, port: 4321 });
  const { connect } = network.machine("client");
  const pool = new PeerPool({ clusterId: loopbackCluster }, { ...deps, connect, addressOf });
  const overdue: { peer: PeerId; atMs: number }[] = [];
  const replicator = new Replicator(
    replicatorDefaults,
    { ...deps, storeOf: (peer) => pool.storeOf(peer) },
    {
      onProgress: () => replicator.run(),
      onOverdue: (peer) => overdue.push({ peer, atMs: clock.monotonicMs() }),
      onFenced: assert.fail,
      onFull: assert.fail,
    },
  );
  const { bytes, offsets } = sampleBlock(ref, 4);
  const ends = offsets.slice(1);
  const { machine } = replicator;
  const block = machine.open(ref, 0, 2 ** 20, bytes, peers);
  const send = (records: number): void => {
    machine.extend(block, ends[records - 1]);
    replicator.run();
  };
  send(1);
  assert.ok(await clock.runUntil(() => machine.held === ends[0], 100));
  return { clock, network, stores, replicator, overdue, send, ends };
}

test("a member that is cut off or hangs is overdue when nothing was heard of it for the time to strike", async () => {
  const { clock, network, replicator, overdue, send } = await openWorld();
  network.part("client", "p3");
  const partedMs = clock.monotonicMs();
  send(2);
  await clock.advance(strikeAfterMs - 50);
  assert.deepEqual([replicator.lostPeers, overdue], [["p3"], []]);
  await clock.advance(200);
  assert.deepEqual(
    overdue.map(({ peer }) => peer),
    ["p3"],
  );
  assert.ok(overdue[0].atMs - partedMs < strikeAfterMs + 100, `after ${overdue[0].atMs - partedMs} ms`);
});

test("a member that answers again within that time stays, and is sent what it lacks", async () => {
  const { clock, network, replicator, overdue, send, ends } = await openWorld();
  network.part("client", "p3");
  send(2);
  await clock.advance(strikeAfterMs - 200);
  network.heal("client", "p3");
  await clock.advance(5000);
  assert.deepEqual([replicator.lostPeers, overdue, replicator.machine.held], [[], [], ends[1]]);
});

test("a member that is killed has that time from then on to come back", async () => {
  const { clock, network, overdue, send } = await openWorld();
  network.crash("p3");
  const killedMs = clock.monotonicMs();
  send(2);
  await clock.advance(strikeAfterMs - 100);
  assert.equal(overdue.length, 0);
  await clock.advance(300);
  assert.ok(overdue[0].atMs - killedMs < strikeAfterMs + 100);
});

test("a member whose disk takes seconds to sync is waited for: it answers pings", async () => {
  const { clock, stores, replicator, overdue, ends } = await openWorld();
  stores.get("p3")!.syncMs = 4500;
  replicator.machine.requestDurable(ends[0]);
  replicator.run();
  await clock.advance(4000);
  assert.deepEqual([replicator.lostPeers, replicator.machine.durable], [[], 0]);
  await clock.advance(1000);
  assert.deepEqual([overdue, replicator.machine.durable], [[], ends[0]]);
});
