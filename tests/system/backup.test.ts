// Backups and images with real processes: a volume in use, a backup that is killed in the middle and goes on, one of a hundredth that changed, all of it
// the same in another cluster; and dumps that qemu agrees with.

import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import { existsSync, readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import type { Server } from "./daemons.ts";
import { Daemons, uriOf } from "./daemons.ts";
import { digestOf } from "./images.ts";
import { NbdClient } from "./nbd-client.ts";
import { run, waitFor } from "./programs.ts";

const MiB = 2 ** 20;
const volumeBytes = 256 * MiB;
const dataBytes = 64 * MiB;
/** So that a hundredth of the data is several chunks. */
const chunkBytes = 64 * 1024;

interface Backup {
  readonly name: string;
  readonly parent: string | null;
  readonly snapshot: string;
  readonly contentBytes: number;
  readonly readBytes: number;
  readonly sentBytes: number;
  readonly resumed: string | null;
  readonly createdMs: number;
  readonly finishedMs: number;
}

/** What the test wrote, in pieces at offsets: what a volume must have. */
class Content {
  readonly #bytes = Buffer.alloc(volumeBytes);

  async write(client: NbdClient, offset: number, length: number): Promise<void> {
    const bytes = randomBytes(length);
    bytes.copy(this.#bytes, offset);
    await client.write(offset, bytes);
  }

  get digest(): string {
    return createHash("sha256").update(this.#bytes).digest("hex");
  }
}

function chunksIn(target: string): number {
  const chunks = join(target, "chunks");
  if (!existsSync(chunks)) return 0;
  return readdirSync(chunks).reduce((count, folder) => count + readdirSync(join(chunks, folder)).length, 0);
}

async function backUp(daemons: Daemons, target: string): Promise<Backup> {
  return JSON.parse(await daemons.torusctl("backup", "create", "v", target, "-o", "json"));
}

/** kill -9 in the middle of the first backup; then again, to its end. */
async function killedAndResumed(
  daemons: Daemons,
  target: string,
): Promise<{ first: Backup; second: Backup }> {
  const chunkSize = `${chunkBytes / 1024}KiB`;
  const killed = daemons.launch("torusctl", ["backup", "create", "v", target, "--chunk-size", chunkSize]);
  await waitFor("a part of the backup", () => chunksIn(target) > 100, 60_000);
  await daemons.kill({ program: killed });
  const there = chunksIn(target);
  assert.ok(there < dataBytes / chunkBytes, `it was killed in the middle: ${there} chunks`);
  assert.deepEqual(existsSync(join(target, "backups")), false, "nothing says that there is a backup");
  const second = await backUp(daemons, target);
  const { backups } = JSON.parse(await daemons.torusctl("backup", "list", target, "-o", "json"));
  assert.deepEqual([backups.length, second.resumed, second.parent], [2, backups[0].name, backups[0].name]);
  const [first] = backups as [Backup];
  assert.equal(first.contentBytes, dataBytes);
  assert.ok(
    first.sentBytes < dataBytes - there * chunkBytes * 0.99 + MiB,
    `${first.sentBytes} bytes sent for the rest`,
  );
  return { first, second };
}

async function requireSame(daemons: Daemons, volume: string, digest: string): Promise<void> {
  const file = join(daemons.directory, `${volume.replace("@", "-at-")}.img`);
  await daemons.torusctl("block", "dump", volume, file);
  assert.equal(statSync(file).size, volumeBytes);
  assert.ok(statSync(file).blocks * 512 < dataBytes + 4 * MiB, "holes are holes");
  assert.equal(await digestOf(file, volumeBytes), digest, volume);
}

test("a backup that is killed goes on; one of what changed moves what changed; another cluster has the same bytes", async (t) => {
  const daemons = await Daemons.start(t, { blockSize: "1MiB" });
  await daemons.torusctl("volume", "create-block", "v", `${volumeBytes / MiB}MiB`);
  const server = await daemons.startServer(["v"]);
  const client = await NbdClient.connect({ kind: "unix", path: server.socket }, "v");
  const content = new Content();
  for (let at = 0; at < dataBytes; at += MiB) await content.write(client, 2 * at, MiB);
  const target = join(daemons.directory, "backups");
  const { first } = await killedAndResumed(daemons, target);
  const before = content.digest;
  const changed = dataBytes / chunkBytes / 100;
  for (let i = 0; i < changed; i++) await content.write(client, 2 * i * 6 * MiB + 3 * chunkBytes, chunkBytes);
  const increment = await backUp(daemons, target);
  const bytes = Math.ceil(changed) * chunkBytes;
  assert.equal(increment.readBytes, bytes);
  assert.ok(increment.sentBytes < 1.1 * bytes, `${increment.sentBytes} bytes sent for ${bytes}`);
  await reportTimes(t, daemons, increment);
  await inAnotherCluster(t, target, first, { before, now: content.digest });
  client.destroy();
  await agreeWithQemu(daemons, server, increment);
  await daemons.stopAll();
});

/** How long the same takes in full, to a target of its own. */
async function reportTimes(
  t: { diagnostic(text: string): void },
  daemons: Daemons,
  increment: Backup,
): Promise<void> {
  const whole = await backUp(daemons, join(daemons.directory, "whole"));
  const ms = ({ createdMs, finishedMs }: Backup): number => finishedMs - createdMs;
  t.diagnostic(
    `full: ${whole.sentBytes} bytes in ${ms(whole)} ms; a hundredth changed: ${increment.sentBytes} bytes in ${ms(increment)} ms`,
  );
}

async function inAnotherCluster(
  t: Parameters<typeof Daemons.start>[0],
  target: string,
  first: Backup,
  digests: { readonly before: string; readonly now: string },
): Promise<void> {
  const other = await Daemons.start(t, { blockSize: "4MiB" });
  await other.torusctl("backup", "restore", target, "v", "now");
  await other.torusctl("backup", "restore", target, `v@${first.name}`, "before");
  await requireSame(other, "now", digests.now);
  await requireSame(other, "before", digests.before);
  await other.torusctl("backup", "check", target);
  await other.stopAll();
}

/** qemu-img reads the same from the server's export as lies in a dump of it. */
async function agreeWithQemu(daemons: Daemons, server: Server, { snapshot }: Backup): Promise<void> {
  const file = join(daemons.directory, "dump.img");
  await daemons.torusctl("block", "dump", `v@${snapshot}`, file);
  await run("qemu-img", ["compare", "-f", "raw", "-F", "raw", file, uriOf(server, `v@${snapshot}`)]);
  await daemons.torusctl("block", "load", file, "loaded");
  await run("qemu-img", ["compare", "-f", "raw", "-F", "raw", file, uriOf(server, "loaded")]);
}
