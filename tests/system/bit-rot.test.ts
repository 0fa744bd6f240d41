// Bits flip on one peer's disk: reads give the right bytes all the same, the damaged copies are put right, and the
// metrics say so. What nobody reads is found and put right by a scrub that is asked for.

import assert from "node:assert/strict";
import { test } from "node:test";
import type { RingDescription } from "#ring";
import { createRing } from "#ring";
import type { PagePlace } from "./block-files.ts";
import { copiesIn, flipBit, pagesOf } from "./block-files.ts";
import type { Server } from "./daemons.ts";
import { Daemons, metricsOf } from "./daemons.ts";
import { NbdClient } from "./nbd-client.ts";
import { pageBytes } from "./page-ledger.ts";
import { waitFor } from "./programs.ts";

const volumePages = 4096;
const readPages = 64;
const damagedMin = 4;
const repairMsMax = 60_000;
function contentOf(page: number): Buffer {
  return Buffer.alloc(pageBytes, `this is page ${page} of the volume, and it does not rot. `);
}

async function fill(server: Server): Promise<void> {
  const client = await NbdClient.connect({ kind: "unix", path: server.socket }, "v");
  for (let first = 0; first < volumePages; first += readPages) {
    const pages = Array.from({ length: readPages }, (_, i) => contentOf(first + i));
    await client.write(first * pageBytes, Buffer.concat(pages));
  }
  await client.flush();
  client.destroy();
}

async function readAll(server: Server): Promise<void> {
  const client = await NbdClient.connect({ kind: "unix", path: server.socket }, "v");
  for (let first = 0; first < volumePages; first += readPages) {
    const bytes = await client.read(first * pageBytes, readPages * pageBytes);
    for (let i = 0; i < readPages; i++) {
      const found = bytes.subarray(i * pageBytes, (i + 1) * pageBytes);
      assert.ok(found.equals(contentOf(first + i)), `page ${first + i} is wrong`);
    }
  }
  client.destroy();
}

/** One page in each block that readers ask `peer` for first: blocks go round among those that have copies. */
async function chooseDamage(daemons: Daemons, peer: string, directory: string): Promise<PagePlace[]> {
  const description = JSON.parse(await daemons.torusctl("ring", "get", "-o", "json")) as RingDescription;
  const ring = createRing(description.parts?.new ?? description);
  const chosen = new Map<string, PagePlace>();
  for (const place of pagesOf(directory)) {
    const { epoch, index } = place.ref;
    const reader = ring.permutation(place.ref)[index % ring.replicas];
    if (reader === peer) chosen.set(`${epoch}.${index}`, place);
  }
  return [...chosen.values()];
}

test("damaged copies are passed over, repaired and counted", async (t) => {
  const daemons = await Daemons.start(t, { blockSize: "1MiB" });
  await daemons.torusctl("volume", "create-block", "v", `${volumePages * 4}KiB`);
  await fill(await daemons.startServer(["v"]));
  const { id } = daemons.peers.get(1)!;
  const directory = daemons.peerDirectory(1);
  const damage = await chooseDamage(daemons, id, directory);
  await daemons.stopAll();
  assert.ok(damage.length >= damagedMin, `only ${damage.length} blocks are read from peer 1`);
  for (const { page, at } of damage) {
    assert.equal(copiesIn(directory, contentOf(page)), 1);
    flipBit(directory, at + (page % pageBytes));
    assert.equal(copiesIn(directory, contentOf(page)), 0);
  }

  await daemons.startPeers();
  const server = await daemons.startServer(["v"]);
  const repaired = async (): Promise<number> =>
    (await metricsOf(server)).get("torus_distributor_repaired_blocks_total") ?? 0;
  await waitFor(
    "every damaged copy to be repaired",
    async () => {
      await readAll(server);
      return (await repaired()) >= damage.length;
    },
    repairMsMax,
  );
  await readAll(server);
  const metrics = await metricsOf(server);
  assert.equal(metrics.get("torus_distributor_repaired_blocks_total"), damage.length);
  assert.ok(metrics.get("torus_distributor_bad_copies_total")! >= damage.length);
  assert.equal(metrics.get("torus_distributor_failed_repairs_total"), 0);
  await daemons.stopAll();
  for (const { page } of damage) assert.equal(copiesIn(directory, contentOf(page)), 1, `page ${page}`);
  t.diagnostic(
    `${damage.length} damaged blocks, ${metrics.get("torus_distributor_bad_copies_total")} bad reads`,
  );
});

interface Asked {
  readonly peer: string;
  readonly endedMs: number | null;
  readonly found: number;
  readonly repaired: number;
  readonly unrepairable: number;
}

test("a scrub that is asked for finds and repairs what nobody reads", async (t) => {
  const daemons = await Daemons.start(t, { blockSize: "1MiB", peerFlags: ["--heartbeat", "1s"] });
  await daemons.torusctl("volume", "create-block", "v", `${volumePages * 4}KiB`);
  await fill(await daemons.startServer(["v"]));
  const { id } = daemons.peers.get(2)!;
  await daemons.stopAll();
  const directory = daemons.peerDirectory(2);
  const blocks = new Map(pagesOf(directory).map((place) => [`${place.ref.epoch}.${place.ref.index}`, place]));
  const damage = [...blocks.values()];
  assert.ok(damage.length >= damagedMin, `only ${damage.length} blocks at peer 2`);
  for (const { page, at } of damage) flipBit(directory, at + (page % pageBytes));

  await daemons.startPeers();
  const json = await daemons.torusctl("peer", "scrub", "--wait", "-o", "json");
  const { peers } = JSON.parse(json) as { peers: Asked[] };
  assert.equal(peers.length, 3);
  for (const { peer, endedMs, found, repaired, unrepairable } of peers) {
    const damaged = peer === id ? damage.length : 0;
    assert.ok(endedMs !== null, `peer ${peer} is done`);
    assert.deepEqual([found, repaired, unrepairable], [damaged, damaged, 0], `peer ${peer}`);
  }
  const listing = await daemons.torusctl("peer", "list");
  assert.match(listing, new RegExp(`3 of 3 peers done, damaged blocks: ${damage.length} found`));
  await daemons.stopAll();
  for (const { page } of damage) assert.equal(copiesIn(directory, contentOf(page)), 1, `page ${page}`);
  t.diagnostic(`${damage.length} damaged blocks`);
});
