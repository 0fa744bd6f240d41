// torusctl peer: the storage daemons, and which of them hold data.

import { type Command, Option } from "commander";
import { systemClock } from "#host/node";
import type { ClusterMetadata, PeerListing, PeerStatus, ScrubRequestRecord } from "#metadata";
import { type PeerId, TorusError } from "#model";
import { addMembers, plainRing, removeMembers } from "#ring";
import type { Colour, Column } from "../shared/table.ts";
import type { TorusctlContext } from "./context.ts";
import { addDrainCommand } from "./drain-command.ts";
import { addRebalanceCommand } from "./rebalance-command.ts";
import { findPeers, memberOf, putRingInForce } from "./ring-change.ts";
import { addScrubCommand } from "./scrub-command.ts";
import { scrubJson, scrubText } from "./scrub-status.ts";
import { upkeepCell } from "./upkeep-status.ts";

const listExamples = `
Columns: MEMBER is OK (in the ring and alive), Avail (alive, not in the ring) or DOWN (no heartbeat). USED of SIZE is what
its store has taken, DEAD what of it is needed no more and goes soon; UPDATED is its last heartbeat. REB/REP is how far it is with moving
its blocks: ok when all are where the ring wants them, else how much of them it has looked at and how long the rest may take, or what it waits for.
What peer scrub asked for, and what came of it, is told below.

Examples:
  torusctl peer list
  torusctl peer list --csv --si
  torusctl peer list -o json`;

const addExamples = `
A peer is named by its address, its UUID, or the start of it. Its share of the data follows its size, its labels (zone, rack, host)
keep copies apart. Data moves to it in the background.

Examples:
  torusctl peer add 10.0.0.5:4321
  torusctl peer add 6f1c1f0e 9a2b7d31
  torusctl peer add --all-peers        every peer that is Avail`;

const removeExamples = `
A peer that is removed keeps its data until the others have it. One that is down and not in the ring any more is forgotten.

Examples:
  torusctl peer remove 10.0.0.5:4321
  torusctl peer remove 6f1c1f0e --force    also when fewer peers than copies are left`;

interface AddFlags {
  readonly allPeers?: boolean;
  readonly force?: boolean;
}

export function addPeerCommands(program: Command, context: TorusctlContext): void {
  const peer = program
    .command("peer")
    .helpCommand(false)
    .summary("list, add and remove storage daemons")
    .description("Lists the storage daemons (peers), and changes which of them hold data.");
  addListCommand(peer.command("list"), context);
  addListCommand(program.command("list-peers"), context);
  peer
    .command("add")
    .summary("let peers hold data")
    .description("Adds peers to the ring: they hold data from now on.")
    .argument("[peers...]", "ADDRESS or UUID")
    .addOption(new Option("--all-peers", "every peer that is alive and not in the ring"))
    .addOption(new Option("--force", "also a peer that says it is not well"))
    .addHelpText("after", addExamples)
    .action((names: string[], flags: AddFlags) =>
      context.withCluster((cluster) => addPeers(cluster, names, flags, context)),
    );
  peer
    .command("remove")
    .summary("take peers out of the ring")
    .description("Removes peers from the ring: what they hold moves to the others.")
    .argument("<peers...>", "ADDRESS or UUID")
    .addOption(new Option("--force", "also when fewer peers than copies are left"))
    .addHelpText("after", removeExamples)
    .action((names: string[], flags: { force?: boolean }) =>
      context.withCluster((cluster) => removePeers(cluster, names, flags.force ?? false, context)),
    );
  addDrainCommand(peer, context);
  addRebalanceCommand(peer, context);
  addScrubCommand(peer.command("scrub"), context);
}

/** Away for good, or only just gone: who is out of the ring for it, and who soon will be. */
function absenceLines({ peers }: PeerListing): string[] {
  const out = peers.filter(({ removed, alive }) => removed !== null && alive === null);
  if (out.length === 0) return [];
  const names = out.map(({ record, peer }) => record?.address ?? peer).join(", ");
  return [
    `Taken out of the ring, having been away too long: ${names}. They enter it again when they return.`,
  ];
}

