// Volumes as exports: attached once, shared, detached after a while, and never replaced under a client that has a
// lost one open.

import assert from "node:assert/strict";
import { test } from "node:test";
import { isTorusError, TorusError } from "#model";
import { ManualClock, MemoryCatalog, silent } from "./surroundings-suite.ts";
import { VolumeExports } from "./volume-exports.ts";

const lingerMs = 5000;
const gone = () => {};

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
  const [one, two] = await Promise.all([exports.open("a", gone), exports.open("a", gone)]);
  assert.equal(one, two);
  assert.equal(catalog.attached.length, 1);
  await exports.release(one, gone);
  clock.advance(lingerMs * 10);
  assert.equal(catalog.attached[0].closed, 0);
  await exports.release(two, gone);
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

test("snapshots are exports too, read-only and by name alone", async () => {
  const { catalog, exports } = setUp();
  catalog.snapshots.push({ name: "monday", sizeBytes: 1 << 19, createdMs: 0 });
  const listed = await exports.list();
  assert.deepEqual(
    listed.map(({ name, byNameOnly }) => [name, byNameOnly]),
    [
      ["a", false],
      ["a@monday", true],
    ],
  );
  assert.match(
    listed[1].description,
    /^Snapshot of Torus volume a, read-only, 512.0 KiB, taken 1970-01-01T00:/,
  );
  const { readOnly, sizeBytes } = await exports.describe("a@monday");
  assert.deepEqual([readOnly, sizeBytes], [true, 1 << 19]);
  await assert.rejects(exports.describe("a@none"), /there is no snapshot "a@none"/);
  assert.deepEqual(await exports.snapshots("a"), ["monday"]);
  assert.deepEqual(await exports.snapshots("a@monday"), []);
  await assert.rejects(exports.snapshots("a@none"), (error) => isTorusError(error, "not-found"));
  await assert.rejects(exports.snapshots("zzz"), (error) => isTorusError(error, "not-found"));
});

test("a client that comes back in time finds the volume as it was", async () => {
  const { catalog, clock, exports } = setUp();
  await exports.release(await exports.open("a", gone), gone);
  clock.advance(lingerMs - 1);
  const again = await exports.open("a", gone);
  clock.advance(lingerMs * 2);
  assert.equal(catalog.attached.length, 1);
  assert.equal(catalog.attached[0].closed, 0);
  await exports.release(again, gone);
});

test("who opens while it is being detached waits, and gets a new attachment", async () => {
  const { catalog, clock, exports } = setUp();
  const device = await exports.open("a", gone);
  let finish = () => {};
  catalog.attached[0].closing = new Promise((resolve) => {
    finish = resolve;
  });
  await exports.release(device, gone);
  clock.advance(lingerMs);
  const opening = exports.open("a", gone);
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
  await Promise.all([
    assert.rejects(exports.open("a", gone), refused),
    assert.rejects(exports.open("a", gone), refused),
  ]);
  await assert.rejects(exports.pin("a"), refused);
  catalog.failure = null;
  await exports.release(await exports.open("a", gone), gone);
});

test("a pinned volume stays attached without clients", async () => {
  const { catalog, clock, exports } = setUp(true);
  await exports.pin("a");
  assert.equal(catalog.forced, 1);
  await exports.release(await exports.open("a", gone), gone);
  clock.advance(lingerMs * 100);
  assert.equal(catalog.attached[0].closed, 0);
  await exports.close();
  assert.equal(catalog.attached[0].closed, 1);
  await assert.rejects(exports.open("a", gone), (error) => isTorusError(error, "closed"));
});

test("a lost volume tells its clients, and is not replaced while one still has it open", async () => {
  const { catalog, exports } = setUp();
  const told: string[] = [];
  const ends = ["one", "two", "three"].map((name) => () => void told.push(name));
  const [one, two, three] = await Promise.all(ends.map((end) => exports.open("a", end)));
  await exports.release(three, ends[2]);
  catalog.attached[0].lose(new TorusError("attachment-lost", "a newer writer took over"));
  await settled();
  assert.deepEqual(told, ["one", "two"]);
  const refused = (error: unknown) => isTorusError(error, "busy") && /2 connections/.test(error.message);
  await assert.rejects(exports.open("a", gone), refused);
  await exports.release(one, ends[0]);
  await assert.rejects(exports.open("a", gone), (error) => isTorusError(error, "busy"));
  assert.equal(catalog.attached[0].closed, 0);
  await exports.release(two, ends[1]);
  assert.equal(catalog.attached[0].closed, 1);
  assert.equal(await exports.open("a", gone), catalog.attached[1]);
});

test("a lost volume that nobody uses is let go at once; a pinned one is pinned again when opened", async () => {
  const { catalog, clock, exports } = setUp();
  await exports.pin("a");
  catalog.attached[0].closeFailure = new TorusError("attachment-lost", "gone");
  catalog.attached[0].lose(new TorusError("attachment-lost", "gone"));
  await settled();
  assert.equal(catalog.attached[0].closed, 1);
  await exports.release(await exports.open("a", gone), gone);
  clock.advance(lingerMs * 2);
  assert.equal(catalog.attached[1].closed, 0);
  await exports.close();
});

test("[C2] a volume whose clients were cut off opens for nobody until the loss is accepted", async () => {
  const { catalog, exports } = setUp();
  await exports.pin("a");
  catalog.attached[0].cutOff = { epoch: 7, atMs: 86_400_000, previousHolder: "torusblk 12 on host-3" };
  const refused = (error: unknown) =>
    isTorusError(error, "attachment-lost") &&
    /^volume "a" was recovered at 1970-01-02T00:00:00.000Z, after torusblk 12 on host-3/.test(
      error.message,
    ) &&
    /: torusctl volume accept-loss a$/.test(error.message);
  await assert.rejects(exports.open("a", gone), refused);
  await Promise.all([1, 2].map(() => assert.rejects(exports.open("a", gone), refused)));
  assert.equal(catalog.attached.length, 1, "it stays attached");
  catalog.attached[0].cutOff = null;
  await exports.release(await exports.open("a", gone), gone);
  await exports.close();

  const other = setUp();
  await other.exports.release(await other.exports.open("a", gone), gone);
  other.catalog.attached[0].cutOff = { epoch: 7, atMs: 0, previousHolder: "x" };
  await assert.rejects(other.exports.open("a", gone), (error) => isTorusError(error, "attachment-lost"));
  other.clock.advance(lingerMs);
  assert.equal(other.catalog.attached[0].closed, 1, "who is refused does not keep it");
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
