// torusblk on the machine of its peers reads their files itself: after a block was read once, with the same bytes, past a peer that is
// killed, and without believing a bit that flipped.

import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { test } from "node:test";
import { flipBit, pagesOf } from "./block-files.ts";
import type { Server } from "./daemons.ts";
import { Daemons, metricsOf } from "./daemons.ts";
import { NbdClient } from "./nbd-client.ts";
import { pageBytes } from "./page-ledger.ts";
import { waitFor } from "./programs.ts";

const volumeBytes = 16 * 2 ** 20;
const readBytes = 256 * 1024;
const waitMsMax = 60_000;

async function metric(server: Server, name: string): Promise<number> {
  return (await metricsOf(server)).get(name) ?? 0;
}

const nearReads = (server: Server): Promise<number> => metric(server, "torus_peer_client_near_reads_total");

async function readAll(client: NbdClient, content: Buffer): Promise<void> {
  for (let at = 0; at < volumeBytes; at += readBytes) {
    const bytes = await client.read(at, readBytes);
    assert.ok(
      bytes.equals(content.subarray(at, at + readBytes)),
      `bytes ${at} to ${at + readBytes} are wrong`,
    );
  }
}

test("files of peers on this machine are read without asking them", async (t) => {
  const daemons = await Daemons.start(t, { blockSize: "1MiB" });
  await daemons.torusctl("volume", "create-block", "v", `${volumeBytes}`);
  // What is kept is not read again, so nobody would notice what happens to it on a disk.
  const server = await daemons.startServer(["v"], ["--read-cache-size", "0"]);
  const client = await NbdClient.connect({ kind: "unix", path: server.socket }, "v");
  t.after(() => client.destroy());
  const content = randomBytes(volumeBytes);
  for (let at = 0; at < volumeBytes; at += readBytes)
    await client.write(at, content.subarray(at, at + readBytes));
  await client.flush();

  await waitFor(
    "most reads to need no peer",
    async () => {
      const [near, asked] = [
        await nearReads(server),
        await metric(server, "torus_peer_client_requests_total"),
      ];
      await readAll(client, content);
      const moreNear = (await nearReads(server)) - near;
      return moreNear > (await metric(server, "torus_peer_client_requests_total")) - asked;
    },
    waitMsMax,
  );

  // Bits flip in every block of one peer.
  const directory = daemons.peerDirectory(1);
  const places = new Map(pagesOf(directory).map((place) => [`${place.ref.epoch}.${place.ref.index}`, place]));
  for (const { page, at } of places.values()) flipBit(directory, at + (page % pageBytes));
  const repaired = (): Promise<number> => metric(server, "torus_distributor_repaired_blocks_total");
  await waitFor(
    "a damaged copy to be found and repaired",
    async () => {
      await readAll(client, content);
      return (await repaired()) > 0;
    },
    waitMsMax,
  );

  await daemons.kill(daemons.peers.get(2)!);
  await readAll(client, content);
  const before = await nearReads(server);
  await readAll(client, content);
  assert.ok((await nearReads(server)) > before, "the others' files are read");
});
