// torusctl on a real database: outputs, exit codes, what it refuses.

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { existsSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, it } from "node:test";
import type { CutRecord, VolumeRegistry, VolumeWriters } from "#metadata";
import type { RingDescription } from "#ring";
import { peerIds, TorusctlFixture } from "./torusctl.fixture.ts";

let torusctl: TorusctlFixture;

beforeEach(() => {
  torusctl = new TorusctlFixture();
});

afterEach(() => torusctl.close());

/** It failed with this code, said one line about it, and nothing on standard output. */
async function refused(args: string, code: number, message: RegExp): Promise<void> {
  const result = await torusctl.run(args);
  assert.equal(result.code, code, `${args}: ${result.err}`);
  assert.match(result.err, /^torusctl: [^\n]+\n$/);
  assert.match(result.err, message);
  assert.equal(result.out, "");
}

async function done(args: string): Promise<string> {
  const { code, out, err } = await torusctl.run(args);
  assert.equal(code, 0, `${args}: ${err}`);
  return out;
}

interface RingAnswer {
  readonly ring: RingDescription;
  readonly moving: boolean;
}

it("torusctl init and wipe: make and remove a cluster", async () => {
  const made = (await torusctl.json("init --block-size 1MiB --replication 2")) as Record<string, unknown>;
  assert.equal(made["blockBytes"], 2 ** 20);
  assert.deepEqual(made["ring"], { version: 1, type: "rendezvous", replicas: 2 });
  assert.match(await done("init --view"), /1\.0 MiB {2}rendezvous/);
  await refused("init", 1, /holds cluster .* already/);
  await refused("wipe", 2, /--yes-i-am-sure/);
  torusctl.typed = "yes";
  await refused("wipe", 2, /not confirmed/);
  torusctl.typed = "YES";
  assert.match(await done("wipe"), /^wiped/);
  await refused("init --view", 1, /run torusctl init/);
  await done("init --no-ring");
  assert.match(await done("ring get"), /^empty ring, version 1/);
  await done("wipe --yes-i-am-sure");
});

it("torusctl init and wipe: refuse values that cannot be", async () => {
  await refused("init --block-size 0", 2, /--block-size "0" is not a size/);
  await refused("init --block-size 3MiB", 2, /power of two/);
  await refused("init --block-size 1GiB", 2, /64\.0 MiB/);
  await refused(
    "init --replication 0",
    2,
    /--replication "0" is not possible: use a whole number from 1 to 16/,
  );
  await refused("init --replication 2.5", 2, /--replication/);
  await refused("init --ring-type circle", 2, /--ring-type/);
  await refused("init extra", 2, /argument/);
});

it("torusctl init and wipe: wipe refuses a cluster in use, unless forced", async () => {
  await done("init");
  await torusctl.startPeer(peerIds[0], "n1:4321", 2 ** 30);
  await refused("wipe --yes-i-am-sure", 1, /peer n1:4321 is alive; stop them first, or use --force/);
  await done("wipe --yes-i-am-sure --force");
});

it("torusctl peer: list shows address, size, membership and a footer, for people and for programs", async () => {
  await done("init --replication 1");
  await torusctl.startPeer(peerIds[0], "n1:4321", 2 ** 40);
  await torusctl.startPeer(peerIds[1], "n2:4321", 2 ** 40, "full");
  await done(`peer add ${peerIds[0]}`);
  const listed = await done("peer list");
  const lines = listed.split("\n");
  assert.match(lines[0], /^ADDRESS +UUID +SIZE +USED +DEAD +MEMBER +UPDATED +BLOCKS +REB\/REP +CONDITION$/);
  assert.match(lines[1], /^n1:4321 +6f1c1f0e-\S+ +1\.0 TiB +256\.0 GiB +64\.0 GiB +OK +\ds ago +7 +- +ok$/);
  assert.match(lines[2], /^n2:4321 .* Avail .* full$/);
  assert.equal(lines[3], "Balanced: yes   Usage: 25.0% of 1.0 TiB");
  assert.equal(await done("list-peers"), listed);
  assert.match(await done("peer list --si"), /1\.1 TB/);
  const csv = (await done("peer list --csv")).split("\n");
  assert.match(
    csv[1],
    new RegExp(
      `^n1:4321,${peerIds[0]},${2 ** 40},${2 ** 38},${2 ** 36},OK,\\d{4}-\\d\\d-\\d\\dT[^,]+,7,-,ok$`,
    ),
  );
  assert.equal(csv.length, 4);
  const { peers, balanced } = (await torusctl.json("peer list")) as {
    peers: Record<string, unknown>[];
    balanced: boolean;
  };
  assert.equal(balanced, true);
  assert.deepEqual(
    peers.map((peer) => [peer["address"], peer["member"], peer["sizeBytes"], peer["condition"]]),
    [
      ["n1:4321", "OK", 2 ** 40, "ok"],
      ["n2:4321", "Avail", 2 ** 40, "full"],
    ],
  );
  torusctl.terminal = true;
  assert.ok((await done("peer list")).includes("\u001b[32mOK\u001b[0m"));
  torusctl.env["NO_COLOR"] = "1";
  assert.ok(!(await done("peer list")).includes("\u001b"));
  await refused("peer list --csv -o json", 2, /not both/);
});

