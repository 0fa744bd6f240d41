// A cluster made by hand, as an operator does it: init, three daemons, a look at them, volumes, an NBD server, and
// everything stopped in order.

import assert from "node:assert/strict";
import { test } from "node:test";
import type { Server } from "./daemons.ts";
import { Daemons, uriOf } from "./daemons.ts";
import { run, waitFor } from "./programs.ts";

const GiB = 2 ** 30;

interface PeerJson {
  readonly peer: string;
  readonly address: string;
  readonly member: string;
  readonly inRing: boolean;
  readonly condition: string;
  readonly blocks: number;
}

interface VolumeJson {
  readonly name: string;
  readonly sizeBytes: number;
  readonly status: string;
  readonly holder: string | null;
}

async function json(daemons: Daemons, ...args: string[]) {
  return JSON.parse(await daemons.torusctl(...args, "-o", "json"));
}

async function peersOf(daemons: Daemons): Promise<PeerJson[]> {
  return (await json(daemons, "peer", "list")).peers;
}

async function volumesOf(daemons: Daemons): Promise<VolumeJson[]> {
  return (await json(daemons, "volume", "list")).volumes;
}

async function peersAreListed(daemons: Daemons): Promise<void> {
  const found = await peersOf(daemons);
  const started = [...daemons.peers.values()];
  assert.deepEqual(found.map(({ peer }) => peer).sort(), started.map(({ id }) => id).sort());
  for (const { member, inRing, condition } of found)
    assert.deepEqual({ member, inRing, condition }, { member: "OK", inRing: true, condition: "ok" });
  const csv = (await daemons.torusctl("peer", "list", "--csv")).trim().split("\n");
  assert.equal(csv.length, 4);
  assert.match(csv[0], /^ADDRESS,UUID,SIZE,USED,DEAD,MEMBER,/);
  for (const { id, host, port } of started) {
    const start = `${host}:${port},${id},${8 * GiB},`;
    assert.ok(
      csv.some((line) => line.startsWith(start)),
      csv.join("\n"),
    );
  }
  assert.match(await daemons.torusctl("peer", "list"), /Balanced: yes/);
}

async function volumesAreManaged(daemons: Daemons): Promise<void> {
  assert.match(await daemons.torusctl("volume", "list"), /no volumes yet/);
  for (const name of ["one", "two", "three"]) {
    assert.match(await daemons.torusctl("volume", "create-block", name, "2GiB"), /created volume/);
  }
  assert.match(await daemons.torusctl("volume", "delete", "three"), /deleted three/);
  const found = (await volumesOf(daemons)).map(({ name, sizeBytes, status }) => ({
    name,
    sizeBytes,
    status,
  }));
  assert.deepEqual(found, [
    { name: "one", sizeBytes: 2 * GiB, status: "free" },
    { name: "two", sizeBytes: 2 * GiB, status: "free" },
  ]);
}

async function volumesAreServed(daemons: Daemons, server: Server): Promise<void> {
  const list = JSON.parse(await run("nbdinfo", ["--list", "--json", uriOf(server, "")])).exports;
  assert.deepEqual(list.map((entry: Record<string, unknown>) => entry["export-name"]).sort(), ["one", "two"]);
  for (const [name, pattern] of [
    ["one", "0x31"],
    ["two", "0x32"],
  ]) {
    const commands = [`write -P ${pattern} 1G 1M`, "flush", `read -P ${pattern} 1G 1M`];
    const flags = commands.flatMap((command) => ["-c", command]);
    const output = await run("qemu-io", ["-f", "raw", ...flags, uriOf(server, name)]);
    assert.doesNotMatch(output, /fail/i);
  }
  const one = (await volumesOf(daemons)).find(({ name }) => name === "one")!;
  assert.equal(one.status, "in-use");
  assert.match(one.holder ?? "", new RegExp(`torusblk ${server.program.pid} on `));
  const refused = await daemons.tryTorusctl("volume", "delete", "one");
  assert.equal(refused.code, 1);
  assert.match(refused.stderr, /one.* attached|attached.*one/);
}

async function deathIsListed(daemons: Daemons): Promise<void> {
  const { program, id } = daemons.peers.get(2)!;
  program.killGroup();
  await program.ended;
  const memberIs = (wanted: string) => async () =>
    (await peersOf(daemons)).some(({ peer, member }) => peer === id && member === wanted);
  await waitFor("the peer to be DOWN", memberIs("DOWN"));
  await daemons.startPeer(2);
  await waitFor("the peer to be OK", memberIs("OK"));
}

test("init, daemons, peers, volumes, NBD, stop", async (t) => {
  const daemons = await Daemons.start(t);
  await t.test("the peers are in the ring and alive", () => peersAreListed(daemons));
  await t.test("volumes are made, listed and deleted", () => volumesAreManaged(daemons));
  const server = await daemons.startServer(["one"]);
  await t.test("an NBD server lists and serves them", () => volumesAreServed(daemons, server));
  await t.test("a peer that dies is DOWN, and OK when it is back", () => deathIsListed(daemons));
  await t.test("all of it stops in order when asked", async () => {
    // Fails unless each ends with 0.
    await daemons.stopAll();
    const statuses = (await volumesOf(daemons)).map(({ status }) => status);
    assert.deepEqual(statuses, ["free", "free"]);
    assert.deepEqual([...new Set((await peersOf(daemons)).map(({ member }) => member))], ["DOWN"]);
  });
});
