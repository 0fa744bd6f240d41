// The defects of the original Torus in how it kept what the cluster agrees on, each as the test it never had. The names are
// those of the list in docs/original.md.

import assert from "node:assert/strict";
import { test } from "node:test";
import { systemClock, systemRandom } from "#host/node";
import { openMetadata } from "#metadata";
import { isTorusError } from "#model";
import type { RingDescription } from "#ring";
import { addMembers, createRing, sampleRefs } from "#ring";
import { openFixture } from "../../src/metadata/cluster.fixture.ts";
import { FakeMember } from "../../src/metadata/etcd/fake-member.fixture.ts";
import { quietLog } from "../../src/metadata/quiet-log.fixture.ts";

const emptyRing: RingDescription = { version: 1, type: "empty", replicas: 2, members: [] };

async function openCluster() {
  const fixture = openFixture();
  await fixture.cluster.init({ blockBytes: 512 * 1024, ring: emptyRing });
  return fixture;
}

test("D2: deleting volume 0x2 touches nothing of 0x20 to 0x2f, nor of 0x200", async () => {
  const { cluster } = await openCluster();
  for (let id = 1; id <= 0x205; id++) {
    const { id: given } = await cluster.volumes.create({
      name: `v${id}`,
      sizeBytes: 2 ** 20,
      acknowledge: "replicated",
      minReplicas: 1,
    });
    assert.equal(given, id);
  }
  const before = new Map((await cluster.volumes.list()).volumes.map((state) => [state.spec.id, state]));
  await cluster.volumes.delete("v2", { force: false, fence: async () => {} });
  const after = new Map((await cluster.volumes.list()).volumes.map((state) => [state.spec.id, state]));
  before.delete(2);
  assert.deepEqual(after, before);
});

test("D10: a node that could not read the ring once still learns of the next one", async () => {
  const { cluster, connect, faults, clock } = await openCluster();
  const seen: number[] = [];
  const watch = cluster.rings.watch(1, (ring) => seen.push(ring.version));
  await clock.advance(100);
  faults.away = true;
  const other = connect();
  const member = { peer: "p1", weight: 1, labels: {} };
  const current = await other.rings.current();
  await other.rings.change(current, addMembers(current, [member]));
  await clock.advance(5000);
  assert.deepEqual(seen, []);
  faults.away = false;
  await clock.advance(60_000);
  assert.equal(seen.at(-1), 2);
  const next = await other.rings.current();
  await other.rings.change(next, addMembers(next, [{ ...member, peer: "p2" }]));
  await clock.advance(60_000);
  assert.equal(seen.at(-1), 3);
  watch.close();
});

test("D11: with one of several etcd endpoints gone the metadata is there", async (t) => {
  const [gone, alive] = await Promise.all([FakeMember.start(), FakeMember.start()]);
  t.after(() => alive.close());
  const url = `etcd://127.0.0.1:${gone.port},127.0.0.1:${alive.port}`;
  await gone.close();
  const deps = { clock: systemClock, random: systemRandom, log: quietLog };
  const boot = { bootId: "boot", monotonicMs: () => systemClock.monotonicMs() };
  const service = await openMetadata(url, { ...deps, boot, etcdPassword: null });
  t.after(() => service.close());
  assert.equal((await service.transact([], [{ kind: "put", key: "k", value: "v" }])).committed, true);
});

test("D17: a small peer among large ones holds its small share, and breaks nothing", () => {
  const weights = [20 * 2 ** 20, 20 * 2 ** 20, 100 * 2 ** 10];
  const members = weights.map((weight, i) => ({ peer: `p${i + 1}`, weight, labels: {} }));
  for (const type of ["rendezvous", "ketama"] as const) {
    const ring = createRing({ version: 1, type, replicas: 1, members });
    const held = new Map<string, number>();
    for (const ref of sampleRefs(50_000)) {
      const order = ring.permutation(ref);
      assert.equal(order.length, 3, "every peer is listed");
      held.set(order[0], (held.get(order[0]) ?? 0) + 1);
    }
    assert.ok(
      (held.get("p3") ?? 0) > 0,
      `${type}: the small peer has ${held.get("p3") ?? 0} of 50,000 blocks`,
    );
  }
});

test("D18: names that are not there are said to be missing, and snapshots do not go with their volume unasked", async () => {
  const { cluster } = await openCluster();
  await assert.rejects(
    cluster.volumes.delete("nothing", { force: false, fence: async () => {} }),
    (error) => isTorusError(error, "not-found") && /there is no volume named "nothing"/.test(error.message),
  );
});
