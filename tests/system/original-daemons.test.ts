// The defects of the original Torus in how its daemons lived and died, each as the test it never had, with real processes. The
// names are those of the list in docs/original.md.

import assert from "node:assert/strict";
import { test } from "node:test";
import { Daemons } from "./daemons.ts";
import { NbdClient } from "./nbd-client.ts";
import { waitFor } from "./programs.ts";

const pageBytes = 4096;

test("D15: SIGTERM ends torusblk and torusd in order, in the middle of writes", async (t) => {
  const daemons = await Daemons.start(t);
  await daemons.torusctl("volume", "create-block", "v", "64MiB");
  // A lease far longer than the test: only who gives it back lets the next one in.
  const server = await daemons.startServer(["v"], ["--lease", "5m"]);
  const client = await NbdClient.connect({ kind: "unix", path: server.socket }, "v");
  const answered = new Map<number, number>();
  let going = true;
  const work = (async () => {
    for (let i = 1; going; i++) {
      const page = i % 500;
      try {
        await client.write(page * pageBytes, Buffer.alloc(pageBytes, i & 255));
      } catch {
        return;
      }
      answered.set(page, i & 255);
    }
  })();
  await new Promise((resolve) => setTimeout(resolve, 1500));
  await daemons.stop(server);
  going = false;
  await work;
  assert.ok(answered.size > 0);
  await daemons.stopAll();
  await daemons.startPeers();
  const next = await daemons.startServer(["v"], ["--lease", "5m"]);
  const reader = await NbdClient.connect({ kind: "unix", path: next.socket }, "v");
  let differing = 0;
  for (const [page, value] of answered) {
    const bytes = await reader.read(page * pageBytes, pageBytes);
    // The write that was under way may have happened as well.
    if (bytes[0] !== value) differing += 1;
  }
  assert.ok(differing <= 1, `${differing} of ${answered.size} pages differ though nothing was killed`);
  reader.destroy();
  await daemons.stopAll();
});

test("D12: a peer that dies for good is replaced, and its copies made again, with no human", async (t) => {
  const daemons = await Daemons.start(t, { peers: 0 });
  for (const number of [1, 2, 3, 4]) await daemons.startPeer(number, ["--repair-after", "15s"]);
  await daemons.torusctl("volume", "create-block", "v", "64MiB");
  const server = await daemons.startServer(["v"]);
  const client = await NbdClient.connect({ kind: "unix", path: server.socket }, "v");
  const value = (page: number) => (page * 7) & 255;
  for (let page = 0; page < 4096; page += 64)
    await client.write(page * pageBytes, Buffer.alloc(64 * pageBytes, value(page)));
  client.destroy();
  await daemons.stop(server);
  const dead = daemons.peers.get(1)!;
  dead.program.killGroup();
  await waitFor("the ring to go on without the dead peer", () => ringIs(daemons, dead.id), 120_000);
  // Any one of the others may go as well now: every block has its copies among those that are left.
  daemons.peers.get(2)!.program.killGroup();
  const next = await daemons.startServer(["v"]);
  const reader = await NbdClient.connect({ kind: "unix", path: next.socket }, "v");
  for (let page = 0; page < 4096; page += 64)
    assert.ok((await reader.read(page * pageBytes, 4096)).equals(Buffer.alloc(4096, value(page))));
  reader.destroy();
});

/** The ring has settled, and without `peer`. */
async function ringIs(daemons: Daemons, peer: string): Promise<boolean> {
  const ring = JSON.parse(await daemons.torusctl("-o", "json", "ring", "get"));
  const members: { peer: string }[] = ring.members;
  return ring.type !== "union" && members.every((member) => member.peer !== peer);
}
