// Fail-over: from the moment at which the torusblk that has a volume goes, to the answer to the first write at another one.

import type { Bench, Figures, Measure } from "./bench.ts";

const page = Buffer.alloc(4096, 9);
const leaseMs = 10_000;

/** From now until a write is answered at `server`. */
async function untilWritten(bench: Bench, server: { readonly socket: string }): Promise<Figures> {
  const fromMs = performance.now();
  const client = await bench.open(server);
  await client.write(0, page);
  const writeMs = performance.now() - fromMs;
  client.destroy();
  return { "first write": writeMs };
}

async function killed(bench: Bench): Promise<Figures> {
  await bench.load();
  void bench.hosts[0].node.kill();
  return untilWritten(bench, bench.hosts[1]);
}

async function forced(bench: Bench): Promise<Figures> {
  const taker = await bench.startTaker();
  await bench.load();
  void bench.hosts[0].node.kill();
  return untilWritten(bench, taker);
}

async function forcedWithoutPeer(bench: Bench): Promise<Figures> {
  const taker = await bench.startTaker();
  await bench.load();
  void bench.cluster.peers[2].node.kill();
  void bench.hosts[0].node.kill();
  return untilWritten(bench, taker);
}

async function handedOver(bench: Bench): Promise<Figures> {
  await bench.load();
  void bench.hosts[0].node.end();
  return untilWritten(bench, bench.hosts[1]);
}

async function frozen(bench: Bench): Promise<Figures> {
  await bench.load();
  bench.hosts[0].node.signal("SIGSTOP");
  return untilWritten(bench, bench.hosts[1]);
}

async function cutFromEtcd(bench: Bench): Promise<Figures> {
  await bench.load();
  const { machine } = bench.hosts[0].node;
  const members = bench.cluster.members.map((member) => member.machine);
  await Promise.all(members.flatMap((member) => [machine.cutFrom(member), member.cutFrom(machine)]));
  return untilWritten(bench, bench.hosts[1]);
}

/** As after a power cut: from the moment at which all are started again. Clients of before have ended, which a person has to say. */
async function allStarted(bench: Bench): Promise<Figures> {
  await bench.load();
  const { nodes } = bench.cluster;
  await Promise.all(nodes.map((node) => node.kill()));
  for (const node of nodes) void node.up();
  return untilWritten(bench, bench.hosts[1]);
}

export const failOvers: readonly Measure[] = [
  { name: "torusblk killed, lease of 10 s", unit: "s", aim: leaseMs + 1000, run: killed },
  { name: "torusblk killed, --force", unit: "s", aim: 1000, run: forced },
  { name: "torusblk and a peer killed, --force", unit: "s", aim: 1000, run: forcedWithoutPeer },
  { name: "torusblk frozen, lease of 10 s", unit: "s", aim: leaseMs + 1000, run: frozen },
  { name: "torusblk cut off from etcd, lease of 10 s", unit: "s", aim: leaseMs + 1000, run: cutFromEtcd },
  { name: "everything killed, then started", unit: "s", aim: null, run: allStarted },
  { name: "torusblk stopped in order", unit: "s", aim: 1000, run: handedOver },
];