it("torusctl peer: add takes the peer's size as weight and its labels; unknown peers are refused by naming those known", async () => {
  await done("init");
  await refused("peer add --all-peers n1:4321", 2, /name the peers/);
  await refused("peer add", 2, /name the peers/);
  await refused(
    "peer add n1:4321",
    1,
    /"n1:4321" is not a known peer: no peer has registered yet, start torusd/,
  );
  assert.match(await done("peer add --all-peers"), /nothing to add: no peer is alive/);
  await torusctl.startPeer(peerIds[0], "n1:4321", 1000);
  await torusctl.startPeer(peerIds[1], "n2:4321", 3000);
  const lease = await torusctl.startPeer(peerIds[2], "n3:4321", 3000);
  await torusctl.stopPeer(lease);
  await torusctl.startPeer(peerIds[3], "n4:4321", 3000, "poisoned");
  await refused("peer add n9:1", 1, /known are 6f1c1f0e-\S+ \(n1:4321, Avail\), 9a2b7d31/);
  await refused("peer add n3:4321", 1, /is DOWN: start its torusd/);
  await refused("peer add n4:4321", 1, /is not well \(poisoned\)/);
  const { ring, moving } = (await torusctl.json("peer add n1:4321 9a2b7d31")) as RingAnswer;
  assert.deepEqual(ring.members, [
    { peer: peerIds[0], weight: 1000, labels: { host: "n1" } },
    { peer: peerIds[1], weight: 3000, labels: { host: "n2" } },
  ]);
  assert.equal(moving, false);
  await refused("peer add n1:4321", 1, /already/);
  assert.match(await done("ring get"), /9a2b7d31-\S+ +n2:4321 +75\.0% +host=n2/);
});

it("torusctl peer: remove refuses to leave fewer peers than copies, unless forced, and forgets what is down and out", async () => {
  await done("init --replication 2");
  await torusctl.startPeer(peerIds[0], "n1:4321", 1000);
  const lease = await torusctl.startPeer(peerIds[1], "n2:4321", 1000);
  await done("peer add --all-peers");
  assert.match(await done("peer add --all-peers"), /nothing to add: every peer/);
  await refused("peer remove n2:4321", 1, /1 peers for 2 copies.*use --force/);
  const { code, err } = await torusctl.run("peer remove n2:4321 --force");
  assert.equal(code, 0);
  assert.match(err, /^warning: the ring would have 1 peers/);
  await refused("peer remove n2:4321", 2, /not in the ring/);
  await torusctl.stopPeer(lease);
  assert.match(await done("peer remove n2:4321"), /^forgot n2:4321/);
  await refused("peer remove n2:4321", 1, /not a known peer/);
});

it("torusctl peer: with volumes, a change is a union until the data has moved", async () => {
  await done("init --replication 1");
  for (const at of [0, 1]) await torusctl.startPeer(peerIds[at], `n${at}:4321`, 1000);
  await done("peer add n0:4321");
  await done("volume create-block db 1GiB");
  const { ring, moving } = (await torusctl.json("peer add n1:4321")) as RingAnswer;
  assert.deepEqual([ring.type, moving, ring.parts?.new.members.length], ["union", true, 2]);
  assert.match(await done("peer list"), /Balanced: no, data is moving to ring version 3/);
  assert.match(await done("ring get"), /moving from/);
});

