// Volumes as exports: attached once, shared, detached after a while, and never replaced under a client that has a
// lost one open.

import assert from "node:assert/strict";
import { test } from "node:test";
import { isTorusError, TorusError } from "#model";
import { ManualClock, MemoryCatalog, silent } from "./surroundings-suite.ts";
import { VolumeExports } from "./volume-exports.ts";

const lingerMs = 5000;

function setUp(force = false) {
  const catalog = new MemoryCatalog();
  const clock = new ManualClock();
  const exports = new VolumeExports({ force, lingerMs }, { catalog, clock, log: silent });
  return { catalog, clock, exports };
}

/** Lets promises that are due settle. */
async function settled(): Promise<void> {
  await new Promise((resolve) => setImmediate(resolve));
}

test("openers at the same time share one attachment; it goes a while after the last", async () => {
  const { catalog, clock, exports } = setUp();
  const [one, two] = await Promise.all([exports.open("a"), exports.open("a")]);
  assert.equal(one, two);
  assert.equal(catalog.attached.length, 1);
  await exports.release(one);
  clock.advance(lingerMs * 10);
  assert.equal(catalog.attached[0].closed, 0);
  await exports.release(two);
  clock.advance(lingerMs - 1);
  assert.equal(catalog.attached[0].closed, 0);
  clock.advance(1);
  assert.equal(catalog.attached[0].closed, 1);
});

test("looking at an export attaches nothing", async () => {
  const { catalog, exports } = setUp();
  assert.deepEqual(
    (await exports.list()).map(({ name }) => name),
    ["a"],
  );
  assert.equal((await exports.describe("a")).sizeBytes, 1 << 20);
  await assert.rejects(exports.describe("zzz"), (error) => isTorusError(error, "not-found"));
  assert.equal(catalog.attached.length, 0);
});

test("a client that comes back in time finds the volume as it was", async () => {
  const { catalog, clock, exports } = setUp();
  await exports.release(await exports.open("a"));
  clock.advance(lingerMs - 1);
  const again = await exports.open("a");
  clock.advance(lingerMs * 2);
  assert.equal(catalog.attached.length, 1);
  assert.equal(catalog.attached[0].closed, 0);
  await exports.release(again);
});

test("who opens while it is being detached waits, and gets a new attachment", async () => {
  const { catalog, clock, exports } = setUp();
  const device = await exports.open("a");
  let finish = () => {};
  catalog.attached[0].closing = new Promise((resolve) => {
    finish = resolve;
  });
  await exports.release(device);
  clock.advance(lingerMs);
  const opening = exports.open("a");
  await settled();
  assert.equal(catalog.attached.length, 1);
  finish();
  const opened = await opening;
  assert.equal(catalog.attached.length, 2);
  assert.equal(opened, catalog.attached[1]);
});

test("what keeps a volume from being attached reaches every opener, and the next one tries again", async () => {
  const { catalog, exports } = setUp();
  catalog.failure = new TorusError("busy", "attached by host-7");
  const refused = (error: unknown) => isTorusError(error, "busy") && error.message === "attached by host-7";
  await Promise.all([assert.rejects(exports.open("a"), refused), assert.rejects(exports.open("a"), refused)]);
  await assert.rejects(exports.pin("a"), refused);
  catalog.failure = null;
  await exports.release(await exports.open("a"));
});

test("a pinned volume stays attached without clients", async () => {
  const { catalog, clock, exports } = setUp(true);
  await exports.pin("a");
  assert.equal(catalog.forced, 1);
  await exports.release(await exports.open("a"));
  clock.advance(lingerMs * 100);
  assert.equal(catalog.attached[0].closed, 0);
  await exports.close();
  assert.equal(catalog.attached[0].closed, 1);
  await assert.rejects(exports.open("a"), (error) => isTorusError(error, "closed"));
});

test("a lost volume is not replaced while a client still has it open", async () => {
  const { catalog, exports } = setUp();
  const one = await exports.open("a");
  const two = await exports.open("a");
  catalog.attached[0].lose(new TorusError("attachment-lost", "a newer writer took over"));
  await settled();
  const refused = (error: unknown) => isTorusError(error, "busy") && /2 connections/.test(error.message);
  await assert.rejects(exports.open("a"), refused);
  await exports.release(one);
  await assert.rejects(exports.open("a"), (error) => isTorusError(error, "busy"));
  assert.equal(catalog.attached[0].closed, 0);
  await exports.release(two);
  assert.equal(catalog.attached[0].closed, 1);
  assert.equal(await exports.open("a"), catalog.attached[1]);
});

test("a lost volume that nobody uses is let go at once; a pinned one is pinned again when opened", async () => {
  const { catalog, clock, exports } = setUp();
  await exports.pin("a");
  catalog.attached[0].closeFailure = new TorusError("attachment-lost", "gone");
  catalog.attached[0].lose(new TorusError("attachment-lost", "gone"));
  await settled();
  assert.equal(catalog.attached[0].closed, 1);
  await exports.release(await exports.open("a"));
  clock.advance(lingerMs * 2);
  assert.equal(catalog.attached[1].closed, 0);
  await exports.close();
});

test("close says which volumes could not be detached cleanly", async () => {
  const { catalog, exports } = setUp();
  await exports.pin("a");
  await exports.pin("b");
  catalog.attached[0].closeFailure = new TorusError("unavailable", "peers 3 and 4 do not answer");
  await assert.rejects(
    exports.close(),
    (error) =>
      isTorusError(error, "io") && /"a".*peers 3 and 4/.test(error.message) && !/"b"/.test(error.message),
  );
  assert.equal(catalog.attached[1].closed, 1);
});
