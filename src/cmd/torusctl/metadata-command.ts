// torusctl metadata adopt: takes metadata that went back for good, after every peer has said what it has seen.

import { type Command, Option } from "commander";
import type { AskedPeersDeps } from "#client";
import { systemClock } from "#host/node";
import type { AdoptionPlan, ClusterMetadata, PeerListing, VolumeRise } from "#metadata";
import { planAdoption } from "#metadata";
import { type PeerId, TorusError } from "#model";
import type { Column } from "../shared/table.ts";
import type { TorusctlContext } from "./context.ts";
import { askWitnesses, awaitAcceptance, peersToAsk } from "./peer-witnesses.ts";
import { findPeers } from "./ring-change.ts";

interface AdoptFlags {
  readonly dryRun?: boolean;
  readonly anyway?: boolean;
  readonly yesIAmSure?: boolean;
  readonly without?: readonly string[];
}

const examples = `
Metadata went back when an older state of it is in force: etcd was restored from a backup, the file of a database was put back. Peers notice,
and refuse to change anything; nobody can attach. If there is a newer backup, put that back instead: what the metadata does not know is lost
to the volumes. Otherwise stop every torusblk, start every torusd, and adopt what there is:

  torusctl metadata adopt --dry-run           what would change, and what is lost
  torusctl metadata adopt
  torusctl metadata adopt --without 6f1c1f0e  a peer that is lost for good need not answer
  torusctl metadata adopt --anyway            a backup was put back, and no peer has noticed

Every epoch, the last volume id and the ring's version rise above all that the peers have seen, so that nothing is ever used twice. Volumes
that peers have blocks of and the metadata does not know are kept and listed. Nothing is deleted.`;

export function addMetadataCommands(program: Command, context: TorusctlContext): void {
  const metadata = program
    .command("metadata")
    .helpCommand(false)
    .summary("take metadata that went back")
    .description("What to do when the metadata service lost what it had.");
  metadata
    .command("adopt")
    .summary("take the metadata there is, after it went back")
    .description(
      "Takes the metadata there is, although peers have seen newer: what it does not know is lost to the volumes.",
    )
    .addOption(new Option("--dry-run", "only show what would change"))
    .addOption(
      new Option(
        "--anyway",
        "also when no peer has seen newer metadata: you know that a backup was put back",
      ),
    )
    .addOption(new Option("--without <peers...>", "peers that are lost for good, by ADDRESS or UUID"))
    .addOption(new Option("--yes-i-am-sure", "do not ask"))
    .addHelpText("after", examples)
    .action((flags: AdoptFlags) => context.withCluster((cluster) => adopt(cluster, flags, context)));
}

async function adopt(cluster: ClusterMetadata, flags: AdoptFlags, context: TorusctlContext): Promise<void> {
  const deps = { cluster, clock: systemClock, log: context.log };
  const shown = await consult(flags, deps);
  if (!shown.plan.isNeeded || flags.dryRun) {
    context.output.print(answerOf(shown, false));
    return;
  }
  if (!flags.yesIAmSure) await confirm(shown, context);
  // From here on nobody attaches; what somebody did until now is asked for again.
  const { from } = shown.plan.generation;
  await cluster.adoption.report("it is being adopted", "torusctl metadata adopt", from);
  const decided = await consult(flags, deps);
  const { plan, without, asked, listing } = decided;
  await cluster.adoption.adopt(plan, without);
  context.output.print(answerOf(decided, true));
  const left = await awaitAcceptance(asked, plan.generation.to, listing, deps);
  if (left.length > 0) context.output.warn(`not every peer takes the metadata yet: ${left.join("; ")}`);
}

interface Consultation {
  readonly plan: AdoptionPlan;
  readonly listing: PeerListing;
  readonly asked: readonly PeerId[];
  readonly without: readonly PeerId[];
}