function addListCommand(command: Command, context: TorusctlContext): void {
  command
    .summary("the peers, their size and state")
    .description("Lists every peer that has registered or is in the ring.")
    .addHelpText("after", listExamples)
    .action(() =>
      context.withCluster(async (cluster) => {
        const scrubs = await cluster.scrubs.list();
        listPeers(await cluster.peers.list(), scrubs, context);
      }),
    );
}

type Scrubs = ReadonlyMap<PeerId, ScrubRequestRecord>;

const memberColours: Readonly<Record<string, Colour>> = { OK: "green", DOWN: "red" };

const columns: readonly Column[] = [
  { title: "ADDRESS" },
  { title: "UUID" },
  { title: "SIZE", align: "right" },
  { title: "USED", align: "right" },
  { title: "DEAD", align: "right" },
  { title: "MEMBER", colour: (cell) => memberColours[cell] ?? null },
  { title: "UPDATED" },
  { title: "BLOCKS", align: "right" },
  { title: "REB/REP" },
  { title: "CONDITION", colour: (cell) => (cell === "ok" || cell === "-" ? null : "red") },
];

function listPeers(listing: PeerListing, scrubs: Scrubs, context: TorusctlContext): void {
  const { output } = context;
  const nowMs = systemClock.wallMs();
  const members = listing.peers.filter((status) => status.inRing);
  const sizeBytes = members.reduce((sum, { record }) => sum + (record?.sizeBytes ?? 0), 0);
  const usedBytes = members.reduce((sum, { alive }) => sum + (alive?.usedBytes ?? 0), 0);
  const balanced = listing.ring.type !== "union";
  const { version, type, replicas } = listing.ring;
  output.print({
    json: {
      revision: listing.revision,
      ring: { version, type, replicas },
      balanced,
      sizeBytes,
      usedBytes,
      peers: listing.peers.map((status) => peerJson(status, scrubs)),
    },
    columns,
    rows: listing.peers.map(({ peer, record, alive, membership }) => [
      record?.address ?? "-",
      peer,
      record === null ? "-" : output.size(record.sizeBytes),
      alive === null ? "-" : output.size(alive.usedBytes),
      alive?.collected == null ? "-" : output.size(alive.collected.reclaimableBytes),
      membership,
      alive === null ? "-" : output.time(alive.updatedMs, nowMs),
      alive === null ? "-" : `${alive.blocks}`,
      upkeepCell(alive?.upkeep ?? null),
      alive?.condition ?? "-",
    ]),
    footer: [
      `Balanced: ${balanced ? "yes" : `no, data is moving to ring version ${version}`}   Usage: ${sizeBytes === 0 ? "0.0" : ((100 * usedBytes) / sizeBytes).toFixed(1)}% of ${output.size(sizeBytes)}`,
      ...absenceLines(listing),
      ...scrubLines(scrubs, (askedMs) => output.time(askedMs, nowMs)),
    ],
  });
}

/** What peers were asked to look at, and how far they are, or what they found. */
function scrubLines(scrubs: Scrubs, timeText: (atMs: number) => string): string[] {
  const requests = [...scrubs.values()];
  if (requests.length === 0) return [];
  const askedMs = Math.max(...requests.map((request) => request.askedMs));
  return [`Asked to scrub, last ${timeText(askedMs)}: ${scrubText(requests)}`];
}

