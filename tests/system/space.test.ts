// Space comes back: a pool that is full to the last block takes data again once volumes are deleted, and a volume that is
// overwritten again and again takes no more than it needs, and what peers and volumes say of it adds up. What is not deleted keeps its content.

import assert from "node:assert/strict";
import { test } from "node:test";
import type { Server } from "./daemons.ts";
import { Daemons, uriOf } from "./daemons.ts";
import { NbdClient, NbdError } from "./nbd-client.ts";
import { run, waitFor } from "./programs.ts";

const mebibyte = 2 ** 20;
const volumeMebibytes = 48;
/** Of 256 MiB, with what is kept for deletes, checkpoints and repair left out. */
const fullMebibytesMin = 192;
/** Two volumes, their records' headers, started blocks and INodes. */
const keptMebibytesMax = 2 * volumeMebibytes + 16;
const collectMsMax = 30_000;
/** INodes this small take slots of this size. */
const inodeSlotBytes = 64 * 1024;
const enospc = 28;
const writersAtOnce = 16;
const peerFlags = ["--size", "256MiB", "--collect-grace", "1s"];

function contentOf(name: string, seed: number, at: number): Buffer {
  return Buffer.alloc(mebibyte, `${name} ${seed} ${at} `);
}

/** Writes the volume from its start; how many MiB were taken before an error. */
async function write(server: Server, name: string, mebibytes: number, seed: number): Promise<number> {
  const client = await NbdClient.connect({ kind: "unix", path: server.socket }, name);
  let done = 0;
  try {
    for (; done < mebibytes; done++) {
      await client.write(done * mebibyte, contentOf(name, seed, done));
      await client.flush();
    }
  } catch {
    // The pool is full, as the caller counts on, or finds out.
  }
  client.destroy();
  return done;
}

async function requireContent(server: Server, name: string, mebibytes: number, seed: number): Promise<void> {
  const client = await NbdClient.connect({ kind: "unix", path: server.socket }, name);
  for (let at = 0; at < mebibytes; at++) {
    const found = await client.read(at * mebibyte, mebibyte);
    assert.ok(found.equals(contentOf(name, seed, at)), `MiB ${at} of ${name} is wrong`);
  }
  client.destroy();
}

/** Used bytes of the fullest peer, in MiB. */
async function used(daemons: Daemons): Promise<number> {
  const { peers } = JSON.parse(await daemons.torusctl("peer", "list", "-o", "json")) as {
    peers: { usedBytes: number }[];
  };
  return Math.max(...peers.map(({ usedBytes }) => usedBytes)) / mebibyte;
}

interface Figures {
  readonly ring: { readonly replicas: number };
  readonly peers: readonly {
    readonly usedBytes: number;
    readonly neededBytes: number | null;
    readonly reclaimableBytes: number | null;
    readonly blocks: number;
  }[];
}

/** Once it is quiet the lists of peers and of volumes add up (docs/operate/collecting.md), for one volume in blocks of 1 MiB that needs `liveBytes`. */
async function requireSums(daemons: Daemons, liveBytes: number): Promise<void> {
  const list = async (what: string): Promise<unknown> =>
    JSON.parse(await daemons.torusctl(what, "list", "-o", "json"));
  let shown = "";
  const addsUp = async (): Promise<boolean> => {
    const { ring, peers } = (await list("peer")) as Figures;
    const { volumes } = (await list("volume")) as { volumes: { usedBytes: number; logBytes: number }[] };
    const [{ usedBytes, logBytes }] = volumes;
    shown = JSON.stringify({ peers, usedBytes, logBytes });
    const sum = (of: (peer: Figures["peers"][number]) => number): number =>
      peers.reduce((total, peer) => total + of(peer), 0);
    const needed = sum((peer) => peer.neededBytes ?? 0);
    const inodes = sum(({ blocks }) => blocks) - (ring.replicas * logBytes) / mebibyte;
    const slots = ring.replicas * logBytes + inodes * inodeSlotBytes;
    const fits = peers.every(
      (peer) => (peer.neededBytes ?? 0) <= peer.usedBytes && peer.reclaimableBytes === 0,
    );
    return (
      usedBytes === liveBytes &&
      inodes >= ring.replicas &&
      sum((peer) => peer.usedBytes) === slots &&
      needed > ring.replicas * liveBytes &&
      needed < slots &&
      fits
    );
  };
  await waitFor("figures that add up", addsUp, collectMsMax).catch((error: unknown) => {
    throw new Error(`they do not: ${shown}`, { cause: error });
  });
}

async function create(daemons: Daemons, names: readonly string[]): Promise<void> {
  for (const name of names) await daemons.torusctl("volume", "create-block", name, `${volumeMebibytes}MiB`);
}

