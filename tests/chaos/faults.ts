// The faults of a chaos run, by kind: what begins, on whom, and how it is undone. Who is hit is the dice's choice, so that a
// seed gives the same faults again; what they meet is up to the machine.

import type { Machine } from "../system/machines.ts";
import type { Program } from "../system/programs.ts";
import { waitFor, waitForLine } from "../system/programs.ts";
import type { ChaosCluster, Host } from "./chaos-cluster.ts";
import type { DaemonNode, Node } from "./node.ts";
import type { VolumeClient } from "./volume-client.ts";

export interface Battlefield {
  readonly cluster: ChaosCluster;
  readonly clients: readonly VolumeClient[];
}

export interface Fault {
  /** What was done, and to whom. */
  readonly what: string;
  undo(): Promise<void>;
}

type Roll = (below: number) => number;
/** Null when it could not be done as things are. */
type Begin = (field: Battlefield, roll: Roll) => Promise<Fault | null>;

export interface FaultKind {
  /** The shortest and the longest it lasts. */
  readonly lastsMs: readonly [number, number];
  readonly begin: Begin;
}

const short = [200, 7000] as const;
/** Longer than a lease: others may take what it held. */
const long = [1000, 15_000] as const;
/** Longer than it takes until a peer is taken out of the ring. */
const gone = [16_000, 24_000] as const;
/** Long enough to be met by those it is for. */
const lingering = [2000, 8000] as const;

const lossPercentMax = 20;
const takerStartMsMax = 20_000;
const takenMsMax = 6000;

const pick = <T>(items: readonly T[], roll: Roll): T => items[roll(items.length)];
const peerOf = ({ cluster }: Battlefield, roll: Roll): DaemonNode => pick(cluster.peers, roll).node;
const hostOf = ({ cluster }: Battlefield, roll: Roll): Host => pick(cluster.hosts, roll);
const memberOf = ({ cluster }: Battlefield, roll: Roll): Node => pick(cluster.members, roll);

async function killed(node: Node): Promise<Fault> {
  await node.kill();
  return { what: `${node.name} is killed`, undo: () => node.up() };
}

async function frozen(node: Node): Promise<Fault> {
  node.signal("SIGSTOP");
  return { what: `${node.name} is frozen`, undo: async () => node.signal("SIGCONT") };
}

async function all(what: string, undos: readonly Promise<() => Promise<void>>[]): Promise<Fault> {
  const done = await Promise.all(undos);
  return { what, undo: async () => void (await Promise.all(done.map((undo) => undo()))) };
}

/** Nothing passes between them, in either direction. */
function parted(one: Machine, others: readonly Machine[]): Promise<() => Promise<void>>[] {
  return others.flatMap((other) => [one.cutFrom(other), other.cutFrom(one)]);
}

function alone(machine: Machine): Promise<() => Promise<void>>[] {
  return [machine.deafen(), machine.silence()];
}

async function ended({ node }: Host): Promise<Fault> {
  // It may take its time when those it needs are away: the fault lasts at least until then.
  const ending = node.end();
  return {
    what: `${node.name} is asked to stop`,
    undo: async () => {
      await ending;
      await node.up();
    },
  };
}

/**
 * Another torusblk takes a volume by force; it is killed in the end. Who had it may be frozen, or cut off from etcd and most peers, until
 * it is taken: so it hears of it late, and is asked for more by those who have not heard of it either.
 */
async function taken({ cluster, clients }: Battlefield, roll: Roll): Promise<Fault | null> {
  const client = pick(clients, roll);
  const holder = cluster.hosts.find(({ socket }) => socket === client.path);
  const hindered = [null, hinderedByFreeze, hinderedByCut][roll(3)];
  const { node } = pick(
    cluster.hosts.filter((host) => host !== holder),
    roll,
  );
  const socket = cluster.freshSocket();
  const program: Program = cluster.launchServer(node.machine, socket, ["--force"]);
  try {
    await waitForLine(program, /^torusblk: serving /m, takerStartMsMax);
  } catch {
    // Without etcd nobody takes anything.
    program.killGroup();
    return null;
  }
  const hindrance = holder === undefined ? null : await hindered?.(cluster, holder);
  client.prefer(socket);
  await waitFor("the client to move", () => client.path === socket, takenMsMax).catch(() => {});
  await hindrance?.undo();
  return {
    what: `${client.volume} is taken by force on ${node.name}${hindrance ? ` after ${hindrance.what}` : ""}`,
    undo: async () => {
      client.prefer(null);
      program.killGroup();
      await program.ended.catch(() => {});
    },
  };
}

function hinderedByFreeze(_cluster: ChaosCluster, { node }: Host): Promise<Fault> {
  return frozen(node);
}

function hinderedByCut({ members, peers }: ChaosCluster, { node }: Host): Promise<Fault> {
  const others = [...members, ...peers.slice(1).map((peer) => peer.node)].map(({ machine }) => machine);
  return all(`${node.name} reached one peer alone`, parted(node.machine, others));
}

