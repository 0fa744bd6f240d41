// torusctl peer scrub: has peers look at all their blocks now, and tells what they find.

import { type Command, Option } from "commander";
import { sleep } from "#host";
import { systemClock, systemRandom } from "#host/node";
import type { ClusterMetadata, PeerListing, PeerStatus } from "#metadata";
import { TorusError } from "#model";
import { ProgressLine } from "../shared/progress-line.ts";
import type { TorusctlContext } from "./context.ts";
import { findPeers } from "./ring-change.ts";
import type { AskedPeer } from "./scrub-status.ts";
import { remainingText, scrubCell, scrubJson, scrubText, scrubTotals } from "./scrub-status.ts";

const scrubExamples = `
A peer reads every sealed block it keeps and compares it with the checksum its writer gave it, as it does once in its --scrub-period anyway; what is
damaged is put right from the others. It makes room for users. The request is kept: a peer that restarts goes on, and what it answers is in peer list.
A peer that was asked before and is not done yet goes on with that. With --wait it ends with 1 when blocks are damaged of which no good copy is within reach.

Examples:
  torusctl peer scrub --wait                 every peer that is alive
  torusctl peer scrub 10.0.0.5:4321 6f1c1f0e
  torusctl peer scrub --wait -o json`;

const pollMs = 1000;

interface ScrubFlags {
  readonly wait?: boolean;
}

export function addScrubCommand(command: Command, context: TorusctlContext): void {
  command
    .summary("have peers verify all their blocks now")
    .description("Asks peers to verify all their blocks now, and to repair what is damaged.")
    .argument("[peers...]", "ADDRESS or UUID; every peer that is alive without")
    .addOption(new Option("--wait", "until they are done, telling how far they are"))
    .addHelpText("after", scrubExamples)
    .action((names: string[], flags: ScrubFlags) =>
      context.withCluster((cluster) => scrubPeers(cluster, names, flags.wait ?? false, context)),
    );
}

async function scrubPeers(
  cluster: ClusterMetadata,
  names: readonly string[],
  isWaiting: boolean,
  context: TorusctlContext,
): Promise<void> {
  const statuses = chosenPeers(await cluster.peers.list(), names, context);
  let asked: AskedPeer[] = [];
  for (const status of statuses) {
    const request = await cluster.scrubs.ask(status.peer, systemRandom.uuid(), systemClock.wallMs());
    asked.push({ status, request });
  }
  if (isWaiting) asked = await untilEnded(cluster, statuses, context);
  const requests = asked.map(({ request }) => request);
  const hint = "look with torusctl peer list, or call it again with --wait";
  context.output.print({
    json: {
      peers: asked.map(({ status, request }) => ({
        peer: status.peer,
        address: status.record?.address ?? null,
        ...scrubJson(request),
      })),
    },
    columns: [
      { title: "ADDRESS" },
      { title: "UUID" },
      { title: "SCRUB" },
      { title: "FOUND", align: "right" },
      { title: "REPAIRED", align: "right" },
      { title: "UNREPAIRABLE", align: "right" },
    ],
    rows: asked.map(({ status, request }) => [
      status.record?.address ?? "-",
      status.peer,
      scrubCell(request),
      `${request.answer?.found ?? 0}`,
      `${request.answer?.repaired ?? 0}`,
      `${request.answer?.unrepairable ?? 0}`,
    ]),
    footer: isWaiting ? [] : [`Peers begin within seconds: ${hint}`],
  });
  const { unrepairable } = scrubTotals(requests);
  if (!isWaiting || unrepairable === 0) return;
  throw new TorusError(
    "corrupt",
    `there is no good copy within reach of ${unrepairable} damaged block${unrepairable === 1 ? "" : "s"}: start the peers that are DOWN; they are tried again every minute`,
  );
}

/** Only those that are alive can look; who is named must be. */
function chosenPeers(
  listing: PeerListing,
  names: readonly string[],
  { output }: TorusctlContext,
): PeerStatus[] {
  const statuses = names.length === 0 ? [...listing.peers] : findPeers(listing, names);
  const down = statuses.filter(({ alive }) => alive === null);
  const shown = down.map(({ record, peer }) => record?.address ?? peer).join(", ");
  if (names.length > 0 && down.length > 0)
    throw new TorusError("unavailable", `peers that are DOWN cannot scrub: start the torusd of ${shown}`);
  const chosen = statuses.filter((status) => !down.includes(status));
  if (chosen.length === 0)
    throw new TorusError("unavailable", "no peer is alive, so none can scrub: start torusd");
  if (down.length > 0) output.warn(`DOWN, and not asked: ${shown}`);
  return chosen;
}

async function untilEnded(
  cluster: ClusterMetadata,
  statuses: readonly PeerStatus[],
  { io }: TorusctlContext,
): Promise<AskedPeer[]> {
  const progress = new ProgressLine({ isTerminal: io.errIsTerminal }, { clock: systemClock, write: io.err });
  for (;;) {
    const requests = await cluster.scrubs.list();
    const { peers } = await cluster.peers.list();
    const asked = statuses.map((status): AskedPeer => {
      const request = requests.get(status.peer);
      if (request !== undefined) return { status, request };
      throw new TorusError("not-found", `peer ${status.peer} was forgotten before it was done`);
    });
    const waiting = asked.filter(({ request }) => request.answer?.ended !== true);
    if (waiting.length === 0) {
      progress.end();
      return asked;
    }
    const down = waiting.filter(
      ({ status }) => peers.find(({ peer }) => peer === status.peer)?.alive == null,
    );
    const all = asked.map(({ request }) => request);
    const names = down.map(({ status }) => status.record?.address ?? status.peer).join(", ");
    const waits = down.length === 0 ? "" : `; waits for ${names}, DOWN`;
    progress.say(`${scrubText(all)}${waits}${remainingText(all)}`);
    await sleep(systemClock, pollMs);
  }
}