it("torusctl ring: set-replication and manual-change make the next version", async () => {
  await done("init --replication 1");
  for (const at of [0, 1, 2]) await torusctl.startPeer(peerIds[at], `n${at}:4321`, 1000);
  await refused("ring manual-change", 2, /say what to change/);
  await refused("ring manual-change --uuids 6f1c1f0e --all-peers", 2, /cannot be used with/);
  await done("ring manual-change --all-peers -r 3");
  await refused("ring set-replication 4", 1, /3 peers for 4 copies/);
  await refused("ring set-replication 0", 2, /from 1 to 16/);
  await done("ring set-replication 2");
  await done("ring manual-change --type ketama");
  await refused("ring manual-change --type single --force", 2, /single/);
  const { ring } = (await torusctl.json("ring manual-change --uuids 6f1c1f0e,9a2b7d31")) as RingAnswer;
  assert.deepEqual([ring.version, ring.type, ring.replicas, ring.members.length], [5, "ketama", 2, 2]);
  await refused("ring manual-change --uuids 6f1c1f0e", 1, /1 peers for 2 copies/);
  await refused("ring manual-change --type empty", 1, /0 peers/);
  await done("ring manual-change --type empty --force");
  const current = (await torusctl.json("ring get")) as RingDescription;
  assert.deepEqual([current.version, current.type], [6, "empty"]);
  await refused("ring set-replication 3", 1, /--force/);
});

it("torusctl volume: create, list and delete", async () => {
  await done("init");
  assert.match(await done("volume list"), /no volumes yet/);
  assert.match(await done("volume create-block db 20GiB"), /created volume db: 20\.0 GiB/);
  await done("block create scratch 1.5TiB --acknowledge writeback --min-replicas 1");
  const lines = (await done("volume list")).split("\n");
  assert.match(lines[0], /^NAME +SIZE +USED +LOG +TYPE +STATUS +SNAPSHOTS +HISTORY +ACK +REPLICAS +HOLDER$/);
  assert.match(lines[1], /^db +20\.0 GiB +0 B +0 B +block +free +0 +- +replicated +3 \(min 2\) +-$/);
  assert.match(lines[2], /^scratch +1\.5 TiB +0 B +0 B +block +free +0 +- +writeback +3 \(min 1\) +-$/);
  await refused("volume create-block db 1GiB", 1, /exists already/);
  await refused("volume delete none", 1, /no volume named "none"/);
  assert.match(await done("volume delete db scratch"), /^deleted db, scratch\n$/);
  const titles = "NAME,SIZE,USED,LOG,TYPE,STATUS,SNAPSHOTS,HISTORY,ACK,REPLICAS,HOLDER\n";
  assert.equal(await done("volume list --csv"), titles);
});

