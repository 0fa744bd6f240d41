// Several processes on one database file, some of them killed.

import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { afterEach, beforeEach, it } from "node:test";
import { systemClock } from "#host/node";
import { quietLog } from "../quiet-log.fixture.ts";
import { SqliteMetadataService } from "./sqlite-service.ts";

const boot = {
  bootId: readFileSync("/proc/sys/kernel/random/boot_id", "utf8").trim(),
  monotonicMs: () => Number(process.hrtime.bigint()) / 1e6,
};

let directory = "";
let path = "";
const children: ChildProcess[] = [];

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "torus-sqlite-"));
  path = join(directory, "metadata.db");
});

afterEach(async () => {
  for (const child of children.splice(0)) await kill(child);
  rmSync(directory, { recursive: true });
});

async function kill(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const ended = once(child, "exit");
  child.kill("SIGKILL");
  await ended;
}

function start(
  job: string,
  count: number,
): { child: ChildProcess; line: () => Promise<string>; end: () => Promise<number> } {
  const program = join(import.meta.dirname, "sqlite-child.fixture.ts");
  const child = spawn(process.execPath, [program, path, job, `${count}`], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  children.push(child);
  const ended = once(child, "exit");
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  return {
    child,
    line: async () => String((await lines.next()).value),
    end: async () => (await ended)[0] as number,
  };
}

function open(): Promise<SqliteMetadataService> {
  return SqliteMetadataService.open({ path, create: true }, { clock: systemClock, log: quietLog, boot });
}

async function numbers(service: SqliteMetadataService): Promise<(string | undefined)[]> {
  const { ranges } = await service.read([{ key: "n" }, { key: "total" }]);
  return ranges.map((range) => range.at(0)?.value);
}

it("processes that add to one number by compare and set lose no update", async () => {
  const adders = [1, 2, 3].map(() => start("add", 60));
  assert.deepEqual(await Promise.all(adders.map((adder) => adder.end())), [0, 0, 0]);
  const service = await open();
  assert.deepEqual(await numbers(service), ["180", "180"]);
  assert.equal((await service.read([])).revision, 180);
  await service.close();
});

it("processes see each other's changes, in order, through a watch", async () => {
  const service = await open();
  const seen: number[] = [];
  const enough = new Promise<void>((resolve) => {
    service.watch("n", 0, {
      events: (events) => {
        for (const event of events) if (event.kind === "put") seen.push(Number(event.entry.value));
        if (seen.length >= 50) resolve();
      },
      reset: (reason) => assert.fail(reason),
    });
  });
  const adder = start("add", 50);
  await enough;
  assert.equal(await adder.end(), 0);
  assert.deepEqual(
    seen,
    Array.from({ length: 50 }, (_, index) => index + 1),
  );
  await service.close();
});

it("processes that are killed in the middle of transactions tear none and lose none they were told of", async () => {
  const service = await open();
  for (let round = 0; round < 3; round++) {
    const adders = [start("add-for-ever", 0), start("add-for-ever", 0)];
    let told = 0;
    for (let count = 0; count < 10 + 7 * round; count++) {
      for (const adder of adders) told = Math.max(told, Number(await adder.line()));
    }
    await Promise.all(adders.map((adder) => kill(adder.child)));
    const [n, total] = await numbers(service);
    assert.equal(n, total);
    assert.ok(Number(n) >= told, `${n} is at least ${told}`);
  }
  const check = await open();
  assert.equal(`${(await check.read([])).revision}`, (await numbers(check))[0]);
  await check.close();
  await service.close();
});

it("processes that are killed keep their lease until it runs out, not longer", async () => {
  const service = await open();
  const holder = start("lease", 800);
  assert.equal(await holder.line(), "leased");
  const { revision } = await service.read([]);
  const gone = new Promise<void>((resolve) => {
    service.watch("alive", revision, { events: () => resolve(), reset: (reason) => assert.fail(reason) });
  });
  await kill(holder.child);
  await gone;
  assert.equal((await service.read([{ key: "alive" }])).ranges[0].length, 0);
  await service.close();
});
