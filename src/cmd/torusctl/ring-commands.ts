// torusctl ring: the function from blocks to peers.

import { type Command, Option } from "commander";
import type { ClusterMetadata, PeerListing } from "#metadata";
import { replicasMax, TorusError } from "#model";
import {
  createRing,
  decodeRingDescription,
  plainRing,
  type RingDescription,
  type RingMember,
  type RingType,
  setReplicas,
} from "#ring";
import { parseCount } from "./arguments.ts";
import type { TorusctlContext } from "./context.ts";
import { findPeers, memberOf, putRingInForce } from "./ring-change.ts";
import { addPlanCommand } from "./ring-plan.ts";

interface ManualFlags {
  readonly type?: Exclude<RingType, "union">;
  readonly uuids?: string[];
  readonly allPeers?: boolean;
  readonly replication?: number;
  readonly force?: boolean;
}

const getExamples = `
SHARE is the part of all data a peer should hold.

Examples:
  torusctl ring get
  torusctl ring get -o json     the whole description, of a union with both its parts`;

const replicationExamples = `
Examples:
  torusctl ring set-replication 3
  torusctl ring set-replication 1 --force     also below what volumes ask for`;

const manualExamples = `
Says what the next ring is; what is not said stays as it is. Usually peer add and peer remove are what you want.

Examples:
  torusctl ring manual-change --all-peers                       every peer that is alive
  torusctl ring manual-change --uuids 6f1c1f0e,9a2b7d31 -r 2    exactly these
  torusctl ring manual-change --type ketama                     the same peers in another kind of ring`;

export function addRingCommands(program: Command, context: TorusctlContext): void {
  const ring = program
    .command("ring")
    .helpCommand(false)
    .summary("show and change where blocks go")
    .description("Shows and changes the ring: the function from a block to the peers that hold it.");
  ring
    .command("get")
    .summary("the ring in force")
    .description("Shows the ring in force.")
    .addHelpText("after", getExamples)
    .action(() => context.withCluster(async (cluster) => showRing(await cluster.peers.list(), context)));
  ring
    .command("set-replication")
    .summary("how many copies of each block")
    .description(
      "Sets how many copies of each block there are. Copies are made, or dropped, in the background.",
    )
    .argument("<n>", "copies", parseCount("replication", 1, replicasMax))
    .addOption(new Option("--force", "also above the number of peers, or below what volumes ask for"))
    .addHelpText("after", replicationExamples)
    .action((replicas: number, flags: { force?: boolean }) =>
      context.withCluster(async (cluster) => {
        const current = await cluster.rings.current();
        const options = {
          output: context.output,
          force: flags.force ?? false,
          did: `set replication to ${replicas}`,
        };
        await putRingInForce(cluster, current, setReplicas(current, replicas), options);
      }),
    );
  ring
    .command("manual-change")
    .summary("say what the next ring is")
    .description("Makes the next ring from what is given, instead of by adding and removing peers.")
    .addOption(
      new Option("--type <type>", "kind of ring").choices(["empty", "single", "mod", "ketama", "rendezvous"]),
    )
    .addOption(
      new Option("--uuids <uuids>", "its peers, with commas between").argParser((text: string) =>
        text.split(",").filter(Boolean),
      ),
    )
    .addOption(new Option("--all-peers", "every peer that is alive").conflicts("uuids"))
    .addOption(
      new Option("-r, --replication <n>", "copies of each block").argParser(
        parseCount("--replication", 1, replicasMax),
      ),
    )
    .addOption(new Option("--force", "also when fewer peers than copies are left"))
    .addHelpText("after", manualExamples)
    .action((flags: ManualFlags) => context.withCluster((cluster) => manualChange(cluster, flags, context)));
  addPlanCommand(ring, context);
}

function showRing(listing: PeerListing, context: TorusctlContext): void {
  const { ring, peers } = listing;
  const plain = plainRing(ring);
  const total = plain.members.reduce((sum, member) => sum + member.weight, 0);
  const addresses = new Map(peers.map((status) => [status.peer, status.record?.address ?? "-"]));
  const labelsOf = (member: RingMember) =>
    Object.entries(member.labels)
      .map(([name, value]) => `${name}=${value}`)
      .join(" ");
  context.output.print({
    json: ring,
    header: [createRing(ring).describe()],
    columns: [
      { title: "UUID" },
      { title: "ADDRESS" },
      { title: "SHARE", align: "right" },
      { title: "LABELS" },
    ],
    rows: plain.members.map((member) => [
      member.peer,
      addresses.get(member.peer) ?? "-",
      `${((100 * member.weight) / total).toFixed(1)}%`,
      labelsOf(member) || "-",
    ]),
  });
}

async function manualChange(
  cluster: ClusterMetadata,
  flags: ManualFlags,
  context: TorusctlContext,
): Promise<void> {
  const { type, uuids, allPeers = false, replication, force = false } = flags;
  if (type === undefined && uuids === undefined && !allPeers && replication === undefined) {
    throw new TorusError(
      "invalid-argument",
      "say what to change: --type, --uuids, --all-peers or --replication",
    );
  }
  const listing = await cluster.peers.list();
  const current = plainRing(listing.ring);
  const members = chooseMembers(listing, current, flags);
  const next = decodeRingDescription({
    version: listing.ring.version + 1,
    type: type ?? (current.type === "empty" && members.length > 0 ? "rendezvous" : current.type),
    replicas: replication ?? current.replicas,
    members,
  });
  await putRingInForce(cluster, listing.ring, next, {
    output: context.output,
    force,
    did: "changed the ring",
  });
}

function chooseMembers(
  listing: PeerListing,
  current: RingDescription,
  flags: ManualFlags,
): readonly RingMember[] {
  if (flags.type === "empty" && flags.uuids === undefined && !flags.allPeers) return [];
  if (flags.uuids !== undefined) return findPeers(listing, flags.uuids).map(memberOf);
  if (flags.allPeers) return listing.peers.filter((status) => status.alive !== null).map(memberOf);
  return current.members;
}