test("a full pool takes data again once volumes are deleted, and loses nothing else", async (t) => {
  const daemons = await Daemons.start(t, { blockSize: "1MiB", peerFlags });
  const kept = ["a", "b"];
  const deleted = ["c", "d", "e"];
  await create(daemons, [...kept, ...deleted]);
  const server = await daemons.startServer(kept);
  for (const name of kept) assert.equal(await write(server, name, volumeMebibytes, 1), volumeMebibytes);
  await daemons.stop(server);
  const filling = await daemons.startServer(deleted);
  let last = volumeMebibytes;
  for (const name of deleted) last = Math.min(last, await write(filling, name, volumeMebibytes, 1));
  assert.ok(last < volumeMebibytes, "the pool got full");
  filling.program.killGroup();
  await filling.program.ended.catch(() => {});
  // What peers say of themselves is a heartbeat old.
  const full = await waitFor("the peers to say that they are full", async () => {
    const mebibytes = await used(daemons);
    return mebibytes > fullMebibytesMin && mebibytes;
  });

  for (const name of deleted) await daemons.torusctl("volume", "delete", "--force", name);
  const deletedAt = performance.now();
  await waitFor("the space to come back", async () => (await used(daemons)) < keptMebibytesMax, collectMsMax);
  t.diagnostic(
    `${full} MiB used of 256; that of deleted volumes was back after ${Math.round(performance.now() - deletedAt)} ms`,
  );
  await create(daemons, ["g"]);
  const again = await daemons.startServer([...kept, "g"]);
  assert.equal(await write(again, "g", volumeMebibytes, 2), volumeMebibytes);
  for (const name of kept) await requireContent(again, name, volumeMebibytes, 1);
  await requireContent(again, "g", volumeMebibytes, 2);
  await daemons.stop(again);
  await daemons.torusctl("peer", "list");
});

/** Writes from `from` on, several requests at a time, until there is no space; how many MiB were answered, in a row from there. */
async function fill(server: Server, name: string, from: number, mebibytes: number): Promise<number> {
  const client = await NbdClient.connect({ kind: "unix", path: server.socket }, name);
  const answered = new Set<number>();
  let next = from;
  let isFull = false;
  const writer = async (): Promise<void> => {
    while (!isFull && next < from + mebibytes) {
      const at = next++;
      await client.write(at * mebibyte, contentOf(name, 1, at)).then(
        () => answered.add(at),
        (error: unknown) => {
          assert.ok(error instanceof NbdError && error.errno === enospc, String(error));
          isFull = true;
        },
      );
    }
  };
  await Promise.all(Array.from({ length: writersAtOnce }, writer));
  await client.flush();
  client.destroy();
  assert.ok(isFull, "the pool got full");
  let end = from;
  while (answered.has(end)) end += 1;
  return end - from;
}

test("on a pool that is full to the end a client trims, and may write again; what it did not trim is there", async (t) => {
  const daemons = await Daemons.start(t, {
    blockSize: "1MiB",
    peerFlags: [...peerFlags, "--heartbeat", "1s"],
  });
  await daemons.torusctl("volume", "create-block", "v", "512MiB");
  const server = await daemons.startServer(["v"]);
  const taken = await fill(server, "v", 0, 512);
  const half = Math.floor(taken / 2);
  const qemuIo = (...commands: string[]): Promise<string> =>
    run("qemu-io", ["-f", "raw", ...commands.flatMap((command) => ["-c", command]), uriOf(server, "v")]);
  // A piece at a time, as a file system does.
  const pieces = Array.from({ length: half }, (_, at) => `discard ${at}M 1M`);
  await qemuIo(...pieces, "flush");
  const trimmedAt = performance.now();
  await waitFor(
    "writes to be taken again",
    async () => !(await qemuIo("write -P 7 0 8M")).includes("failed"),
    collectMsMax,
  );
  t.diagnostic(
    `${taken} MiB filled it; writes went on ${Math.round(performance.now() - trimmedAt)} ms after ${half} were trimmed`,
  );
  const client = await NbdClient.connect({ kind: "unix", path: server.socket }, "v");
  for (let at = 0; at < taken; at++) {
    const found = await client.read(at * mebibyte, mebibyte);
    const trimmed = Buffer.alloc(mebibyte, at < 8 ? 7 : 0);
    assert.ok(found.equals(at < half ? trimmed : contentOf("v", 1, at)), `MiB ${at} is wrong`);
  }
  client.destroy();
  await daemons.stopAll();
});

test("a volume that is overwritten again and again takes what it needs, and no more", async (t) => {
  const daemons = await Daemons.start(t, { blockSize: "1MiB", peerFlags });
  await create(daemons, ["v"]);
  const rounds = 4;
  for (let round = 1; round <= rounds; round++) {
    const server = await daemons.startServer(["v"]);
    assert.equal(await write(server, "v", 24, round), 24);
    await daemons.stop(server);
  }
  // 24 MiB and their records' headers, a started block, and INodes.
  await waitFor("what is overwritten to go", async () => (await used(daemons)) < 36, collectMsMax);
  await requireSums(daemons, 24 * mebibyte);
  const server = await daemons.startServer(["v"]);
  await requireContent(server, "v", 24, rounds);
  await daemons.stop(server);
});
