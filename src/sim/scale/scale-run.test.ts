// A small cluster's life, by the simulation that is meant for large ones: what it says must be true of it, and the same each time.

import assert from "node:assert/strict";
import { test } from "node:test";
import { runScale } from "./scale-run.ts";
import { smallSize } from "./size.ts";

const report = await runScale(smallSize);
const phase = (name: string) => {
  const found = report.phases.find((each) => each.name === name);
  assert.ok(found !== undefined);
  return found;
};
const loadOf = (name: string, what: string) => phase(name).loads.find((load) => load.what === what);

test("scale: after a rack joins, after one is lost and after a drain every copy is where the ring wants it, and no more moved than must", () => {
  for (const name of ["a rack joins", "a rack is lost", "peers are drained"]) {
    const { missingCopies, lostBlocks, movedBytes, idealBytes, settledMs, rings } = phase(name);
    assert.deepEqual([missingCopies, lostBlocks, rings], [0, 0, 2], name);
    assert.ok(settledMs !== null && settledMs < 60 * 60_000, `${name}: ${settledMs} ms`);
    // The sample is coarse: what comes to a rack that joins varies.
    assert.ok(Math.abs(movedBytes / idealBytes - 1) < 0.2, `${name}: ${movedBytes} of ${idealBytes}`);
  }
  const lost = phase("a rack is lost");
  assert.equal(lost.movedBytes, lost.idealBytes, "what was lost is copied once");
});

test("scale: a rack that is lost leaves the ring in one change, after its time", () => {
  const { copiedMs } = phase("a rack is lost");
  assert.ok(copiedMs !== null && copiedMs > smallSize.repairAfterMs);
});

test("scale: what nobody needs to know again is not read again", () => {
  const { size } = report;
  const steady = phase("steady");
  const beats = (steady.durationMs / 3000) * size.peers;
  const heartbeats = loadOf("steady", "heartbeats");
  assert.ok(Math.abs((heartbeats?.transactions ?? 0) / beats - 1) < 0.1);
  assert.equal(loadOf("steady", "rings")?.watchEvents ?? 0, 0);
  // Each peer walks an INode when it changed, not at each pass.
  const walks = loadOf("steady", "INodes")?.keys ?? 0;
  assert.ok(walks <= size.peers * report.writtenVolumes, `${walks} walks`);
});

test("scale: the same seed gives the same figures", async () => {
  assert.deepEqual(await runScale(smallSize), report);
});
