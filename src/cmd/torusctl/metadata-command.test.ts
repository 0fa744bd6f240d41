// torusctl metadata adopt, with real peers on loopback and a database that is put back: what it asks, refuses, shows and changes [C7].

import assert from "node:assert/strict";
import { copyFileSync, rmSync } from "node:fs";
import { afterEach, beforeEach, it } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { formatAddress } from "#host";
import { createLog, systemClock } from "#host/node";
import { MetadataObserver } from "#metadata";
import { crc32 } from "#model";
import type { PeerServer } from "#peer";
import { MemoryStore } from "#storage";
import { serveStore } from "./peers.fixture.ts";
import { peerIds, TorusctlFixture } from "./torusctl.fixture.ts";

let torusctl: TorusctlFixture;
let servers: PeerServer[] = [];
let stores: MemoryStore[] = [];
let leases: number[] = [];
const log = createLog({ level: "silent", name: "test" }, { write: () => {} });

async function startServer(store: MemoryStore, clusterId: string): Promise<void> {
  servers.push(await serveStore(store, clusterId));
}

/** Three peers in the ring, and as many volumes as have names, each attached as often as it says. */
beforeEach(async () => {
  torusctl = new TorusctlFixture();
  const made = (await torusctl.json("init")) as { clusterId: string };
  stores = peerIds.slice(0, 3).map((peer) => new MemoryStore({ peer, sizeBytes: 2 ** 20 }));
  servers = [];
  for (const store of stores) await startServer(store, made.clusterId);
  await registerPeers();
  await torusctl.json("peer add --all-peers");
});

afterEach(async () => {
  for (const server of servers) await server.close();
  torusctl.close();
});

async function registerPeers(): Promise<void> {
  leases = [];
  for (const [at, store] of stores.entries())
    leases.push(await torusctl.startPeer(store.peer, formatAddress(servers[at].address), 2 ** 20));
}

/** Every peer looks at the metadata once. */
async function look(): Promise<string[]> {
  return torusctl.withCluster(async ({ adoption }) => {
    const reasons: string[] = [];
    for (const store of stores)
      reasons.push(
        await new MetadataObserver({ pauseMsMax: 1 }, { adoption, store, clock: systemClock, log }).look(),
      );
    return reasons;
  });
}

async function attach(name: string, times: number): Promise<void> {
  await torusctl.withCluster(async ({ volumes, writers }) => {
    const { spec } = await volumes.find(name);
    for (let i = 0; i < times; i++) {
      const request = { owner: `o${i}`, holder: "n1", leaseTtlMs: 60_000, force: true };
      const attachment = await writers.attachWriter(spec.id, request);
      const ref = { type: 1, volume: spec.id, epoch: attachment.epoch, index: 1 };
      for (const store of stores) {
        await store.fence(spec.id, attachment.epoch, 1, 1, null);
        await store.put(ref, new Uint8Array(100), crc32(new Uint8Array(100)), "write");
      }
      await writers.detachWriter(attachment);
    }
  });
}

/** "early" is attached once before the backup and three times after it, "late" made after it. */
async function goBack(): Promise<void> {
  const file = torusctl.url.slice("sqlite:".length);
  const backup = `${file}.backup`;
  await torusctl.json("volume create-block early 1GiB");
  await torusctl.json("volume create-block idle 1GiB");
  await attach("early", 1);
  await look();
  for (const lease of leases) await torusctl.stopPeer(lease);
  copyFileSync(file, backup);
  await torusctl.json("volume create-block late 1GiB");
  await attach("late", 1);
  await attach("early", 3);
  await look();
  for (const suffix of ["", "-wal", "-shm"]) rmSync(file + suffix, { force: true });
  copyFileSync(backup, file);
  await registerPeers();
}

/** Peers go on looking, as their daemons have them do, while `work` runs. */
async function whileTheyLook<Result>(work: Promise<Result>): Promise<Result> {
  let running = true;
  const looking = (async () => {
    while (running) {
      await look();
      await sleep(50);
    }
  })();
  try {
    return await work;
  } finally {
    running = false;
    await looking;
  }
}

interface Adoption {
  readonly needed: boolean;
  readonly adopted: boolean;
  readonly reasons: readonly string[];
  readonly minter: object;
  readonly without: readonly string[];
  readonly volumes: readonly { name: string; fromEpoch: number; toEpoch: number; knownEpoch: number }[];
  readonly unknown: readonly { id: number; blocks: number; peers: readonly string[] }[];
}

