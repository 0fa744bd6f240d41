// The embedded metadata service: the suite every service passes, its file, its locks and its leases.

import assert from "node:assert/strict";
import { mkdtempSync, rmSync, statSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { it } from "node:test";
import { isTorusError, TorusError } from "#model";
import { ManualClock, settle } from "../manual-clock.fixture.ts";
import { quietLog } from "../quiet-log.fixture.ts";
import { put, serviceSuite } from "../service-suite.ts";
import { SqliteMetadataService } from "./sqlite-service.ts";

const log = quietLog;

async function inDirectory(body: (directory: string) => Promise<void>): Promise<void> {
  const directory = mkdtempSync(join(tmpdir(), "torus-sqlite-"));
  try {
    await body(directory);
  } finally {
    rmSync(directory, { recursive: true });
  }
}

serviceSuite("sqlite", async () => {
  const directory = mkdtempSync(join(tmpdir(), "torus-sqlite-"));
  const clock = new ManualClock();
  const clients: SqliteMetadataService[] = [];
  const historyRevisionsMax = 1000;
  return {
    historyRevisionsMax,
    connect: async () => {
      const options = { path: join(directory, "metadata.db"), create: true, historyRevisionsMax };
      const client = await SqliteMetadataService.open(options, { clock, log, boot: clock });
      clients.push(client);
      return client;
    },
    advance: (ms) => clock.advance(ms),
    dispose: async () => {
      for (const client of clients) await client.close();
      rmSync(directory, { recursive: true });
    },
  };
});

function open(path: string, clock: ManualClock, create = true): Promise<SqliteMetadataService> {
  return SqliteMetadataService.open({ path, create }, { clock, log, boot: clock });
}

it("the database file is made with mode 0600, its companions too, and keeps what was committed", () =>
  inDirectory(async (directory) => {
    const clock = new ManualClock();
    const path = join(directory, "deep", "er", "metadata.db");
    const first = await open(path, clock);
    await first.transact([], [put("a", "1")]);
    for (const name of ["", "-wal", "-shm"]) assert.equal(statSync(path + name).mode & 0o777, 0o600);
    await first.close();
    const second = await open(path, clock, false);
    assert.equal((await second.read([{ key: "a" }])).ranges[0][0].value, "1");
    await second.close();
  }));

it("the database file is not made when only an existing one is wanted", () =>
  inDirectory(async (directory) => {
    const path = join(directory, "metadata.db");
    await assert.rejects(open(path, new ManualClock(), false), (error) => isTorusError(error, "not-found"));
    assert.equal(statSync(path, { throwIfNoEntry: false }), undefined);
  }));

it("the database file of another program is refused and left as it is", () =>
  inDirectory(async (directory) => {
    const path = join(directory, "other.db");
    const other = new DatabaseSync(path);
    other.exec("CREATE TABLE mine (x)");
    other.close();
    const before = statSync(path);
    await assert.rejects(open(path, new ManualClock()), /not a Torus metadata database/);
    assert.equal(statSync(path).mtimeMs, before.mtimeMs);
    const text = join(directory, "text");
    writeFileSync(text, "this is not a database ".repeat(300));
    await assert.rejects(open(text, new ManualClock()), (error) => isTorusError(error, "corrupt"));
    await assert.rejects(open(directory, new ManualClock()), (error) =>
      isTorusError(error, "invalid-argument"),
    );
  }));

it("the database file of a newer version is refused", () =>
  inDirectory(async (directory) => {
    const path = join(directory, "metadata.db");
    await (await open(path, new ManualClock())).close();
    const newer = new DatabaseSync(path);
    newer.exec("PRAGMA user_version = 2");
    newer.close();
    await assert.rejects(open(path, new ManualClock()), (error) => isTorusError(error, "unsupported"));
  }));

it("the database file that is damaged gives a clear error", () =>
  inDirectory(async (directory) => {
    const path = join(directory, "metadata.db");
    const service = await open(path, new ManualClock());
    for (let count = 0; count < 50; count++) await service.transact([], [put(`k${count}`, "v".repeat(2000))]);
    await service.close();
    truncateSync(path, 3 * 4096);
    await assert.rejects(open(path, new ManualClock()), (error) => isTorusError(error, "corrupt"));
  }));

it("the database file with a changed row is caught by the row's checksum", () =>
  inDirectory(async (directory) => {
    const path = join(directory, "metadata.db");
    const clock = new ManualClock();
    const service = await open(path, clock);
    await service.transact([], [put("writer", '{"epoch":7}')]);
    await service.close();
    const editor = new DatabaseSync(path);
    editor.exec(`UPDATE keys SET value = '{"epoch":3}'`);
    editor.close();
    const again = await open(path, clock);
    await assert.rejects(again.read([{ key: "writer" }]), (error) => {
      return error instanceof TorusError && error.code === "corrupt" && error.message.includes("writer");
    });
    await again.close();
  }));

it("the database file that was removed or replaced under a running program is not written any more", () =>
  inDirectory(async (directory) => {
    const path = join(directory, "metadata.db");
    const clock = new ManualClock();
    const service = await open(path, clock);
    await service.transact([], [put("a", "1")]);
    for (const name of ["", "-wal", "-shm"]) rmSync(path + name);
    const other = await open(path, clock);
    await assert.rejects(service.transact([], [put("a", "2")]), /removed or replaced/);
    await assert.rejects(service.read([]), (error) => isTorusError(error, "metadata-behind"));
    await other.close();
    await service.close();
  }));

it("sqlite: waits for another process's transaction without blocking, and gives up in the end", () =>
  inDirectory(async (directory) => {
    const path = join(directory, "metadata.db");
    const clock = new ManualClock();
    const service = await open(path, clock);
    const holder = new DatabaseSync(path);
    holder.exec("BEGIN IMMEDIATE");
    let done = false;
    const waiting = service.transact([], [put("a", "1")]).then(() => {
      done = true;
    });
    assert.deepEqual((await service.read([])).revision, 0, "reads go on");
    await clock.advance(100);
    assert.equal(done, false);
    holder.exec("COMMIT");
    await clock.run(waiting);
    holder.exec("BEGIN IMMEDIATE");
    const refused = clock.run(service.transact([], [put("a", "2")]), 200);
    await assert.rejects(refused, (error) => isTorusError(error, "unavailable"));
    holder.exec("ROLLBACK");
    holder.close();
    assert.equal((await service.read([{ key: "a" }])).ranges[0][0].value, "1");
    await service.close();
  }));

it("sqlite: a lease of another boot has run out", () =>
  inDirectory(async (directory) => {
    const path = join(directory, "metadata.db");
    const clock = new ManualClock();
    const service = await open(path, clock);
    const lease = await service.grantLease(60_000);
    await service.transact([], [put("a", "1", lease)]);
    await service.close();
    const boot = { bootId: "boot-2", monotonicMs: () => 5 };
    const later = await SqliteMetadataService.open({ path, create: false }, { clock, log, boot });
    assert.deepEqual((await later.read([{ key: "a" }])).ranges[0], []);
    await later.close();
  }));

it("sqlite: a wall clock that jumps neither ends nor prolongs a lease", () =>
  inDirectory(async (directory) => {
    const clock = new ManualClock();
    const service = await open(join(directory, "metadata.db"), clock);
    const lease = await service.grantLease(1000);
    await service.transact([], [put("a", "1", lease)]);
    clock.jumpWall(3_600_000);
    assert.equal((await service.read([{ key: "a" }])).ranges[0].length, 1);
    clock.jumpWall(-7_200_000);
    await clock.advance(1001);
    assert.equal((await service.read([{ key: "a" }])).ranges[0].length, 0);
    await settle();
    await service.close();
  }));

it("sqlite: the change log is bounded in bytes too", () =>
  inDirectory(async (directory) => {
    const clock = new ManualClock();
    const path = join(directory, "metadata.db");
    const options = { path, create: true, historyBytesMax: 100_000 };
    const service = await SqliteMetadataService.open(options, { clock, log, boot: clock });
    for (let count = 0; count < 130; count++) await service.transact([], [put("a", "v".repeat(10_000))]);
    const resets: string[] = [];
    service.watch("a", 100, { events: () => {}, reset: (reason) => resets.push(reason) });
    await clock.advance(100);
    assert.equal(resets.length, 1);
    await service.close();
  }));
