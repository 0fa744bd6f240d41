// One of three peers dies while fio writes and verifies, and comes back: no error, no wrong byte, no long stall.

import assert from "node:assert/strict";
import { test } from "node:test";
import { Cluster } from "./cluster.ts";
import { Fio, longestStall } from "./fio.ts";
import { scratchDirectory, waitFor } from "./programs.ts";
import { scale } from "./scale.ts";

const rounds = Math.ceil(2 * scale);
const stallSecondsMax = 5;
const fioMsMax = 180_000;
const sizeMiB = Math.ceil(96 * scale);

test("a peer is killed and returns while fio writes and verifies", async (t) => {
  const cluster = await Cluster.start(t, { flags: ["--size", "4GiB"] });
  const fio = new Fio(scratchDirectory(t), cluster.unixUri, [
    ...["--rw=randwrite", "--bs=4k", "--iodepth=16", "--fsync=32", `--size=${sizeMiB}m`, "--loops=2"],
    // Verifies while it writes, and all of it at the end.
    ...["--verify=crc32c", "--verify_backlog=2048", "--do_verify=1", "--verify_fatal=1"],
    // Paced, so that it lasts over the kills on any machine.
    "--rate_iops=3000,3000",
  ]);
  for (let round = 1; round <= rounds; round++) {
    const number = 1 + (round % 3);
    const before = cluster.peerPid(number);
    const backs = cluster.output.split(`peer-${number} is back`).length;
    process.kill(before, "SIGKILL");
    await waitFor(
      `peer-${number} to be back`,
      () => cluster.output.split(`peer-${number} is back`).length > backs,
    );
    assert.notEqual(cluster.peerPid(number), before);
    assert.equal(fio.hasEnded, false, "fio worked all the time");
  }
  const job = await fio.end(fioMsMax);
  const stall = longestStall(job);
  t.diagnostic(
    `fio: ${job.write.total_ios} writes at ${Math.round(job.write.iops)}/s, ${job.read.total_ios} reads verified, ` +
      `${job.sync.total_ios} flushes, longest stall ${stall.toFixed(2)} s`,
  );
  assert.ok(job.read.total_ios >= job.write.total_ios / 2, "what was written was verified");
  assert.ok(job.sync.total_ios > 0, "flushes were sent");
  assert.ok(stall < stallSecondsMax, `a request took ${stall.toFixed(2)} s`);
  const { code, stdout, stderr } = await cluster.stop("SIGTERM");
  assert.equal(code, 0, stdout + stderr);
});
