// A backup of the metadata is put back under a cluster that has gone on since: everybody says so and changes nothing; once it was
// adopted all works again, volumes are as of the backup, and nothing is used twice. With a real etcd, and with SQLite.

import assert from "node:assert/strict";
import { copyFileSync, cpSync, rmSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import type { Server } from "./daemons.ts";
import { Daemons, uriOf } from "./daemons.ts";
import { Etcd } from "./etcd.ts";
import { run, waitFor } from "./programs.ts";

interface PeerList {
  readonly peers: readonly { readonly condition: string | null; readonly blocks: number | null }[];
}

interface VolumeList {
  readonly volumes: readonly { readonly id: number; readonly name: string; readonly epoch: number }[];
}

const wentBack = /the metadata went back: .*torusctl metadata adopt/;

async function peersOf(cluster: Daemons): Promise<PeerList["peers"]> {
  return (JSON.parse(await cluster.torusctl("-o", "json", "peer", "list")) as PeerList).peers;
}

async function volumesOf(cluster: Daemons): Promise<VolumeList["volumes"]> {
  return (JSON.parse(await cluster.torusctl("-o", "json", "volume", "list")) as VolumeList).volumes;
}

/** Attaches `volume` with a server of its own, runs qemu-io on it, and detaches. */
async function use(cluster: Daemons, volume: string, ...commands: readonly string[]): Promise<void> {
  const server = await cluster.startServer([volume]);
  await io(server, volume, ...commands);
  await cluster.stop(server);
}

async function io(server: Server, volume: string, ...commands: readonly string[]): Promise<void> {
  const flags = commands.flatMap((command) => ["-c", command]);
  await run("qemu-io", ["-f", "raw", ...flags, uriOf(server, volume)]);
}

const write = (pattern: number): string[] => [`write -P ${pattern} 0 1M`, "flush"];

/** What happened before the backup was made, and after. */
async function before(cluster: Daemons): Promise<void> {
  await cluster.torusctl("volume", "create-block", "early", "64MiB");
  await use(cluster, "early", ...write(1));
}

async function after(cluster: Daemons): Promise<void> {
  await cluster.torusctl("volume", "create-block", "late", "64MiB");
  await use(cluster, "late", ...write(2));
  for (const pattern of [3, 4]) await use(cluster, "early", ...write(pattern));
}

const blocksOf = (peers: PeerList["peers"]): number =>
  peers.reduce((sum, { blocks }) => sum + (blocks ?? 0), 0);

/** From the moment the backup is in force and every torusd runs. */
async function requireRefusalAndAdopt(cluster: Daemons, blocks: number): Promise<void> {
  await waitFor("every peer to say it", async () => {
    const peers = await peersOf(cluster);
    return (
      peers.length === 3 && peers.every(({ condition }) => /^metadata went back: /.test(condition ?? ""))
    );
  });
  assert.match((await cluster.tryTorusctl("volume", "create-block", "new", "64MiB")).stderr, wentBack);
  assert.match((await cluster.tryTorusctl("volume", "delete", "early", "--force")).stderr, wentBack);
  await assert.rejects(cluster.startServer(["early"]), wentBack);
  assert.equal(blocksOf(await peersOf(cluster)), blocks, "nothing was deleted");

  assert.match(
    await cluster.torusctl("metadata", "adopt", "--dry-run"),
    /early +1 +\d+ -> \d+ +as of the backup.*is lost[\s\S]*Unknown volume 2:/,
  );
  assert.match(await cluster.torusctl("metadata", "adopt", "--yes-i-am-sure"), /The metadata was adopted/);
  await waitFor("every peer to take it", async () => {
    const peers = await peersOf(cluster);
    return peers.every(({ condition }) => !/^metadata went back: /.test(condition ?? "metadata went back: "));
  });
  // Who used it after the backup may have been answered what is not in it: only a person can say that they are gone.
  const server = await cluster.startServer(["early"]);
  await assert.rejects(io(server, "early", "read -P 1 0 1M"), /may be lost/);
  await cluster.torusctl("volume", "accept-loss", "early");
  await io(server, "early", "read -P 1 0 1M", ...write(5), "read -P 5 0 1M");
  await cluster.stop(server);
  await cluster.torusctl("volume", "create-block", "new", "64MiB");
}

test("etcd, under daemons that run: its data directory of before is put back", async (t) => {
  const etcd = await Etcd.start(t);
  const [member] = etcd.members;
  const restart = async (): Promise<void> => {
    etcd.launch(member);
    await etcd.ready();
  };
  const cluster = await Daemons.start(t, { metadataUrl: etcd.url() });
  await before(cluster);
  const data = join(member.directory, member.name);
  await member.kill();
  cpSync(data, `${data}.backup`, { recursive: true });
  await restart();
  await after(cluster);
  const epochs = new Map((await volumesOf(cluster)).map(({ name, epoch }) => [name, epoch]));
  await waitFor("heartbeats after it", async () => blocksOf(await peersOf(cluster)) > 0);
  await cluster.stopAll();
  await cluster.startPeers();
  const blocks = blocksOf(await peersOf(cluster));
  await member.kill();
  member.empty();
  cpSync(`${data}.backup`, data, { recursive: true });
  await restart();
  await requireRefusalAndAdopt(cluster, blocks);
  const now = await volumesOf(cluster);
  assert.deepEqual(
    now.map(({ name, id }) => [name, id]),
    [
      ["early", 1],
      ["new", 3],
    ],
  );
  assert.ok(now[0].epoch > (epochs.get("early") ?? 0) + 1, `epoch ${now[0].epoch}`);
  await cluster.stopAll();
});

test("SQLite: the file of before is put back while everything is stopped", async (t) => {
  const cluster = await Daemons.start(t);
  const file = join(cluster.directory, "metadata.db");
  await before(cluster);
  await cluster.stopAll();
  copyFileSync(file, `${file}.backup`);
  await cluster.startPeers();
  await after(cluster);
  await cluster.stopAll();
  await cluster.startPeers();
  const blocks = blocksOf(await peersOf(cluster));
  await cluster.stopAll();
  for (const suffix of ["", "-wal", "-shm"]) rmSync(file + suffix, { force: true });
  copyFileSync(`${file}.backup`, file);
  await cluster.startPeers();
  await requireRefusalAndAdopt(cluster, blocks);
  assert.deepEqual(
    (await volumesOf(cluster)).map(({ name, id }) => [name, id]),
    [
      ["early", 1],
      ["new", 3],
    ],
  );
  await cluster.stopAll();
});
