// The suite every metadata service passes, on a real etcd: a new one for each check, because the suite counts revisions
// from the first.

import { describe } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { type ServiceHarness, serviceSuite } from "../../src/metadata/service-suite.ts";
import { Etcd } from "./etcd.ts";

/** Kept by hand: etcd itself compacts by the minute. */
const historyRevisionsMax = 100;

/** With these etcd gives two seconds where one is asked for: a busy machine may be late by most of one. */
const longerLeases = ["--election-timeout", "700"];

/** Most of a check is waiting for leases. */
const concurrency = 6;
const threeConcurrency = 3;

const openOne = (): Promise<ServiceHarness> => open(1);

/** Of three members the last is killed: clients, who try members in turn, meet it all the time. */
const openTwoOfThree = (): Promise<ServiceHarness> =>
  open(3, async ({ members }) => {
    await members[2].kill();
  });

async function open(
  members: number,
  harm: (etcd: Etcd) => Promise<void> = async () => {},
): Promise<ServiceHarness> {
  const cleanups: (() => unknown)[] = [];
  const after = (cleanup: unknown) => void cleanups.push(cleanup as () => unknown);
  const etcd = await Etcd.start({ after }, { members, flags: longerLeases });
  await harm(etcd);
  let compacted = 1;
  return {
    historyRevisionsMax,
    leaseLagMs: 2000,
    connect: () => etcd.connect(),
    advance: async (ms) => {
      await sleep(ms);
      const { header } = (await etcd.post("kv/range", { key: "AA==" })) as { header: { revision: string } };
      const revision = Number(header.revision) - historyRevisionsMax;
      if (revision <= compacted + historyRevisionsMax) return;
      compacted = revision;
      await etcd.post("kv/compaction", { revision });
    },
    dispose: async () => {
      for (const cleanup of cleanups.reverse()) await cleanup();
    },
  };
}

describe("on one member", { concurrency }, () => serviceSuite("etcd", openOne));
describe("on three members, one of them killed", { concurrency: threeConcurrency }, () =>
  serviceSuite("etcd of three", openTwoOfThree),
);
