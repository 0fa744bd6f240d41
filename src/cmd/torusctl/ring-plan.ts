// torusctl ring plan: what a change of the ring would do, before it is made: what moves, for how long, and how evenly and how far
// apart copies lie then. It places a sample of blocks by both rings, and scales by what the peers hold now.

import { Argument, type Command } from "commander";
import type { PeerListing, VolumeState } from "#metadata";
import type { PeerId } from "#model";
import { parseBytes, replicasMax } from "#model";
import type { Movement, Ring, RingDescription, RingType } from "#ring";
import {
  addMembers,
  createRing,
  failureDomains,
  movement,
  removeMembers,
  sampleRefs,
  setReplicas,
  withType,
} from "#ring";
import type { Output } from "../shared/output.ts";
import type { Column } from "../shared/table.ts";
import { parseCount } from "./arguments.ts";
import type { TorusctlContext } from "./context.ts";
import { findPeers, memberOf } from "./ring-change.ts";
import { durationText } from "./upkeep-status.ts";

/** What a plan is made from. */
interface PlanInput {
  readonly listing: PeerListing;
  readonly next: RingDescription;
  readonly bytesPerSecond: number;
  readonly volumes: readonly VolumeState[];
}

const planExamples = `
Nothing is changed. IN and OUT are bytes that would come and go; BEFORE and AFTER a peer's share of all copies.

Examples:
  torusctl ring plan add 10.0.0.9:4321
  torusctl ring plan remove 6f1c1f0e 9a2b7d31
  torusctl ring plan replicas 3
  torusctl ring plan type ketama --budget 200MiB/s`;

const sampleBlocks = 16_384;
/** A peer keeps some space back, and what it gives up is there for a while beside what it gets. */
const fullUse = 0.9;

export function addPlanCommand(ring: Command, context: TorusctlContext): void {
  const plan = ring
    .command("plan")
    .helpCommand(false)
    .summary("what a change would move, without making it")
    .description(
      "Shows what a change of the ring would move, how long that would take, and the balance after it.",
    )
    .addHelpText("after", planExamples);
  const add = <Value>(
    command: Command,
    next: (listing: PeerListing, value: Value) => RingDescription,
  ): Command =>
    command
      .option("--budget <rate>", "what each disk sends, as torusd's --repair-budget", "64MiB/s")
      .action((value: Value, flags: { budget: string }) => {
        const bytesPerSecond = parseBytes(flags.budget.replace(/\/s$/, ""), "--budget");
        return context.withCluster(async (cluster) => {
          const listing = await cluster.peers.list();
          const { volumes } = await cluster.volumes.list();
          const plan = planChange({ listing, next: next(listing, value), bytesPerSecond, volumes });
          printPlan(plan, bytesPerSecond, context.output);
        });
      });
  add(
    plan.command("add").summary("peers enter").argument("<peers...>", "ADDRESS or UUID"),
    (listing, names: string[]) => addMembers(listing.ring, findPeers(listing, names).map(memberOf)),
  );
  add(
    plan.command("remove").summary("peers leave").argument("<peers...>", "ADDRESS or UUID"),
    (listing, names: string[]) => {
      const peers = findPeers(listing, names).map(({ peer }) => peer);
      return removeMembers(listing.ring, peers);
    },
  );
  add(
    plan
      .command("replicas")
      .summary("another number of copies")
      .argument("<n>", "copies", parseCount("replication", 1, replicasMax)),
    (listing, replicas: number) => setReplicas(listing.ring, replicas),
  );
  add(
    plan
      .command("type")
      .summary("another kind of ring")
      .addArgument(new Argument("<type>", "kind of ring").choices(["mod", "ketama", "rendezvous"])),
    (listing, type: Exclude<RingType, "union">) => withType(listing.ring, type),
  );
}

type Plan = ReturnType<typeof planChange>;

function planChange({ listing, next, bytesPerSecond, volumes }: PlanInput) {
  const before = createRing(listing.ring.parts?.new ?? listing.ring);
  const after = createRing(next);
  const refs = sampleRefs(sampleBlocks);
  const moved = movement(before, after, refs);
  const usedBytes = listing.peers.reduce((sum, { alive }) => sum + (alive?.usedBytes ?? 0), 0);
  const totalBytes = (usedBytes * placed(after)) / Math.max(1, placed(before));
  const movedBytes = Math.round(totalBytes * moved.share);
  const shares = { before: sharesOf(before, refs), after: sharesOf(after, refs) };
  return {
    movedShare: moved.share,
    movedBytes,
    seconds: Math.ceil(bytesOfSlowest(moved, movedBytes, totalBytes, before) / bytesPerSecond),
    fullest: fullestOf(after, shares.after, totalBytes),
    balance: balanceOf(after, shares.after),
    domains: domainsOf(after, refs),
    stalledVolumes: volumes
      .filter(({ spec }) => spec.minReplicas > placed(after))
      .map(({ spec }) => spec.name),
    peers: moved.peers.map(({ peer, in: gained, out }) => ({
      peer,
      address: listing.peers.find((status) => status.peer === peer)?.record?.address ?? null,
      inBytes: Math.round(gained * totalBytes),
      outBytes: Math.round(out * totalBytes),
      shareBefore: shares.before.get(peer) ?? 0,
      shareAfter: shares.after.get(peer) ?? 0,
    })),
  };
}

