// Tests of what the real clock, randomness and log promise: long timers do not fire at once, lines can be read by people
// and collectors.

import assert from "node:assert/strict";
import { test } from "node:test";
import { TorusError } from "#model";
import { systemClock } from "./clock.ts";
import { createLog } from "./log.ts";
import { systemRandom } from "./random.ts";

function capture(format: "readable" | "json", level: "debug" | "info" = "info") {
  const lines: string[] = [];
  const log = createLog({ level, name: "torusd", format }, { write: (line) => lines.push(line) });
  return { log, lines };
}

test("readable lines: time, level, program, message and fields", () => {
  const { log, lines } = capture("readable");
  log.child({ peer: "p1" }).warn("The disk is slow.", { path: "/a b", ms: 12.5, empty: "" });
  assert.match(
    lines[0],
    /^\d\d:\d\d:\d\d\.\d{3} warn {2}torusd: The disk is slow\. peer=p1 path="\/a b" ms=12\.5 empty=""\n$/,
  );
});

test("JSON lines carry level as a word, ISO time, and errors as data", () => {
  const { log, lines } = capture("json");
  const cause = new Error("EIO");
  log.error("Failed.", { error: new TorusError("io", "cannot write", { path: "/x" }, { cause }) });
  const line = JSON.parse(lines[0]);
  assert.equal(line.level, "error");
  assert.equal(line.program, "torusd");
  assert.equal(line.msg, "Failed.");
  assert.equal(line.error.code, "io");
  assert.equal(line.error.message, "cannot write");
  assert.equal(line.error.path, "/x");
  assert.equal(line.error.cause.message, "EIO");
  assert.ok(!Number.isNaN(Date.parse(line.time)));
});

test("fields cannot pose as the line's own keys, nor send control characters to a terminal", () => {
  const { log, lines } = capture("readable");
  log.info("Serving \u001b[2J.", { name: "demo", level: "x\u009b", msg: "y" });
  assert.match(lines[0], /info {2}torusd: Serving {2}\[2J\. name=demo _level="?x "? _msg=y\n$/);
});

test("messages below the level are dropped", () => {
  const { log, lines } = capture("json");
  log.debug("no");
  assert.equal(lines.length, 0);
});

test("a timer fires once, not in the current turn; a cancelled or a very long one does not fire", async () => {
  const fired: string[] = [];
  const long = systemClock.setTimer(2 ** 40, () => fired.push("long"));
  const cancelled = systemClock.setTimer(0, () => fired.push("cancelled"));
  cancelled.cancel();
  const before = systemClock.monotonicMs();
  await new Promise<void>((resolve) => {
    systemClock.setTimer(1.5, () => {
      fired.push("short");
      resolve();
    });
    assert.deepEqual(fired, []);
  });
  long.cancel();
  assert.deepEqual(fired, ["short"]);
  assert.ok(systemClock.monotonicMs() - before >= 1);
});

test("random values have the shape asked for", () => {
  assert.equal(systemRandom.bytes(7).length, 7);
  assert.notDeepEqual(systemRandom.bytes(16), systemRandom.bytes(16));
  const value = systemRandom.uint32();
  assert.ok(Number.isInteger(value) && value >= 0 && value < 2 ** 32);
  assert.match(systemRandom.uuid(), /^[0-9a-f]{8}-[0-9a-f]{4}-4/);
});
