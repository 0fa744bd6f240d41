// Wrong input from every side: commands say in one line what is wrong and end with an error; daemons outlive
// clients that speak garbage, and an address that is no peer's, while others work on undisturbed.

import assert from "node:assert/strict";
import { createServer } from "node:http";
import { join } from "node:path";
import type { TestContext } from "node:test";
import { test } from "node:test";
import type { Server } from "./daemons.ts";
import { Daemons, metricsOf, uriOf } from "./daemons.ts";
import { Dice, nbdGarbage, peerGarbage, pelt } from "./garbage.ts";
import { NbdClient } from "./nbd-client.ts";
import { PageLedger, pageBytes } from "./page-ledger.ts";
import type { Outcome } from "./programs.ts";
import { freePort, run, torus, tryRun, waitFor } from "./programs.ts";
import { dice, scale, seed } from "./scale.ts";

const garbageConnections = Math.ceil(300 * scale);
const commandMsMax = 60_000;
const volumePages = 2048;
const workPages = 512;

/** It ended with an error, and of what it said for people one line. Its log is for programs. */
function assertRefused(title: string, { code, stderr }: Outcome, message: RegExp): void {
  const lines = stderr.split("\n").filter((line) => line !== "" && !line.startsWith("{"));
  assert.ok(code === 1 || code === 2, `${title} ended with ${code}:\n${stderr}`);
  assert.equal(lines.length, 1, `${title} said:\n${stderr}`);
  assert.match(lines[0], message, title);
  assert.doesNotMatch(lines[0], /\bat .*:\d+:\d+|undefined|NaN|\[object/, title);
}

/** Runs them two at a time: [program, arguments, what it must say]. */
async function assertAllRefused(
  cases: readonly (readonly [string, readonly string[], RegExp])[],
): Promise<void> {
  const waiting = [...cases];
  const lane = async (): Promise<void> => {
    for (let next = waiting.shift(); next !== undefined; next = waiting.shift()) {
      const [program, args, message] = next;
      const outcome = await torus(program, args).end(commandMsMax);
      assertRefused(`${program} ${args.join(" ")}`, outcome, message);
    }
  };
  await Promise.all([lane(), lane()]);
}

test("commands refuse what cannot be, in one line", async (t) => {
  const daemons = await Daemons.start(t, { peers: 1 });
  const at = ["-C", daemons.metadataUrl];
  const create = (name: string, size: string) => [...at, "volume", "create-block", name, size];
  const { port } = daemons.peers.get(1)!;
  const peer = (...flags: string[]) => [
    ...[...at, "--peer-address", "127.0.0.1:0", "--data-dir", join(daemons.directory, "new"), ...flags],
  ];
  await daemons.torusctl("volume", "create-block", "taken", "1GiB");
  await assertAllRefused([
    ["torusctl", create("v", "0"), /size "0" is not a size/],
    ["torusctl", create("v", "-1"), /-1/],
    ["torusctl", create("v", "1.5.2GiB"), /size "1\.5\.2GiB" is not a size/],
    ["torusctl", create("v", "1000"), /not a multiple of 4096/],
    ["torusctl", create("a/b", "1GiB"), /volume name "a\/b" has a "\/" in it/],
    ["torusctl", create("..", "1GiB"), /starts with a dot/],
    ["torusctl", create("", "1GiB"), /is empty/],
    ["torusctl", create("x".repeat(129), "1GiB"), /has 129 characters/],
    ["torusctl", create("taken", "1GiB"), /a volume named "taken" exists already/],
    ["torusctl", [...at, "volume", "delete", "nope"], /there is no volume named "nope"/],
    ["torusctl", [...at, "nope"], /unknown command/],
    ["torusctl", [...at, "peer", "add", "127.0.0.1:1"], /not a known peer/],
    ["torusctl", [...at, "init"], /exists already|already/],
    ["torusctl", ["-C", "nonsense://x", "volume", "list"], /scheme "nonsense" is unknown/],
    [
      "torusctl",
      ["-C", `sqlite:${daemons.directory}/none.db`, "volume", "list"],
      /there is no metadata database/,
    ],
    ["torusblk", [...at, "nbdserve", "--listen", "127.0.0.1:0", "nope"], /there is no volume named "nope"/],
    ["torusblk", [...at, "nbdserve", "--listen", "nonsense"], /--listen "nonsense" is not an address/],
    ["torusblk", [...at, "nbdserve", "--listen", `127.0.0.1:${port}`], /is in use/],
    ["torusblk", ["-C", "nonsense:", "nbdserve"], /scheme "nonsense" is unknown/],
    ["torusblk", [...at, "--lease", "soon", "nbdserve"], /--lease "soon" is not a time/],
    ["torusd", [...at, "--peer-address", "127.0.0.1:0"], /--data-dir/],
    ["torusd", [...peer(), "--peer-address", "nonsense"], /"nonsense" is not/],
    ["torusd", [...peer(), "--peer-address", `127.0.0.1:${port}`], /cannot listen on 127\.0\.0\.1/],
    ["torusd", peer("--size", "0"), /--size "0" is not a size/],
    ["torusd", peer("--size", "1MiB"), /is too small for blocks/],
    [
      "torusd",
      [...at, "--peer-address", "127.0.0.1:0", "--data-dir", "/proc/none/peer"],
      /\/proc\/none\/peer/,
    ],
    [
      "torusd",
      [...at, "--peer-address", "127.0.0.1:0", "--data-dir", daemons.peerDirectory(1)],
      /is in use by/,
    ],
    ["up", ["--size", "-1", "--data", join(daemons.directory, "up")], /size/],
    ["up", ["--volume", "a/b", "--data", join(daemons.directory, "up")], /has a "\/" in it/],
  ]);
  await daemons.stopAll();
});

/** Writes, flushes and reads back until `over`: every answer must be right. */
async function work(server: Server, ledger: PageLedger, over: () => boolean): Promise<number> {
  const client = await NbdClient.connect({ kind: "unix", path: server.socket }, "v");
  const roll = dice(seed);
  let rounds = 0;
  while (!over() || rounds < 10) {
    const first = roll(volumePages - workPages);
    for (let page = first; page < first + workPages; page += 32) {
      const { versions, bytes } = ledger.write(page, 32);
      await client.write(page * pageBytes, bytes);
      ledger.answered(page, versions);
    }
    const flushed = ledger.flushSent();
    await client.flush();
    flushed();
    for (const page of ledger.pages) {
      if (roll(8) === 0) ledger.found(page, await client.read(page * pageBytes, pageBytes));
    }
    rounds += 1;
  }
  client.destroy();
  return rounds;
}

/** Does `disturb` while a client works, and sees that the client noticed nothing. */
async function undisturbed(t: TestContext, server: Server, disturb: () => Promise<void>): Promise<void> {
  let over = false;
  const working = work(server, new PageLedger(), () => over);
  working.catch(() => {});
  try {
    await disturb();
  } finally {
    over = true;
  }
  t.diagnostic(`the client did ${await working} rounds of ${workPages} pages`);
}

test(`daemons outlive garbage while a client works (seed ${seed})`, async (t) => {
  const daemons = await Daemons.start(t);
  await daemons.torusctl("volume", "create-block", "v", `${volumePages * 4}KiB`);
  const server = await daemons.startServer(["v"]);
  const clusterId = JSON.parse(await daemons.torusctl("init", "--view", "-o", "json")).clusterId as string;
  const random = new Dice(seed);
  const many = (make: () => Buffer) => Array.from({ length: garbageConnections }, make);

  await t.test("an export that is not there", async () => {
    const { code, stderr } = await tryRun("nbdinfo", [uriOf(server, "nope")]);
    assert.notEqual(code, 0);
    assert.match(stderr, /nope/);
  });

  await t.test("on the NBD port", async (t) => {
    await undisturbed(t, server, async () => {
      const bytes = await pelt(
        { host: "127.0.0.1", port: server.port },
        many(() => nbdGarbage(random, "v")),
      );
      t.diagnostic(`${garbageConnections} connections, ${bytes} bytes of garbage`);
    });
    assert.ok((await metricsOf(server)).get("torus_nbd_garbage_total")! > 0);
  });

  await t.test("on a peer's port", async (t) => {
    const { host, port } = daemons.peers.get(1)!;
    await undisturbed(t, server, async () => {
      const bytes = await pelt(
        { host, port },
        many(() => peerGarbage(random, clusterId)),
      );
      t.diagnostic(`${garbageConnections} connections, ${bytes} bytes of garbage`);
    });
  });

  await t.test("at the address of a peer something else answers", async (t) => {
    const { program, host, port } = daemons.peers.get(3)!;
    await undisturbed(t, server, async () => {
      program.killGroup();
      await program.ended;
      let connections = 0;
      const stranger = createServer((_, response) => response.end("this is no peer"));
      stranger.on("connection", () => (connections += 1));
      stranger.listen(port, host);
      t.after(() => stranger.close());
      await waitFor("the stranger to be asked", () => connections >= 3);
      stranger.closeAllConnections();
    });
    await daemons.startPeer(3);
  });

  await run("nbdinfo", [uriOf(server, "v")]);
  // In order: so they were all alive.
  await daemons.stopAll();
});

test("an HTTP port in use", async (t) => {
  const daemons = await Daemons.start(t, { peers: 1 });
  const { port } = daemons.peers.get(1)!;
  const args = ["-C", daemons.metadataUrl, "--http", `127.0.0.1:${port}`, "nbdserve"];
  const listen = ["--listen", `127.0.0.1:${await freePort()}`];
  const outcome = await torus("torusblk", [...args, ...listen]).end(commandMsMax);
  assertRefused("torusblk --http", outcome, /is in use/);
});