it("torusctl volume: says what is wrong with names and sizes", async () => {
  await done("init");
  await refused("volume create-block a/b 1GiB", 2, /has a "\/" in it/);
  await refused("volume create-block a@b 1GiB", 2, /has a "@" in it/);
  await refused("volume create-block .a 1GiB", 2, /starts with a dot/);
  for (const size of ["0", "-1", "1.5.2GiB", "1XB", "GiB", "1e3"]) {
    await refused(
      `volume create-block a ${size}`,
      2,
      new RegExp(`size "${size.replaceAll(".", "\\.")}" is not a size`),
    );
  }
  await refused("volume create-block a 5000", 2, /not a multiple of 4096: use 8KiB/);
  await refused("volume create-block a 1PiB", 2, /up to 256 TiB/);
  await refused("volume create-block a 1GiB --min-replicas 4", 2, /more than the ring's 3 copies/);
  await refused("volume create-block a 1GiB --acknowledge maybe", 2, /--acknowledge/);
  await refused("volume create-block a", 2, /missing required argument 'size'/);
});

it("torusctl volume: shows who holds a volume and what it waits for, and does not delete it unasked", async () => {
  await done("init");
  await done("volume create-block db 1GiB");
  await torusctl.withCluster(async ({ volumes, writers }) => {
    const { spec } = await volumes.find("db");
    const request = { owner: "o", holder: "n1 (pid 7)", leaseTtlMs: 60_000, force: false };
    const attachment = await writers.attachWriter(spec.id, request);
    assert.match(await done("volume list"), /in-use .* n1 \(pid 7\)/);
    await writers.setStatus(attachment, { condition: "waits for 2 peers", updatedMs: 1 });
  });
  assert.match(await done("volume list"), /stalled: waits for 2 peers/);
  const { volumes } = (await torusctl.json("volume list")) as { volumes: Record<string, unknown>[] };
  assert.deepEqual(
    ["status", "reason", "holder", "epoch"].map((field) => volumes[0][field]),
    ["stalled", "waits for 2 peers", "n1 (pid 7)", 1],
  );
  await refused("volume delete db", 1, /attached by n1 \(pid 7\): detach it first, or use --force/);
  await refused("wipe --yes-i-am-sure", 1, /volume db is attached by n1/);
  assert.match(await done("volume delete db --force"), /deleted db/);
});

it("torusctl volume: shows whose clients were cut off, and serves it again when the loss is accepted [C2]", async () => {
  await done("init");
  for (const name of ["db", "other"]) await done(`volume create-block ${name} 1GiB`);
  const cut = { epoch: 1, atMs: 1000, previousHolder: "n1 (pid 7)" };
  await torusctl.withCluster(({ volumes, writers }) => cutOff("db", cut, volumes, writers));
  const listed = await done("volume list");
  assert.match(listed, /^db .* free, cut off .*\nother .* free /m);
  assert.match(listed, /\ncut off: torusctl volume accept-loss db, when the clients of before have ended\n$/);
  const { volumes } = (await torusctl.json("volume list")) as { volumes: Record<string, unknown>[] };
  assert.deepEqual(
    volumes.map((volume) => [volume["status"], volume["cut"]]),
    [
      ["free", cut],
      ["free", null],
    ],
  );
  await refused("volume accept-loss db nobody", 1, /no volume named "nobody"/);
  assert.deepEqual(await torusctl.json("volume accept-loss db"), { accepted: [{ name: "db", ...cut }] });
  assert.equal(
    await done("volume accept-loss db other"),
    "db: there is no loss to accept\nother: there is no loss to accept\n",
  );
  await torusctl.withCluster((cluster) => cutOff("db", cut, cluster.volumes, cluster.writers));
  const accepted =
    "db: served again; what n1 (pid 7) answered before 1970-01-01T00:00:01.000Z and did not flush may be lost\n";
  assert.equal(await done("volume accept-loss db"), accepted);
  assert.doesNotMatch(await done("volume list"), /cut off/);
});

/** As an attach that lost something does. */
async function cutOff(
  name: string,
  cut: CutRecord,
  volumes: VolumeRegistry,
  writers: VolumeWriters,
): Promise<void> {
  const { spec, revisions } = await volumes.find(name);
  const request = { owner: `o${revisions.writer}`, holder: "n2", leaseTtlMs: 60_000, force: false };
  const attachment = await writers.attachWriter(spec.id, request);
  const head = {
    ...{ epoch: attachment.epoch, root: null, ringVersion: 1, replayFrom: 1, sequence: 0, previous: 0 },
    ...{
      positionIndex: 1,
      positionOffset: 0,
      usedBytes: 0,
      logBytes: 0,
      ended: false,
      timeMs: 0,
      device: null,
    },
  };
  const logmap = { epoch: attachment.epoch, rows: [], struck: [] };
  await writers.commitHead(attachment, { head, logmap }, revisions, { clients: null, cut });
  await writers.detachWriter(attachment);
}

it("torusctl config, version, usage: profiles are saved with mode 0600 and used", async () => {
  torusctl.env["TORUS_METADATA"] = undefined;
  await refused("config", 2, /torusctl -C URL config/);
  await done(`-C ${torusctl.url} config --profile test`);
  const file = join(torusctl.home, ".torus", "config.json");
  assert.equal(statSync(file).mode & 0o777, 0o600);
  await done("--profile test init");
  assert.equal(existsSync(join(torusctl.home, ".torus", "metadata.db")), false);
  await done("--profile test volume list");
  await refused("--profile other volume list", 2, /no profile "other" in .* \(it has test\)/);
  await refused("volume list", 1, /there is no metadata database .*\.torus\/metadata\.db/);
  await done(`config -C ${torusctl.url}`);
  await done("volume list");
  const view = (await torusctl.json("config --view")) as { profiles: object; metadata: string };
  assert.deepEqual([Object.keys(view.profiles), view.metadata], [["test", "default"], torusctl.url]);
  writeFileSync(file, "{");
  await refused("volume list", 2, /is not a torus configuration/);
  await refused(
    `-C ${torusctl.url} --profile ../x config`,
    2,
    /not a torus configuration|not a profile name/,
  );
});

it("torusctl config, version, usage: other metadata services are refused by name", async () => {
  await refused("-C etcd://localhost:x volume list", 2, /"localhost:x" is not an endpoint/);
  await refused("-C nonsense volume list", 2, /no scheme/);
});

it("torusctl config, version, usage: wrong usage is exit code 2 and one line; help and version are 0", async () => {
  await refused("volumes", 2, /unknown command 'volumes'/);
  await refused("volume list --frob", 2, /unknown option '--frob'/);
  await refused("-o yaml volume list", 2, /Allowed choices are table, json/);
  const group = await torusctl.run("volume");
  assert.deepEqual([group.code, group.out], [2, ""]);
  assert.match(group.err, /^Usage: torusctl volume/);
  for (const command of [
    "",
    "peer add ",
    "ring manual-change ",
    "volume create-block ",
    "volume accept-loss ",
    "wipe ",
    "completion ",
  ]) {
    const help = await done(`${command}--help`);
    assert.match(help, new RegExp(`^Usage: torusctl ${command}`));
    assert.match(help, /Examples:\n {2}(source|torusctl)/);
  }
  assert.match(await done("version"), /^torusctl \d+\.\d+\.\d+ /);
});

it("torusctl config, version, usage: runs as a program of its own", () => {
  const program = join(import.meta.dirname, "main.ts");
  const run = (...args: string[]) =>
    spawnSync(process.execPath, [program, "-C", torusctl.url, ...args], { encoding: "utf8" });
  const missing = run("volume", "list");
  assert.deepEqual([missing.status, missing.stdout], [1, ""]);
  assert.match(missing.stderr, /^torusctl: there is no metadata database/);
  assert.equal(run("init").status, 0);
  assert.equal(
    run("peer", "list", "--csv").stdout,
    "ADDRESS,UUID,SIZE,USED,DEAD,MEMBER,UPDATED,BLOCKS,REB/REP,CONDITION\n",
  );
  assert.equal(statSync(join(torusctl.home, "metadata.db")).mode & 0o777, 0o600);
});

it("torusctl volume set: limits are set, kept, taken off and shown; what is no limit is explained", async () => {
  await torusctl.json("init");
  await torusctl.json("volume create-block db 1GiB --min-replicas 1 --iops 100");
  const set = await torusctl.run("volume set db --bandwidth 50MiB/s --burst 2s");
  assert.equal(
    set.out,
    "volume db: at most 100 requests a second and 50.0 MiB a second, bursts of 2000 ms\n",
  );
  const { qos } = (await torusctl.json("volume set db --iops none")) as { qos: object };
  assert.deepEqual(qos, { iops: null, bytesPerSecond: 50 * 2 ** 20, burstMs: 2000 });
  const { volumes } = (await torusctl.json("volume list")) as { volumes: { qos: object }[] };
  assert.deepEqual(volumes[0].qos, qos);
  assert.match((await torusctl.run("volume set db --bandwidth 0")).out, /^volume db: no limits$/m);
  for (const [flags, message] of [
    ["--iops -3", /--iops/],
    ["--iops 1.5", /--iops "1.5" is not possible/],
    ["--bandwidth 1KiB", /is too little: use 4.0 KiB a second or more, or none/],
    ["--bandwidth fast", /--bandwidth "fast" is not a size/],
    ["--burst 2", /--burst "2" is not possible: use a time from 1ms to 60s/],
    ["--burst 61s", /--burst "61s" is not possible/],
    ["", /nothing to set: see torusctl volume set --help/],
  ] as const) {
    const { code, err } = await torusctl.run(`volume set db ${flags}`);
    assert.ok(code > 0, flags);
    assert.match(err, message);
  }
  assert.match((await torusctl.run("volume set nope --iops 1")).err, /there is no volume named "nope"/);
});