/** Every holder sends a part of it, and a peer takes in no more than it would send. */
function bytesOfSlowest(
  { peers }: Movement,
  movedBytes: number,
  totalBytes: number,
  { members }: Ring,
): number {
  const mostIn = Math.max(0, ...peers.map((each) => each.in)) * totalBytes;
  return Math.max(mostIn, movedBytes / Math.max(1, members.length));
}

/** How full the fullest peer would be, 0 to 1 and above: a member's weight is its size. */
function fullestOf(
  ring: Ring,
  shares: ReadonlyMap<PeerId, number>,
  totalBytes: number,
): { readonly peer: PeerId; readonly use: number } | null {
  let fullest: { peer: PeerId; use: number } | null = null;
  for (const { peer, weight } of ring.members) {
    const use = ((shares.get(peer) ?? 0) * totalBytes) / weight;
    if (fullest === null || use > fullest.use) fullest = { peer, use };
  }
  return fullest;
}

const columns: readonly Column[] = [
  { title: "ADDRESS" },
  { title: "UUID" },
  { title: "IN", align: "right" },
  { title: "OUT", align: "right" },
  { title: "BEFORE", align: "right" },
  { title: "AFTER", align: "right" },
];

function printPlan(plan: Plan, bytesPerSecond: number, output: Output): void {
  const { movedBytes, movedShare, seconds, balance, fullest, domains, stalledVolumes, peers } = plan;
  const percent = (share: number): string => `${(100 * share).toFixed(1)}%`;
  const rate = `${output.size(bytesPerSecond)}/s a peer`;
  output.print({
    json: plan,
    columns,
    rows: peers.map(({ address, peer, inBytes, outBytes, shareBefore, shareAfter }) => [
      address ?? "-",
      peer,
      output.size(inBytes),
      output.size(outBytes),
      percent(shareBefore),
      percent(shareAfter),
    ]),
    footer: [
      `Moves ${output.size(movedBytes)}, ${percent(movedShare)} of all copies, in about ${durationText(seconds * 1000)} at ${rate}`,
      `Balance: the fullest peer has ${balance.toFixed(2)} times its share${fullest === null ? "" : ` and is ${percent(fullest.use)} full`}`,
      ...(fullest === null || fullest.use < fullUse
        ? []
        : [`Too little room: writes would be refused while data moves, or after it. Add peers first`]),
      ...domains.map(
        ({ domain, apart }) =>
          `Copies in different failure domains of kind ${domain}: ${percent(apart)} of blocks`,
      ),
      ...(stalledVolumes.length === 0
        ? []
        : [`These volumes need more copies and would stall: ${stalledVolumes.join(", ")}`]),
    ],
  });
}

/** Copies of a block there really are. */
function placed(ring: Ring): number {
  return Math.min(ring.replicas, ring.members.length);
}

/** Each peer's share of all copies. */
function sharesOf(ring: Ring, refs: ReturnType<typeof sampleRefs>): Map<PeerId, number> {
  const counts = new Map<PeerId, number>();
  for (const ref of refs) for (const peer of ring.holders(ref)) counts.set(peer, (counts.get(peer) ?? 0) + 1);
  const total = Math.max(1, refs.length * placed(ring));
  return new Map([...counts].map(([peer, count]) => [peer, count / total]));
}

/** How many times its fair share, by weight, the fullest peer has. */
function balanceOf(ring: Ring, shares: ReadonlyMap<PeerId, number>): number {
  const weights = ring.members.reduce((sum, { weight }) => sum + weight, 0);
  return Math.max(
    0,
    ...ring.members.map(({ peer, weight }) => ((shares.get(peer) ?? 0) * weights) / Math.max(weight, 1e-9)),
  );
}

/** For each kind of failure domain that every member names: the share of blocks whose copies are all in different ones. */
function domainsOf(ring: Ring, refs: ReturnType<typeof sampleRefs>): { domain: string; apart: number }[] {
  const labels = new Map(ring.members.map((member) => [member.peer, member.labels]));
  return failureDomains
    .filter((domain) => ring.members.length > 0 && ring.members.every((member) => domain in member.labels))
    .map((domain) => {
      const apart = refs.filter((ref) => {
        const holders = ring.holders(ref);
        return new Set(holders.map((peer) => labels.get(peer)?.[domain])).size === holders.length;
      });
      return { domain, apart: apart.length / refs.length };
    });
}