async function everythingKilled({ cluster }: Battlefield): Promise<Fault> {
  const nodes = [...cluster.peers, ...cluster.hosts].map(({ node }) => node);
  await Promise.all(nodes.map((node) => node.kill()));
  return {
    what: "every peer and every host is killed",
    undo: async () => void (await Promise.all(nodes.map((node) => node.up()))),
  };
}

async function diskFull({ cluster }: Battlefield): Promise<Fault | null> {
  const full = cluster.peers.find(({ disk }) => disk !== null);
  if (full === undefined) return null;
  await full.disk!.fill();
  return { what: `the disk of ${full.node.name} is full`, undo: async () => full.disk!.free() };
}

async function leaderAnd(
  { cluster }: Battlefield,
  act: (leader: Node) => Promise<Fault>,
): Promise<Fault | null> {
  const leader = await cluster.leader();
  return leader === null ? null : act(leader);
}

/** By name, as the table shows them. */
export const faultKinds: Readonly<Record<string, FaultKind>> = {
  "peer killed": { lastsMs: short, begin: async (field, roll) => killed(peerOf(field, roll)) },
  "peer gone for long": { lastsMs: gone, begin: async (field, roll) => killed(peerOf(field, roll)) },
  "peer frozen": { lastsMs: short, begin: async (field, roll) => frozen(peerOf(field, roll)) },
  "peer cut off": {
    lastsMs: short,
    begin: async (field, roll) => {
      const { name, machine } = peerOf(field, roll);
      return all(`${name} is cut off from all`, alone(machine));
    },
  },
  "peer deaf": {
    lastsMs: short,
    begin: async (field, roll) => {
      const { name, machine } = peerOf(field, roll);
      return all(`nothing reaches ${name}`, [machine.deafen()]);
    },
  },
  "peer mute": {
    lastsMs: short,
    begin: async (field, roll) => {
      const { name, machine } = peerOf(field, roll);
      return all(`nothing leaves ${name}`, [machine.silence()]);
    },
  },
  "peer parted from peer": {
    lastsMs: short,
    begin: async (field, roll) => {
      const [one, other] = [peerOf(field, roll), peerOf(field, roll)];
      if (one === other) return null;
      return all(`${one.name} and ${other.name} are parted`, parted(one.machine, [other.machine]));
    },
  },
  "torusblk parted from peer": {
    lastsMs: short,
    begin: async (field, roll) => {
      const [{ node }, peer] = [hostOf(field, roll), peerOf(field, roll)];
      return all(`${node.name} and ${peer.name} are parted`, parted(node.machine, [peer.machine]));
    },
  },
  "torusblk parted from etcd": {
    lastsMs: long,
    begin: async (field, roll) => {
      const { node } = hostOf(field, roll);
      const members = field.cluster.members.map(({ machine }) => machine);
      return all(`${node.name} is cut off from etcd`, parted(node.machine, members));
    },
  },
  "torusblk killed": { lastsMs: long, begin: async (field, roll) => killed(hostOf(field, roll).node) },
  "torusblk frozen": { lastsMs: long, begin: async (field, roll) => frozen(hostOf(field, roll).node) },
  "torusblk stopped": { lastsMs: short, begin: async (field, roll) => ended(hostOf(field, roll)) },
  "volume taken by force": { lastsMs: lingering, begin: taken },
  "etcd member killed": { lastsMs: short, begin: async (field, roll) => killed(memberOf(field, roll)) },
  "etcd member frozen": { lastsMs: short, begin: async (field, roll) => frozen(memberOf(field, roll)) },
  "etcd leader killed": { lastsMs: short, begin: (field) => leaderAnd(field, killed) },
  "etcd leader cut off": {
    lastsMs: short,
    begin: (field) =>
      leaderAnd(field, ({ name, machine }) => all(`${name}, the leader of etcd, is cut off`, alone(machine))),
  },
  "all of etcd frozen": {
    lastsMs: long,
    begin: async ({ cluster }) => {
      for (const member of cluster.members) member.signal("SIGSTOP");
      return {
        what: "every member of etcd is frozen",
        undo: async () => {
          for (const member of cluster.members) member.signal("SIGCONT");
        },
      };
    },
  },
  "slow line": {
    lastsMs: short,
    begin: async ({ cluster }, roll) => {
      const machine = pick(cluster.machines, roll);
      return all(`the line of ${machine.name} is slow`, [machine.slow()]);
    },
  },
  "lossy line": {
    lastsMs: short,
    begin: async ({ cluster }, roll) => {
      const machine = pick(cluster.machines, roll);
      const percent = 1 + roll(lossPercentMax);
      return all(`${machine.name} loses ${percent}% of what comes`, [machine.lose(percent)]);
    },
  },
  "disk full": { lastsMs: lingering, begin: diskFull },
  "everything killed": { lastsMs: short, begin: everythingKilled },
};
