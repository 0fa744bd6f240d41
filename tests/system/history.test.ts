// Any point in time with real daemons: a client writes without a pause, the writer is killed on the way, blocks are collected; whatever instants are
// asked for afterwards, attached or not, the volume is had as it was answered by then.

import assert from "node:assert/strict";
import { test } from "node:test";
import type { Server } from "./daemons.ts";
import { Daemons } from "./daemons.ts";
import { NbdClient } from "./nbd-client.ts";
import { dice, seed } from "./scale.ts";

const pageBytes = 4096;
const pages = 512;
const instantsEach = 12;
const asked = 3;
const roll = dice(seed);

interface Instant {
  readonly at: string;
  readonly content: ReadonlyMap<number, string>;
}

function pageOf(text: string | undefined): Buffer {
  return text === undefined ? Buffer.alloc(pageBytes) : Buffer.alloc(pageBytes, text);
}

/** Writes pages, some of them again and again, and notes what there is at each instant. */
async function write(server: Server, instants: Instant[]): Promise<void> {
  const client = await NbdClient.connect({ kind: "unix", path: server.socket }, "v");
  const content = new Map(instants.at(-1)?.content ?? []);
  for (let i = 0; i < instantsEach; i++) {
    for (let count = 0; count < 40; count++) {
      const page = roll(pages);
      const text = `${instants.length}.${count} `;
      content.set(page, text);
      await client.write(page * pageBytes, pageOf(text));
    }
    if (i % 3 === 0) await client.flush();
    const atMs = Date.now() + 1;
    while (Date.now() <= atMs + 1) await new Promise((resolve) => setTimeout(resolve, 1));
    instants.push({ at: new Date(atMs).toISOString(), content: new Map(content) });
  }
  client.destroy();
}

async function requireContent(server: Server, name: string, { at, content }: Instant): Promise<void> {
  const client = await NbdClient.connect({ kind: "unix", path: server.socket }, name);
  const bytes = await client.read(0, pages * pageBytes);
  client.destroy();
  for (let page = 0; page < pages; page++) {
    const found = bytes.subarray(page * pageBytes, (page + 1) * pageBytes);
    assert.ok(
      found.equals(pageOf(content.get(page))),
      `${name}, ${at}: page ${page} is ${found.toString("latin1", 0, 9)}`,
    );
  }
}

test(`a volume is restored to any instant of its history, over a writer that was killed (seed ${seed})`, async (t) => {
  const daemons = await Daemons.start(t, { blockSize: "64KiB", peerFlags: ["--collect-grace", "1s"] });
  await daemons.torusctl(
    "volume",
    "create-block",
    "v",
    `${(pages * pageBytes) / 1024}KiB`,
    "--keep-history",
    "1h",
  );
  const instants: Instant[] = [];
  const first = await daemons.startServer(["v"]);
  await write(first, instants);
  await daemons.kill(first);
  const second = await daemons.startServer(["v"]);
  // The client of before has ended.
  await daemons.torusctl("volume", "accept-loss", "v");
  await write(second, instants);
  const wanted = [
    instants[roll(instantsEach)],
    instants[instantsEach - 1],
    instants[instantsEach + roll(instantsEach)],
  ];
  for (const [i, instant] of wanted.slice(0, asked).entries()) {
    await daemons.torusctl("volume", "restore", "v", "--at", instant.at, "--to", `then-${i}`);
    await requireContent(second, `then-${i}`, instant);
  }
  await requireContent(second, "v", instants[instants.length - 1]);
  await daemons.stop(second);
  const back = instants[roll(instants.length)];
  await daemons.torusctl("volume", "restore", "v", "--at", back.at, "--in-place");
  const third = await daemons.startServer(["v"]);
  await requireContent(third, "v", back);
  await daemons.stop(third);
  await daemons.stopAll();
});
