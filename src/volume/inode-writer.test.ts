// INodes on their peers: who is waited for, and who is not.

import assert from "node:assert/strict";
import { test } from "node:test";
import type { BlockStore, PeerId } from "#model";
import { blockType, pageBytes, TorusError } from "#model";
import { MemoryStore } from "#storage";
import { TestCluster } from "./cluster.fixture.ts";
import { InodeWriter } from "./inode-writer.ts";
import { MovingClock } from "./moving-clock.fixture.ts";
import { SilentPeers } from "./silent-peers.ts";

const peers = ["a", "b", "c", "d"];
const log = { debug() {}, info() {}, warn() {}, error() {}, child: () => log };

/** Four peers, `away` of which do not answer, under a clock that moves when somebody waits. */
function bench(away: ReadonlySet<PeerId>, failure = (peer: PeerId) => new TorusError("unavailable", peer)) {
  const clock = new MovingClock();
  const stores = new Map(peers.map((peer) => [peer, new MemoryStore({ peer, sizeBytes: 2 ** 24 })]));
  const storeOf = (peer: PeerId): BlockStore => {
    const store = stores.get(peer) as MemoryStore;
    return new Proxy(store, {
      get: (target, key) =>
        key === "put" && away.has(peer)
          ? async () => Promise.reject(failure(peer))
          : Reflect.get(target, key, target).bind?.(target),
    });
  };
  const inode = new InodeWriter({ volume: 1, epoch: 1, blockBytes: 2 ** 20, firstIndex: 1 });
  inode.place(new Uint8Array(100));
  const deps = {
    storeOf,
    membersOf: (_: unknown, without: readonly PeerId[]) =>
      peers.filter((peer) => !without.includes(peer)).slice(0, 3),
    silent: new SilentPeers(),
    minReplicas: 2,
    onFull: () => {},
    isLost: () => clock.monotonicMs() > 60_000,
    clock,
    log,
  };
  const holders = async (): Promise<PeerId[]> => {
    const ref = { type: blockType.inode, volume: 1, epoch: 1, index: 1 };
    const found: PeerId[] = [];
    for (const [peer, store] of stores) if ((await store.stat([ref]))[0].state === "sealed") found.push(peer);
    return found;
  };
  return { put: () => inode.put(deps), holders, now: () => clock.monotonicMs() };
}

test("a peer that takes nothing for long is not waited for: the block goes to the next", async () => {
  const at = bench(new Set(["b"]));
  await at.put();
  assert.deepEqual(await at.holders(), ["a", "c", "d"]);
  assert.ok(at.now() >= 1500 && at.now() < 3000, `it was waited for, ${at.now()} ms`);
  const before = at.now();
  await at.put();
  assert.ok(at.now() - before < 500, "the next INode does not wait again");
});

test("fewer copies than are asked for are never enough, however long peers are silent", async () => {
  const away = new Set(["a", "b", "d"]);
  const at = bench(away);
  const putting = at.put();
  while (at.now() < 30_000) await new Promise((resolve) => setImmediate(resolve));
  assert.deepEqual(await at.holders(), ["c"]);
  away.delete("d");
  await putting;
  assert.ok(at.now() < 60_000, "it ended when a second had it");
  assert.deepEqual(await at.holders(), ["c", "d"]);
});

test("[C16] a full peer is waited for", async () => {
  const away = new Set(["b"]);
  const at = bench(away, (peer) => new TorusError("full", peer));
  const putting = at.put();
  while (at.now() < 30_000) await new Promise((resolve) => setImmediate(resolve));
  assert.deepEqual(await at.holders(), ["a", "c"]);
  away.clear();
  await putting;
  assert.deepEqual(await at.holders(), ["a", "b", "c"]);
});

test("peers that no open block is on die, and the volume is detached all the same", async () => {
  const cluster = await TestCluster.open({
    peers: 5,
    replicas: 3,
    blockBytes: 2 ** 20,
    closeTimeoutMs: 20_000,
  });
  await cluster.createVolume("v", 2 ** 30);
  const { volume, client } = await cluster.attach("v");
  await volume.write(0, new Uint8Array(pageBytes).fill(7), true);
  for (const store of cluster.stores) {
    const { blocks } = await store.list(null, 1000);
    if (!blocks.some(({ ref }) => ref.type === blockType.data)) cluster.cut.add(store.peer);
  }
  assert.equal(cluster.cut.size, 2);
  await volume.close();
  const { head } = await cluster.metadata().volumes.find("v");
  assert.equal(head?.ended, true);
  await client.close();
});
