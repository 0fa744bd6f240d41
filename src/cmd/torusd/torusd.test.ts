// torusd as a process: it makes stores, registers and joins, serves blocks, tells its health, stops in order, and says in
// one line why it does not start.

import assert from "node:assert/strict";
import { cpSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { Metrics } from "#host";
import { systemClock, systemNetwork } from "#host/node";
import { blockBytesMin, crc32 } from "#model";
import { PeerClient } from "#peer";
import { bench, log } from "./torusd.fixture.ts";

test("two disks: registers, joins, serves, keeps data over a restart, stops in order", async (context) => {
  const { directory, cluster, start } = await bench(context);
  const flags = ["--data-dir", join(directory, "a"), "--data-dir", join(directory, "b")];
  const first = start(...flags, "--size", "64MiB", "--auto-join", "--label", "zone=x");
  const peers = await first.ready(2);
  const ring = await cluster.rings.current();
  assert.deepEqual(ring.members.map(({ peer }) => peer).sort(), peers.map(({ peer }) => peer).sort());
  assert.equal(ring.members[0].labels["zone"], "x");
  const listing = await cluster.peers.list();
  assert.ok(listing.peers.every(({ membership, alive }) => membership === "OK" && alive?.condition === "ok"));
  const volume = { name: "v", sizeBytes: 4096, acknowledge: "replicated", minReplicas: 1 } as const;
  const { id } = await cluster.volumes.create(volume);
  await cluster.writers.attachWriter(id, { owner: "o", holder: "h", leaseTtlMs: 60_000, force: false });
  const ref = { type: 1, volume: id, epoch: 1, index: 1 };
  const bytes = new Uint8Array(5000).fill(7);
  const { clusterId } = await cluster.load();
  const [{ peer }] = peers;
  let address = peers[0].address;
  const deps = { connect: systemNetwork.connect, clock: systemClock, log, metrics: new Metrics() };
  const client = new PeerClient({ clusterId, peer }, { ...deps, addressOf: () => address });
  await client.put(ref, bytes, crc32(bytes), "write");
  first.child.kill("SIGTERM");
  assert.equal(await first.ended, 0, first.stderr);
  assert.ok(
    (await cluster.peers.list()).peers.every(({ alive }) => alive === null),
    "leases are given back",
  );
  const second = start(...flags, "--size", "64MiB", "--auto-join");
  const again = await second.ready(2);
  assert.deepEqual(again.map((each) => each.peer).sort(), peers.map((each) => each.peer).sort());
  address = again.find((each) => each.peer === peer)!.address;
  assert.deepEqual(Buffer.from(await client.read(ref, 0, bytes.length)), Buffer.from(bytes));
  await client.close();
  assert.equal((await cluster.rings.current()).version, ring.version, "joins once");
  second.child.kill("SIGINT");
  assert.equal(await second.ended, 0, second.stderr);
});

test("metrics and health over HTTP", async (context) => {
  const { directory, start } = await bench(context);
  const port = 20_000 + (process.pid % 20_000);
  const daemon = start("--data-dir", join(directory, "a"), "--size", "64MiB", "--http", `127.0.0.1:${port}`);
  const [{ peer }] = await daemon.ready();
  const metrics = await (await fetch(`http://127.0.0.1:${port}/metrics`)).text();
  assert.match(metrics, new RegExp(`^torus_storage_size_bytes\\{peer="${peer}"\\} ${64 * 2 ** 20}$`, "m"));
  const health = await fetch(`http://127.0.0.1:${port}/healthz`);
  assert.equal(health.status, 200);
  const { status, peers } = (await health.json()) as { status: string; peers: { peer: string }[] };
  assert.deepEqual([status, peers[0].peer], ["ok", peer]);
});

test("says in one line why it does not start", async (context) => {
  const { directory, start } = await bench(context);
  const a = join(directory, "a");
  await Promise.all([
    start().refuses(2, /--data-dir/),
    start("--data-dir", a, "--size", "many").refuses(2, /--size "many" is not a size/),
    start("--data-dir", a, "--label", "Zone").refuses(2, /--label "Zone"/),
    start("--data-dir", a, "--heartbeat", "2min").refuses(2, /--heartbeat "2min" is too seldom: 60s/),
    start("--data-dir", a, "--memory", "100MiB").refuses(2, /--memory 100\.0 MiB is too little for one disk/),
    start("--data-dir", a, "--data-dir", a).refuses(2, /given twice/),
    start("--data-dir", a, "-C", "ftp://x").refuses(2, /ftp/),
    start("--data-dir", directory).refuses(2, /not a Torus store/),
  ]);
  const running = start("--data-dir", a, "--size", "64MiB");
  const [{ address }] = await running.ready();
  const b = join(directory, "b");
  const same = ["--data-dir", a, "--size", "64MiB"];
  cpSync(a, join(directory, "copy"), { recursive: true });
  await Promise.all([
    start(...same).refuses(1, /in use by process \d+/),
    start("--data-dir", b, "--size", "64MiB", "--peer-address", address).refuses(1, /listen/),
    start("--data-dir", join(directory, "copy"), "--size", "64MiB").refuses(1, /is alive at/),
  ]);
});

test("without a cluster it says what to do; with a parent gone it stops", async (context) => {
  const { directory, start, cluster } = await bench(context, false);
  await start("--data-dir", join(directory, "a")).refuses(1, /torusctl init/);
  const ring = { version: 1, type: "empty", replicas: 1, members: [] } as const;
  await cluster.init({ blockBytes: blockBytesMin, ring });
  const child = start("--data-dir", join(directory, "a"), "--size", "64MiB", "--exit-with-parent");
  await child.ready();
  child.child.stdin?.end();
  assert.equal(await child.ended, 0, child.stderr);
});
