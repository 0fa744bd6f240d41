// Snapshots while fio writes: each shows, through VOLUME@SNAPSHOT and through a clone, what was flushed before it was asked for; also
// after the writer was killed, and after the volume was put back to one. And what one costs, whatever the volume's size.

import assert from "node:assert/strict";
import { test } from "node:test";
import type { Server } from "./daemons.ts";
import { Daemons, metricsOf, uriOf } from "./daemons.ts";
import { Fio } from "./fio.ts";
import { NbdClient } from "./nbd-client.ts";
import { PageLedger, pageBytes } from "./page-ledger.ts";
import { run } from "./programs.ts";
import { dice, seed } from "./scale.ts";

const MiB = 2 ** 20;
const snapshots = 5;
/** The test's own half of the volume; fio has the other. */
const ownPages = 2048;
const volumeBytes = 2 * ownPages * pageBytes;
const roll = dice(seed);

type Content = ReadonlyMap<number, Buffer>;

/** Writes some pages and flushes; what the own half holds then. */
async function change(client: NbdClient, ledger: PageLedger, before: Content): Promise<Content> {
  const content = new Map(before);
  const pages = new Set(Array.from({ length: 200 }, () => roll(ownPages)));
  const writes = [...pages].map((page) => {
    const { bytes } = ledger.write(page, 1);
    content.set(page, bytes);
    return client.write(page * pageBytes, bytes);
  });
  await Promise.all(writes);
  await client.flush();
  return content;
}

/** How long the last snapshot took, by the writer's log. */
function snapshotMs({ program }: Server): number {
  const lines = [...program.output.matchAll(/"ms":(\d+)[^\n]*took a snapshot/g)];
  return Number(lines.at(-1)?.[1]);
}

async function requireContent(server: Server, name: string, content: Content): Promise<void> {
  const client = await NbdClient.connect({ kind: "unix", path: server.socket }, name);
  const zeroes = Buffer.alloc(pageBytes);
  for (let page = 0; page < ownPages; page += 256) {
    const bytes = await client.read(page * pageBytes, 256 * pageBytes);
    for (let i = 0; i < 256; i++) {
      const found = bytes.subarray(i * pageBytes, (i + 1) * pageBytes);
      const wanted = content.get(page + i) ?? zeroes;
      assert.ok(found.equals(wanted), `${name}: page ${page + i} is ${found.toString("latin1", 0, 24)}`);
    }
  }
  client.destroy();
}

function startFio(daemons: Daemons, server: Server): Fio {
  return new Fio(daemons.directory, uriOf(server, "v"), [
    ...["--rw=randwrite", "--bs=4k", "--iodepth=8", "--fsync=64", "--rate_iops=2000", "--thread"],
    ...[`--offset=${volumeBytes / 2}`, `--size=${volumeBytes / 2}`, "--time_based", "--runtime=600"],
  ]);
}

test(`${snapshots} snapshots under load are what was flushed before each (seed ${seed})`, async (t) => {
  const daemons = await Daemons.start(t, { blockSize: "1MiB" });
  await daemons.torusctl("volume", "create-block", "v", `${volumeBytes / 1024}KiB`);
  const server = await daemons.startServer(["v"]);
  const client = await NbdClient.connect({ kind: "unix", path: server.socket }, "v");
  const ledger = new PageLedger();
  const kept: Content[] = [];
  let content: Content = new Map();
  const fio = startFio(daemons, server);
  for (let i = 1; i <= snapshots; i++) {
    content = await change(client, ledger, content);
    await daemons.torusctl("volume", "snapshot", "create", `v@s${i}`);
    t.diagnostic(`snapshot ${i}: ${snapshotMs(server)} ms at the writer`);
    assert.ok(!fio.hasEnded, "fio still writes");
    kept.push(content);
  }
  await daemons.torusctl("volume", "clone", "v@s2", "copy");
  await requireContent(server, "v@s1", kept[0]);
  await requireContent(server, "copy", kept[1]);
  fio.stop();
  const { write, sync } = await fio.end(60_000);
  const stallMs = Math.max(write.clat_ns.max, sync.lat_ns.max) / 1e6;
  t.diagnostic(`fio: ${Math.round(write.iops)} writes a second, the longest ${stallMs.toFixed(0)} ms`);
  content = await change(client, ledger, content);
  client.destroy();
  await daemons.killAll();
  await afterCrash(daemons, kept, content);
});

