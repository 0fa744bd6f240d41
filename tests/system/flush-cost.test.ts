// A flush costs what was written since the last one, whatever the size of the volume: bytes on the wire, no
// transactions, and memory after opening are the same for 1 GiB and for 1 TiB.

import assert from "node:assert/strict";
import { test } from "node:test";
import type { Server } from "./daemons.ts";
import { Daemons, metricsOf, residentBytes } from "./daemons.ts";
import { NbdClient } from "./nbd-client.ts";
import { pageBytes } from "./page-ledger.ts";
import { dice, scale, seed } from "./scale.ts";

const flushes = Math.ceil(300 * scale);
const MiB = 2 ** 20;
const volumes = { small: 2 ** 30, large: 2 ** 40 };
const residentBytesMax = 16 * MiB;
const differenceMax = 0.01;
/** Heartbeats of three peers and renewals of a long lease. */
const revisionsMax = 30;

interface Cost {
  readonly bytesPerFlush: number;
  readonly checkpoints: number;
  readonly revisions: number;
  readonly residentBytes: number;
}

async function revision(daemons: Daemons): Promise<number> {
  return JSON.parse(await daemons.torusctl("volume", "list", "-o", "json")).revision;
}

async function counter(server: Server, name: string): Promise<number> {
  const value = (await metricsOf(server)).get(name);
  assert.ok(value !== undefined, `there is a metric ${name}`);
  return value;
}

/** Opens a volume in a process of its own, and writes and flushes single pages all over it. */
async function measure(daemons: Daemons, volume: keyof typeof volumes): Promise<Cost> {
  const server = await daemons.startServer([volume], ["--lease", "60s"]);
  const client = await NbdClient.connect({ kind: "unix", path: server.socket }, volume);
  const opened = residentBytes(server.program);
  const roll = dice(seed);
  const page = Buffer.alloc(pageBytes, "a page of a flush ");
  const before = {
    bytes: await counter(server, "torus_distributor_appended_bytes_total"),
    checkpoints: await counter(server, "torus_volume_checkpoints_total"),
    revision: await revision(daemons),
  };
  for (let i = 0; i < flushes; i++) {
    await client.write(roll(volumes[volume] / pageBytes) * pageBytes, page);
    await client.flush();
  }
  const cost = {
    bytesPerFlush:
      ((await counter(server, "torus_distributor_appended_bytes_total")) - before.bytes) / flushes,
    checkpoints: (await counter(server, "torus_volume_checkpoints_total")) - before.checkpoints,
    revisions: (await revision(daemons)) - before.revision,
    residentBytes: opened,
  };
  client.destroy();
  await daemons.stop(server);
  return cost;
}

test("a flush costs the same on 1 GiB and on 1 TiB", async (t) => {
  const daemons = await Daemons.start(t);
  await daemons.torusctl("volume", "create-block", "small", "1GiB");
  await daemons.torusctl("volume", "create-block", "large", "1TiB");
  const small = await measure(daemons, "small");
  const large = await measure(daemons, "large");
  for (const [name, cost] of Object.entries({ small, large })) {
    const memory = (cost.residentBytes / MiB).toFixed(1);
    t.diagnostic(
      `${name}: ${cost.bytesPerFlush} bytes to 3 peers per 4 KiB write and flush, ` +
        `${cost.revisions} metadata revisions in ${flushes} flushes, ${memory} MiB after opening`,
    );
    assert.ok(cost.bytesPerFlush >= 3 * pageBytes, "every write reached three peers");
    assert.ok(cost.revisions <= revisionsMax, `${cost.revisions} metadata revisions`);
    // One may be due by time.
    assert.ok(cost.checkpoints <= 1, `${cost.checkpoints} checkpoints`);
  }
  const difference = Math.abs(large.bytesPerFlush - small.bytesPerFlush) / small.bytesPerFlush;
  assert.ok(difference <= differenceMax, `${small.bytesPerFlush} and ${large.bytesPerFlush} bytes a flush`);
  const memory = Math.abs(large.residentBytes - small.residentBytes);
  assert.ok(memory <= residentBytesMax, `${small.residentBytes} and ${large.residentBytes} bytes of memory`);
  for (const peer of daemons.peers.values()) await daemons.stop(peer);
});
