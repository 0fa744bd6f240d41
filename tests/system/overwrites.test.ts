// A volume that is overwritten at random, again and again, on a pool that has not much more room than it: space stays bounded, content right, and in the end
// no peer has a block that nothing needs. The same at a decent size: npm run measure -- overwrites.

import assert from "node:assert/strict";
import { test } from "node:test";
import { measureOverwrites } from "../measure/overwrites.ts";
import { complaintsOf } from "./pool-audit.ts";

test("twenty times its size overwritten at random: space stays bounded, and nothing is left over", async (t) => {
  const found = await measureOverwrites(
    t,
    {
      volumeMebibytes: 16,
      times: 20,
      blockSize: "256KiB",
      poolMebibytes: 256,
      peerFlags: ["--heartbeat", "1s"],
    },
    (line) => t.diagnostic(line),
  );
  const { writeAmplification, spaceMost, spaceAfter, writesPerSecond } = found;
  t.diagnostic(
    `write amplification ${writeAmplification}, space ${spaceMost} and then ${spaceAfter} x live, ${writesPerSecond} writes a second`,
  );
  assert.deepEqual([complaintsOf(found.leaked), complaintsOf(found.wrong)], ["", ""]);
  assert.ok(found.neededBlocks > 40, `${found.neededBlocks} blocks`);
  assert.ok(writeAmplification >= 1 && writeAmplification < 5, `${writeAmplification}`);
  assert.ok(spaceAfter < 4, `${spaceAfter}`);
});

test("a writer that is faster than cleaning, on a pool with little room, is slowed down and not refused", async (t) => {
  const found = await measureOverwrites(
    t,
    {
      volumeMebibytes: 16,
      times: 6,
      blockSize: "256KiB",
      poolMebibytes: 128,
      peerFlags: ["--heartbeat", "1s"],
    },
    (line) => t.diagnostic(line),
  );
  t.diagnostic(
    `space ${found.spaceMost} x live, ${found.writesPerSecond} writes a second, p99 ${found.p99Ms} ms`,
  );
  assert.deepEqual([complaintsOf(found.leaked), complaintsOf(found.wrong)], ["", ""]);
});
