// What I/O meets when etcd loses members, all of them, or is slow; and how much it is asked while data is written.

import { setTimeout as sleep } from "node:timers/promises";
import { VolumeDisk } from "../../system/file-system-mount.ts";
import { run } from "../../system/programs.ts";
import type { EtcdNode } from "../node.ts";
import { inScope } from "../run-scope.ts";
import type { Bench, Figures, Measure } from "./bench.ts";
import { volume } from "./bench.ts";
import { readBytes, writeMuch } from "./io-load.ts";

const watchedMs = 5000;
const gib = 2 ** 30;
const formatMsMax = 120_000;
/** Of etcd's leader, while it is slow: it stands, and it runs. */
const standMs = 1200;
const runMs = 300;
const slowMs = 30_000;

async function leaderOf({ cluster }: Bench): Promise<EtcdNode> {
  const leader = await cluster.leader();
  if (leader === null) throw new Error("etcd has no leader");
  return leader;
}

async function lost(bench: Bench, choose: () => Promise<EtcdNode>): Promise<Figures> {
  const load = await bench.load();
  await (await choose()).kill();
  await sleep(watchedMs);
  return figuresOf(load.longest);
}

function figuresOf({
  writeMs,
  readMs,
  errors,
}: {
  writeMs: number;
  readMs: number;
  errors: number;
}): Figures {
  if (errors > 0) throw new Error(`${errors} requests failed`);
  return { writes: writeMs, reads: readMs };
}

/** Every member is frozen for so long. */
async function away(bench: Bench, lastsMs: number): Promise<Figures> {
  const load = await bench.load();
  for (const member of bench.cluster.members) member.signal("SIGSTOP");
  await sleep(lastsMs);
  for (const member of bench.cluster.members) member.signal("SIGCONT");
  await sleep(watchedMs);
  return figuresOf(load.longest);
}

/** Revisions that etcd counted while 1 GiB was written, and in the same time without. */
async function transactions(bench: Bench): Promise<Figures> {
  const client = await bench.open(bench.hosts[0]);
  const revision = async (): Promise<number> => {
    const { header } = (await bench.cluster.etcd.post("kv/range", { key: "AA==" })) as {
      header: { revision: string };
    };
    return Number(header.revision);
  };
  const [before, startMs] = [await revision(), performance.now()];
  await writeMuch(client, readBytes, gib);
  const [after, tookMs] = [await revision(), performance.now() - startMs];
  await sleep(tookMs);
  const idle = (await revision()) - after;
  client.destroy();
  return { "in all": after - before, "of them heartbeats of peers": idle };
}

/** Stands and runs by turns until what is returned is called. */
function slowLeader(leader: EtcdNode): () => Promise<void> {
  let isOver = false;
  const turning = (async () => {
    while (!isOver) {
      leader.signal("SIGSTOP");
      await sleep(standMs);
      leader.signal("SIGCONT");
      await sleep(runMs);
    }
  })();
  return () => {
    isOver = true;
    return turning;
  };
}

/** mkfs.ext4 again and again, all tables written, for three leases; fails when that does, or when the volume was attached anew. */
async function formatted(bench: Bench): Promise<Figures> {
  const epoch = async (): Promise<number> => {
    const list = JSON.parse(await bench.cluster.torusctl("-o", "json", "volume", "list")) as {
      volumes: { name: string; epoch: number }[];
    };
    return list.volumes.find(({ name }) => name === volume)!.epoch;
  };
  return inScope(async (scope) => {
    const uri = `nbd+unix:///${volume}?socket=${bench.hosts[0].socket}`;
    const disk = await VolumeDisk.open(scope, uri);
    const before = await epoch();
    const recover = slowLeader(await leaderOf(bench));
    const endMs = performance.now() + slowMs;
    let longestMs = 0;
    try {
      while (performance.now() < endMs) {
        const startMs = performance.now();
        const flags = ["-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0,discard"];
        await run("mkfs.ext4", [...flags, disk.file], formatMsMax);
        longestMs = Math.max(longestMs, performance.now() - startMs);
      }
    } finally {
      await recover();
    }
    await run("e2fsck", ["-f", "-n", disk.file], formatMsMax);
    const after = await epoch();
    if (after !== before) throw new Error(`the volume was lost: epoch ${before} became ${after}`);
    await disk.close();
    return { "longest mkfs.ext4 of 4 GiB": longestMs };
  });
}

export const etcdStalls: readonly Measure[] = [
  { name: "leader of etcd killed", unit: "s", aim: 500, run: (bench) => lost(bench, () => leaderOf(bench)) },
  {
    name: "another member of etcd killed",
    unit: "s",
    aim: 500,
    run: (bench) =>
      lost(bench, async () => {
        const leader = await leaderOf(bench);
        return bench.cluster.members.find((member) => member !== leader)!;
      }),
  },
  { name: "all of etcd away for 5 s, lease of 10 s", unit: "s", aim: 500, run: (bench) => away(bench, 5000) },
  {
    name: "all of etcd away for 20 s, lease of 10 s",
    unit: "s",
    aim: null,
    run: (bench) => away(bench, 20_000),
  },
  {
    name: `leader of etcd stands ${standMs / 1000} s and runs ${runMs / 1000} s by turns`,
    unit: "s",
    aim: null,
    run: formatted,
  },
  { name: "etcd while 1 GiB is written", unit: "transactions", aim: null, run: transactions },
];
