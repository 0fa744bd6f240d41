// A peer's heartbeat through outages, restarts and copies.

import assert from "node:assert/strict";
import { it } from "node:test";
import { openFixture } from "./cluster.fixture.ts";
import { PeerHeartbeat } from "./peer-heartbeat.ts";
import { quietLog } from "./quiet-log.fixture.ts";

async function openHeartbeat() {
  const fixture = openFixture();
  const { cluster, clock } = fixture;
  const ring = { version: 1, type: "rendezvous", replicas: 3, members: [] } as const;
  await cluster.init({ blockBytes: 2 ** 20, ring });
  const replaced: string[] = [];
  let blocks = 0;
  const start = (incarnation: number) =>
    new PeerHeartbeat(
      { ttlMs: 6000, intervalMs: 2000 },
      {
        peers: cluster.peers,
        clock,
        log: quietLog,
        record: () => ({ peer: "a", address: "n1:4321", sizeBytes: 100, labels: {}, protocolVersion: 1 }),
        alive: () => {
          blocks += 1;
          return {
            incarnation,
            usedBytes: 0,
            blocks,
            updatedMs: clock.wallMs(),
            condition: "ok",
            upkeep: null,
            collected: null,
            scrub: null,
          };
        },
        onReplaced: (reason) => replaced.push(reason),
      },
    );
  const status = async () => (await fixture.connect().peers.list()).peers[0];
  return { ...fixture, start, status, replaced };
}

it("peer heartbeat: registers the peer, keeps it alive and up to date, and says at once when it stops", async () => {
  const { start, status, clock } = await openHeartbeat();
  const heartbeat = start(1);
  await heartbeat.start();
  assert.equal((await status()).membership, "Avail");
  await clock.advance(60_000);
  assert.equal((await status()).alive?.blocks, 31);
  await heartbeat.close();
  assert.equal((await status()).alive, null);
  await clock.advance(60_000);
  assert.equal((await status()).alive, null);
});

it("peer heartbeat: comes back after an outage longer than its lease", async () => {
  const { start, status, clock, faults } = await openHeartbeat();
  const heartbeat = start(1);
  await heartbeat.start();
  faults.away = true;
  await clock.advance(30_000);
  assert.equal((await status()).membership, "DOWN");
  faults.away = false;
  await clock.advance(8000);
  assert.equal((await status()).membership, "Avail");
  await heartbeat.close();
});

it("peer heartbeat: a daemon that does not reach the service does not start", async () => {
  const { start, faults, clock } = await openHeartbeat();
  faults.away = true;
  await assert.rejects(clock.run(start(1).start()), /does not answer/);
});

it("peer heartbeat: stops when a newer incarnation of the peer lives", async () => {
  const { start, status, clock, replaced } = await openHeartbeat();
  const old = start(1);
  const successor = start(2);
  await old.start();
  await successor.start();
  await clock.advance(3000);
  assert.equal(replaced.length, 1);
  await clock.advance(30_000);
  assert.equal((await status()).alive?.incarnation, 2);
  await successor.close();
  await old.close();
});

/** The peer's heartbeat, as of its first incarnation, under a lease that nobody here has. */
async function beatElsewhere({ connect }: Awaited<ReturnType<typeof openHeartbeat>>) {
  const { service, peers } = connect();
  const lease = await peers.grantLease(9000);
  const [entry] = (await service.read([{ key: "peers/a/alive" }])).ranges[0];
  const beat = () => service.transact([], [{ kind: "put", key: entry.key, value: entry.value, lease }]);
  await beat();
  return beat;
}

it("peer heartbeat: outlives a record of its own under another lease, as metadata that went back has it", async () => {
  const opened = await openHeartbeat();
  const { start, status, clock, replaced } = opened;
  const heartbeat = start(1);
  await heartbeat.start();
  await beatElsewhere(opened);
  await clock.advance(30_000);
  assert.deepEqual(replaced, []);
  assert.ok(((await status()).alive?.blocks ?? 0) > 10);
  await heartbeat.close();
});

it("peer heartbeat: stops when another daemon beats as its very incarnation: a copied directory", async () => {
  const opened = await openHeartbeat();
  const { start, clock, replaced } = opened;
  const heartbeat = start(1);
  await heartbeat.start();
  const beat = await beatElsewhere(opened);
  for (let i = 0; i < 5; i++) {
    await clock.advance(1000);
    await beat();
  }
  assert.equal(replaced.length, 1);
  await heartbeat.close();
});
