// A process of its own on one database, for sqlite-processes.test.ts: node sqlite-child.fixture.ts PATH JOB [COUNT]. It says on
// standard output what it did, a line each.

import { readFileSync } from "node:fs";
import { systemClock } from "#host/node";
import { quietLog } from "../quiet-log.fixture.ts";
import type { MetadataService } from "../service.ts";
import { SqliteMetadataService } from "./sqlite-service.ts";

const boot = {
  bootId: readFileSync("/proc/sys/kernel/random/boot_id", "utf8").trim(),
  monotonicMs: () => Number(process.hrtime.bigint()) / 1e6,
};

const say = (line: string) => process.stdout.write(`${line}\n`);

/** Adds one to `n` by compare and set; `total` changes with it in the same transaction, so a torn one would show. */
async function addOne(service: MetadataService): Promise<number> {
  for (;;) {
    const { ranges } = await service.read([{ key: "n" }, { key: "total" }]);
    const [n, total] = ranges.map((range) => range.at(0));
    if (n?.value !== total?.value) throw new Error(`torn: n ${n?.value}, total ${total?.value}`);
    const next = Number(n?.value ?? 0) + 1;
    const result = await service.transact(
      [{ key: "n", revision: n?.modRevision ?? 0 }],
      [
        { kind: "put", key: "n", value: `${next}` },
        { kind: "put", key: "total", value: `${next}` },
      ],
    );
    if (result.committed) return next;
  }
}

const [path, job, count] = process.argv.slice(2);
const service = await SqliteMetadataService.open(
  { path, create: true },
  { clock: systemClock, log: quietLog, boot },
);
switch (job) {
  case "add":
    for (let done = 0; done < Number(count); done++) await addOne(service);
    break;
  case "add-for-ever":
    for (;;) say(`${await addOne(service)}`);
  case "lease": {
    const lease = await service.grantLease(Number(count));
    await service.transact([], [{ kind: "put", key: "alive", value: "child", lease }]);
    say("leased");
    for (;;) {
      await new Promise((resolve) => setTimeout(resolve, Number(count) / 5));
      await service.renewLease(lease);
    }
  }
  default:
    throw new Error(`no job ${job}`);
}
await service.close();