async function afterCrash(daemons: Daemons, kept: readonly Content[], last: Content): Promise<void> {
  await daemons.startPeers();
  const server = await daemons.startServer([]);
  for (const [i, content] of kept.entries()) {
    await requireContent(server, `v@s${i + 1}`, content);
    await daemons.torusctl("volume", "clone", `v@s${i + 1}`, `clone-${i + 1}`);
    await requireContent(server, `clone-${i + 1}`, content);
  }
  // Everything was killed: clients of before are cut off until somebody says that they are gone.
  await assert.rejects(requireContent(server, "v", last), /may be lost/);
  await daemons.torusctl("volume", "accept-loss", "v");
  await requireContent(server, "v", last);
  const reader = await NbdClient.connect({ kind: "unix", path: server.socket }, "v@s1");
  await assert.rejects(reader.write(0, Buffer.alloc(pageBytes)), /error 1$/, "EPERM");
  reader.destroy();
  const { exports } = JSON.parse(await run("nbdinfo", ["--list", "--json", uriOf(server, "")]));
  const shown = exports.find((entry: Record<string, unknown>) => entry["export-name"] === "v@s1");
  assert.deepEqual([shown["is_read_only"], shown["can_multi_conn"]], [true, true]);
  await daemons.stop(server);
  // With nobody attached: back to the second, which is then what the volume is, and the last is kept.
  const restored = JSON.parse(await daemons.torusctl("volume", "snapshot", "restore", "v@s2", "-o", "json"));
  const again = await daemons.startServer(["v"]);
  await requireContent(again, "v", kept[1]);
  await requireContent(again, `v@${restored.kept.name}`, last);
  await daemons.torusctl("volume", "flatten", "clone-3");
  await requireContent(again, "clone-3", kept[2]);
  await daemons.stop(again);
  for (const peer of daemons.peers.values()) await daemons.stop(peer);
}

/** Bytes of INode nodes, and how long the writer took, for one snapshot of a volume with `pages` pages all over it. */
async function costOf(
  daemons: Daemons,
  name: string,
  sizeBytes: number,
): Promise<{ bytes: number; ms: number }> {
  const server = await daemons.startServer([name], ["--lease", "60s"]);
  const client = await NbdClient.connect({ kind: "unix", path: server.socket }, name);
  const page = Buffer.alloc(pageBytes, "a page of a snapshot ");
  const step = sizeBytes / 64;
  for (let i = 0; i < 64; i++) await client.write(i * step, page);
  await daemons.torusctl("volume", "snapshot", "create", `${name}@first`);
  const written = async () => (await metricsOf(server)).get("torus_volume_checkpoint_bytes_total") ?? 0;
  const before = await written();
  await client.write(0, page);
  await daemons.torusctl("volume", "snapshot", "create", `${name}@second`);
  const ms = snapshotMs(server);
  const bytes = (await written()) - before;
  client.destroy();
  await daemons.stop(server);
  return { bytes, ms };
}

test("a snapshot costs the same on 1 GiB and on 1 TiB", async (t) => {
  const daemons = await Daemons.start(t);
  for (const [name, sizeBytes] of [
    ["small", 2 ** 30],
    ["large", 2 ** 40],
  ] as const) {
    await daemons.torusctl("volume", "create-block", name, `${sizeBytes / MiB}MiB`);
    const { bytes, ms } = await costOf(daemons, name, sizeBytes);
    t.diagnostic(`${name}: ${bytes} bytes of INode, ${ms} ms at the writer`);
    assert.ok(bytes > 0 && bytes < 16 * 1024, `${bytes} bytes`);
  }
  await daemons.stopAll();
});