it("torusctl metadata adopt: has nothing to do while no peer has seen newer metadata", async () => {
  await look();
  const { code, out, err } = await torusctl.run("metadata adopt");
  assert.deepEqual([code, err], [0, ""]);
  assert.match(out, /^nothing to adopt: no peer of 3 has seen newer metadata/);
  const json = (await torusctl.json("metadata adopt")) as Adoption;
  assert.deepEqual([json.needed, json.adopted], [false, false]);
});

it("torusctl metadata adopt: shows what is lost, asks, and makes all work again without using anything twice", async () => {
  await goBack();
  assert.ok((await look()).every((reason) => reason !== ""));
  for (const refused of ["volume create-block new 1GiB", "volume delete early --force"])
    assert.match((await torusctl.run(refused)).err, /the metadata went back: .*torusctl metadata adopt/);

  const dry = await torusctl.run("metadata adopt --dry-run");
  assert.equal(dry.code, 0, dry.err);
  assert.match(dry.out, /early +1 +1 -> 5 +as of the backup.*: what was written in epochs 1 to 4 is lost/);
  assert.match(dry.out, /idle +2 +0 -> 1 +never written/);
  assert.match(dry.out, /Unknown volume 3: 3 blocks of it, epochs up to 1, are at 3 peers\. They are kept/);
  assert.match(dry.out, /last volume id would be raised from 2 to 3/);
  assert.match(dry.out, /Nothing was changed/);
  assert.match((await torusctl.run("metadata adopt")).err, /--yes-i-am-sure/);
  torusctl.typed = "no";
  assert.match((await torusctl.run("metadata adopt")).err, /not confirmed: nothing was changed/);

  torusctl.typed = "YES";
  const done = await whileTheyLook(torusctl.run("metadata adopt"));
  assert.deepEqual([done.code, done.err], [0, ""]);
  assert.match(done.out, /adopted \(generation 1\)/);
  assert.deepEqual(await look(), ["", "", ""]);
  const made = (await torusctl.json("volume create-block new 1GiB")) as { id: number };
  assert.equal(made.id, 4);
  await attach("early", 1);
  const list = (await torusctl.json("volume list")) as { volumes: { name: string; epoch: number }[] };
  assert.deepEqual(
    list.volumes.map(({ name, epoch }) => [name, epoch]),
    [
      ["early", 6],
      ["idle", 1],
      ["new", 0],
    ],
  );
  const blocks = await stores[0].list(null, 100);
  assert.equal(blocks.blocks.length, 6, "nothing was deleted");
});

it("torusctl metadata adopt: every peer must answer, or be given up by name", async () => {
  await goBack();
  await look();
  await servers[2].close();
  const refused = await torusctl.run("metadata adopt --yes-i-am-sure");
  assert.equal(refused.code, 1);
  assert.match(
    refused.err,
    new RegExp(`1 of 3 peers do not say what they have seen: ${peerIds[2]} .*--without`),
  );
  assert.match((await torusctl.run("metadata adopt --without nobody")).err, /"nobody" is not a known peer/);
  const lost = stores.splice(2, 1);
  const work = torusctl.json(`metadata adopt --yes-i-am-sure --without ${peerIds[2].slice(0, 8)}`);
  const { adopted, without, volumes, unknown, reasons } = (await whileTheyLook(work)) as Adoption;
  assert.deepEqual([adopted, without], [true, [peerIds[2]]]);
  assert.deepEqual(
    volumes.map(({ name, toEpoch, knownEpoch }) => [name, toEpoch, knownEpoch]),
    [
      ["early", 5, 4],
      ["idle", 1, 0],
    ],
  );
  assert.deepEqual([unknown.length, unknown[0].peers.length], [1, 2]);
  assert.ok(reasons.length >= 3);
  stores.push(...lost);
  assert.deepEqual(await look(), ["", "", ""], "what was raised is above what it knows, too");
});

it("torusctl metadata adopt --anyway: a backup that no peer noticed is adopted by who knows that it is one", async () => {
  assert.deepEqual(await look(), ["", "", ""]);
  assert.match((await torusctl.run("metadata adopt")).out, /^nothing to adopt: .*--anyway/);
  const { volumes } = (await torusctl.json("metadata adopt --anyway --dry-run")) as Adoption;
  const done = await whileTheyLook(torusctl.run("metadata adopt --anyway --yes-i-am-sure"));
  assert.deepEqual([done.code, done.err], [0, ""]);
  assert.match(done.out, /The metadata was adopted/);
  const { volumes: after } = (await torusctl.json("metadata adopt --anyway --dry-run")) as Adoption;
  assert.deepEqual(
    after.map(({ fromEpoch }) => fromEpoch),
    volumes.map(({ toEpoch }) => toEpoch),
  );
});
