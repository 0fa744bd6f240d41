// torusctl peer drain: moving everything away from a peer before it goes.

import { type Command, Option } from "commander";
import { sleep } from "#host";
import { systemClock } from "#host/node";
import type { ClusterMetadata, PeerListing, PeerStatus } from "#metadata";
import { TorusError } from "#model";
import { plainRing, removeMembers } from "#ring";
import { ProgressLine } from "../shared/progress-line.ts";
import type { TorusctlContext } from "./context.ts";
import { changeRing, findPeers } from "./ring-change.ts";
import { neededBecause } from "./upkeep-status.ts";

const drainExamples = `
The peer leaves the ring at once: new blocks go to others, and what it holds moves to them while it serves. It must keep running until
it is said to be safe to remove. Called again it only looks, or waits.

Examples:
  torusctl peer drain 10.0.0.5:4321 --wait     ends when its torusd may be stopped for good
  torusctl peer drain 10.0.0.5:4321            then look with peer list, or call it again`;

const pollMs = 1000;

interface DrainFlags {
  readonly wait?: boolean;
  readonly force?: boolean;
}

export function addDrainCommand(peer: Command, context: TorusctlContext): void {
  peer
    .command("drain")
    .summary("move everything away from a peer, and say when it may go")
    .description("Takes a peer out of the ring and tells when nobody needs what it holds any more.")
    .argument("<peer>", "ADDRESS or UUID")
    .addOption(new Option("--wait", "until it is safe to remove, telling how far it is"))
    .addOption(new Option("--force", "also when fewer peers than copies are left"))
    .addHelpText("after", drainExamples)
    .action((name: string, flags: DrainFlags) =>
      context.withCluster((cluster) => drainPeer(cluster, name, flags, context)),
    );
}

async function drainPeer(
  cluster: ClusterMetadata,
  name: string,
  flags: DrainFlags,
  context: TorusctlContext,
): Promise<void> {
  const { output, io } = context;
  const listing = await cluster.peers.list();
  const [found] = findPeers(listing, [name]);
  const shown = found.record?.address ?? found.peer;
  if (found.alive === null) {
    throw new TorusError(
      "unavailable",
      `peer ${shown} is DOWN, so it cannot hand over what it holds: start it, or use torusctl peer remove`,
    );
  }
  const isMember = plainRing(listing.ring).members.some(({ peer }) => peer === found.peer);
  if (isMember) {
    const next = removeMembers(listing.ring, [found.peer]);
    const told = await changeRing(cluster, listing.ring, next, {
      output,
      force: flags.force ?? false,
      did: `draining ${shown}`,
    });
    // Programs are told one thing: how it ended.
    if (output.format === "table") output.print(told);
  }
  const progress = new ProgressLine({ isTerminal: io.errIsTerminal }, { clock: systemClock, write: io.err });
  let reason = await whyNeeded(cluster, found);
  for (; flags.wait === true && reason !== null; reason = await whyNeeded(cluster, found)) {
    progress.say(`${shown}: ${reason}`);
    await sleep(systemClock, pollMs);
  }
  progress.end();
  output.print({
    json: { peer: found.peer, safe: reason === null, reason },
    message:
      reason === null
        ? `${shown} is safe to remove: stop its torusd, then torusctl peer remove ${shown}`
        : `${shown} is not yet safe to remove: ${reason}`,
  });
}

async function whyNeeded(cluster: ClusterMetadata, { peer }: PeerStatus): Promise<string | null> {
  const { ring, peers }: PeerListing = await cluster.peers.list();
  const status = peers.find((each) => each.peer === peer);
  return status === undefined ? null : neededBecause(status, ring);
}
