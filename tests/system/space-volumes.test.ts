// Several volumes fill one small pool to the last block, all at once, and their server is killed: what is kept back is one reserve for all of them, here eight
// blocks, and each attach takes up to two. All can be attached again and have what was answered, and with trims and deletes all the space comes back.

import assert from "node:assert/strict";
import { test } from "node:test";
import type { Server } from "./daemons.ts";
import { Daemons, uriOf } from "./daemons.ts";
import { NbdClient, NbdError } from "./nbd-client.ts";
import { run, waitFor } from "./programs.ts";

const mebibyte = 2 ** 20;
const enospc = 28;
const names = ["a", "b", "c"];
const trimmed = ["a"];
const deleted = ["b", "c"];
const volumeMebibytes = 128;
const writersAtOnce = 4;
const spaceMsMax = 40_000;

function contentOf(name: string, seed: number, at: number): Buffer {
  return Buffer.alloc(mebibyte, `${name} ${seed} ${at} `);
}

function connect(server: Server, name: string): Promise<NbdClient> {
  return NbdClient.connect({ kind: "unix", path: server.socket }, name);
}

/** Writes from the start on, several requests at a time, until there is no space; which MiB were answered. */
async function fill(server: Server, name: string): Promise<ReadonlySet<number>> {
  const client = await connect(server, name);
  const answered = new Set<number>();
  let next = 0;
  let isFull = false;
  const writer = async (): Promise<void> => {
    while (!isFull && next < volumeMebibytes) {
      const at = next++;
      await client.write(at * mebibyte, contentOf(name, 1, at)).then(
        () => answered.add(at),
        (error: unknown) => {
          assert.ok(error instanceof NbdError && error.errno === enospc, `${name}: ${String(error)}`);
          isFull = true;
        },
      );
    }
  };
  await Promise.all(Array.from({ length: writersAtOnce }, writer));
  await client.flush();
  client.destroy();
  assert.ok(isFull, `the pool got full for ${name}`);
  return answered;
}

async function requireContent(
  server: Server,
  name: string,
  expected: (at: number) => Buffer | null,
): Promise<void> {
  const client = await connect(server, name);
  for (let at = 0; at < volumeMebibytes; at++) {
    const wanted = expected(at);
    if (wanted === null) continue;
    assert.ok((await client.read(at * mebibyte, mebibyte)).equals(wanted), `MiB ${at} of ${name} is wrong`);
  }
  client.destroy();
}

test("volumes fill a pool at once and their server is killed: all are there again, and with trims and deletes all space comes back", async (t) => {
  const daemons = await Daemons.start(t, {
    blockSize: "1MiB",
    peerFlags: ["--size", "256MiB", "--collect-grace", "1s", "--heartbeat", "1s"],
  });
  for (const name of names) await daemons.torusctl("volume", "create-block", name, `${volumeMebibytes}MiB`);
  const first = await daemons.startServer(names);
  const filled = await Promise.all(names.map((name) => fill(first, name)));
  const answered = new Map(names.map((name, i) => [name, filled[i]]));
  const total = filled.reduce((sum, { size }) => sum + size, 0);
  await daemons.kill(first);

  // Each attach appends the end of its log again: also in a full pool, for all of them.
  const second = await daemons.startServer(names);
  for (const name of names)
    await requireContent(second, name, (at) => (answered.get(name)?.has(at) ? contentOf(name, 1, at) : null));
  for (const name of trimmed) {
    const commands = ["-c", `discard 0 ${volumeMebibytes}M`, "-c", "flush"];
    const said = await run("qemu-io", ["-f", "raw", ...commands, uriOf(second, name)]);
    assert.ok(!said.includes("failed"), said);
  }
  await daemons.stop(second);
  for (const name of deleted) await daemons.torusctl("volume", "delete", name);

  const beganAt = performance.now();
  // Nothing is live: what is left are INodes, and the last block of a log.
  const used = async (): Promise<number> => {
    const { peers } = JSON.parse(await daemons.torusctl("peer", "list", "-o", "json")) as {
      peers: { usedBytes: number }[];
    };
    return Math.max(...peers.map(({ usedBytes }) => usedBytes)) / mebibyte;
  };
  await waitFor("all space to come back", async () => (await used()) < 8, spaceMsMax);
  t.diagnostic(`${total} MiB filled it; ${Math.round(performance.now() - beganAt)} ms until all was back`);
  const third = await daemons.startServer(trimmed);
  for (const name of trimmed) {
    const client = await connect(third, name);
    for (let at = 0; at < 64; at++) await client.write(at * mebibyte, contentOf(name, 2, at));
    await client.flush();
    client.destroy();
  }
  for (const name of trimmed)
    await requireContent(third, name, (at) => (at < 64 ? contentOf(name, 2, at) : Buffer.alloc(mebibyte)));
  await daemons.stopAll();
});