function peerJson({ peer, record, alive, inRing, membership }: PeerStatus, scrubs: Scrubs): object {
  const asked = scrubs.get(peer);
  return {
    peer,
    address: record?.address ?? null,
    member: membership,
    inRing,
    sizeBytes: record?.sizeBytes ?? null,
    labels: record?.labels ?? {},
    usedBytes: alive?.usedBytes ?? null,
    neededBytes: alive?.collected?.neededBytes ?? null,
    reclaimableBytes: alive?.collected?.reclaimableBytes ?? null,
    scrub: alive?.scrub ?? null,
    scrubAsked: asked === undefined ? null : scrubJson(asked),
    blocks: alive?.blocks ?? null,
    updatedMs: alive?.updatedMs ?? null,
    condition: alive?.condition ?? null,
    incarnation: alive?.incarnation ?? null,
    upkeep: alive?.upkeep ?? null,
  };
}

async function addPeers(
  cluster: ClusterMetadata,
  names: string[],
  flags: AddFlags,
  context: TorusctlContext,
): Promise<void> {
  const all = flags.allPeers ?? false;
  if (all === names.length > 0) {
    throw new TorusError(
      "invalid-argument",
      "name the peers to add, or use --all-peers for every one that is Avail",
    );
  }
  const listing = await cluster.peers.list();
  const added = all
    ? listing.peers.filter((status) => status.membership === "Avail")
    : findPeers(listing, names);
  for (const status of added) requireAddable(status, flags.force ?? false);
  if (added.length === 0) {
    const waiting = listing.peers.some((status) => status.inRing)
      ? "every peer that is alive is in the ring already"
      : "no peer is alive: start torusd";
    context.output.print({
      json: { ring: listing.ring, moving: listing.ring.type === "union", movedShare: 0 },
      message: `nothing to add: ${waiting}`,
    });
    return;
  }
  const next = addMembers(listing.ring, added.map(memberOf));
  // Adding never leaves fewer peers than there were, so there is nothing to refuse.
  const did = `added ${added.map((status) => status.record?.address).join(", ")}`;
  await putRingInForce(cluster, listing.ring, next, { output: context.output, force: true, did });
}

function requireAddable({ peer, record, membership, inRing, alive }: PeerStatus, force: boolean): void {
  const shown = `${record?.address ?? "?"} (${peer})`;
  if (inRing) throw new TorusError("already-exists", `peer ${shown} is in the ring already`);
  if (membership === "DOWN")
    throw new TorusError("unavailable", `peer ${shown} is DOWN: start its torusd, then add it`);
  if (alive !== null && alive.condition !== "ok" && !force) {
    throw new TorusError(
      "unavailable",
      `peer ${shown} is not well (${alive.condition}): repair it first, or use --force`,
    );
  }
}

async function removePeers(
  cluster: ClusterMetadata,
  names: string[],
  force: boolean,
  context: TorusctlContext,
): Promise<void> {
  const listing = await cluster.peers.list();
  const { output } = context;
  const found = findPeers(listing, names);
  // A union's old members are no members of what new blocks follow: they were removed before.
  const members = new Set(plainRing(listing.ring).members.map((member) => member.peer));
  const removed = found.filter((status) => members.has(status.peer));
  const others = found.filter((status) => !members.has(status.peer));
  const shown = (statuses: PeerStatus[]) =>
    statuses.map((status) => status.record?.address ?? status.peer).join(", ");
  const forgotten = others.filter((status) => !status.inRing && status.alive === null);
  const wrong = others.filter((status) => !forgotten.includes(status));
  if (wrong.length > 0) {
    const reason = wrong.some((status) => status.inRing)
      ? "removed already, its data is still moving to the others"
      : "not in the ring; there is nothing to remove";
    throw new TorusError("invalid-argument", `${shown(wrong)}: ${reason}`);
  }
  if (removed.length > 0) {
    const next = removeMembers(
      listing.ring,
      removed.map((status) => status.peer),
    );
    await putRingInForce(cluster, listing.ring, next, { output, force, did: `removed ${shown(removed)}` });
  }
  for (const status of forgotten) await cluster.peers.forget(status.peer);
  if (forgotten.length > 0 && removed.length === 0) {
    output.print({
      json: { forgotten: forgotten.map((status) => status.peer) },
      message: `forgot ${shown(forgotten)}`,
    });
  }
}