/** Throws `unavailable` when a peer that was not given up does not answer. */
async function consult(flags: AdoptFlags, deps: AskedPeersDeps): Promise<Consultation> {
  const { cluster } = deps;
  const listing = await cluster.peers.list();
  const snapshot = await cluster.snapshot();
  const everyone = peersToAsk(listing, snapshot, await cluster.rings.versions());
  const without = (flags.without ?? []).map((name) =>
    everyone.includes(name) ? name : findPeers(listing, [name])[0].peer,
  );
  const asked = everyone.filter((peer) => !without.includes(peer));
  const { testimonies, silent } = await askWitnesses(asked, listing, deps);
  if (silent.length > 0) {
    const named = silent.map(({ peer, reason }) => `${peer} (${reason})`).join(", ");
    throw new TorusError(
      "unavailable",
      `${silent.length} of ${asked.length} peers do not say what they have seen: ${named}. Start them; those that are lost for good are named with --without`,
    );
  }
  const { view, alarm } = await cluster.adoption.look();
  const plan = planAdoption(snapshot, view, alarm?.reason ?? "", testimonies);
  const isNeeded = plan.isNeeded || flags.anyway === true;
  return { plan: { ...plan, isNeeded }, listing, asked, without };
}

async function confirm(shown: Consultation, context: TorusctlContext): Promise<void> {
  const { output, io } = context;
  if (output.format === "table") output.print(answerOf(shown, false));
  const answer = await io.ask(
    "What the metadata does not know is lost to the volumes. Type YES to adopt it: ",
  );
  if (answer === null)
    throw new TorusError("invalid-argument", "nobody is at the terminal to confirm: use --yes-i-am-sure");
  if (answer.trim() !== "YES") throw new TorusError("invalid-argument", "not confirmed: nothing was changed");
}

const columns: readonly Column[] = [
  { title: "VOLUME" },
  { title: "ID", align: "right" },
  { title: "EPOCH" },
  { title: "STATE", colour: (cell) => (cell.includes("is lost") ? "red" : null) },
];

function answerOf({ plan, asked, without }: Consultation, adopted: boolean) {
  const { isNeeded, reasons, volumes, unknown, minter, ring, generation } = plan;
  const asOfMs = plan.asOfMs === 0 ? null : plan.asOfMs;
  const json = {
    needed: isNeeded,
    adopted,
    reasons,
    peers: asked,
    without,
    generation,
    minter,
    ring,
    asOfMs,
    volumes,
    unknown,
  };
  if (!isNeeded) {
    return {
      json,
      message: `nothing to adopt: no peer of ${asked.length} has seen newer metadata than this (if you put a backup back all the same, use --anyway)`,
    };
  }
  const will = adopted ? "" : "would be ";
  return {
    json,
    columns,
    rows: volumes.map((rise) => [
      rise.name,
      `${rise.id}`,
      `${rise.fromEpoch} -> ${rise.toEpoch}`,
      stateOf(rise, asOfMs),
    ]),
    header: reasons.map((reason) => `The metadata went back: ${reason}`),
    footer: [
      ...unknown.map(
        ({ id, epoch, blocks, peers }) =>
          `Unknown volume ${id}: ${blocks} blocks of it, epochs up to ${epoch}, are at ${peers.length} peers. They are kept and never collected.`,
      ),
      `The last volume id ${will}raised from ${minter.from} to ${minter.to}, the ring from version ${ring.from} to ${ring.to}.`,
      adopted
        ? `The metadata was adopted (generation ${generation.to}). Start every torusblk again.`
        : "Nothing was changed.",
    ],
  };
}

/** What the volume is after the adoption. */
function stateOf({ fromEpoch, knownEpoch, headEpoch }: VolumeRise, asOfMs: number | null): string {
  if (knownEpoch === 0) return "never written";
  if (knownEpoch < fromEpoch) return "whole";
  const epochs =
    headEpoch + 1 === knownEpoch ? `epoch ${knownEpoch}` : `epochs ${headEpoch + 1} to ${knownEpoch}`;
  if (knownEpoch === fromEpoch) {
    // It was being attached when the backup was made, or by somebody who died of it.
    const since = "as of the backup, and what its log has since";
    return headEpoch === knownEpoch ? since : `${since}: what was written in ${epochs}, if anything, is lost`;
  }
  const date = asOfMs === null ? "" : ` (made after ${new Date(asOfMs).toISOString()})`;
  return `as of the backup${date}: what was written in ${epochs} is lost, maybe also what came after its last checkpoint in the backup`;
}
