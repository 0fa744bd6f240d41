// Attaching under metadata that went back, or that was adopted after it had [C7].
//
// A peer that has a newer epoch than the metadata proves that the metadata went back: every epoch is taken there before any peer hears of
// it. Whoever meets such a peer raises the alarm, so that nobody takes up epoch after epoch until one fits.
//
// Under adopted metadata head and logmap may be older than the log on the peers: its logmap does not know who was struck since, or
// which rings blocks were placed by, and the collector may have taken what the newer INodes did not need. So the first recovery trusts
// none of it: every peer must answer, any may hold any block, and every block the INode needs must be there before anything is served.

import type { ClusterMetadata, VolumeState, WriterAttachment } from "#metadata";
import type { BlockStore, PeerId } from "#model";
import { blockRefKey, isTorusError, messageOf, metadataBehind, TorusError } from "#model";
import type { BlockTable } from "./block-table.ts";
import type { ClusterView } from "./cluster-view.ts";
import type { ExtentMap } from "./extent-map.ts";
import { leafPages } from "./inode-codec.ts";

const statRefs = 4096;
const namedMax = 5;

/**
 * The peers that must all answer, any of which may hold any block of the log, when the volume's head is from before an adoption; null when
 * head and logmap can be trusted.
 */
export function peersOfAdopted(state: VolumeState, view: ClusterView): readonly PeerId[] | null {
  const { adopted, head, logmap } = state;
  if (adopted === null || (head !== null && head.epoch >= adopted.epoch)) return null;
  const versions = [view.ring.version, ...(logmap?.rows.map((row) => row.ringVersion) ?? [])];
  const members = versions.flatMap((version) => view.ringOf(version).members.map(({ peer }) => peer));
  const peers = new Set([...view.registered, ...members]);
  return [...peers].filter((peer) => !adopted.without.includes(peer)).sort();
}

export interface WholenessDeps {
  readonly map: ExtentMap;
  readonly table: BlockTable;
  readonly storeOf: (peer: PeerId) => BlockStore;
  /** Says where reads look. */
  readonly view: ClusterView;
}

/** Rejects with `corrupt` unless all that the INode needs is at some of `peers` where reads look for it. */
export async function requireWhole(peers: readonly PeerId[], deps: WholenessDeps): Promise<void> {
  const { map, table, storeOf, view } = deps;
  // Reading a leaf proves that it is there.
  for (let page = await map.nextMapped(0); page !== Number.POSITIVE_INFINITY; ) {
    await map.load(page);
    page = await map.nextMapped((Math.floor(page / leafPages) + 1) * leafPages);
  }
  const needed = [...table.ids()]
    .map((id) => table.entry(id))
    .filter((entry) => entry?.sealed === true && entry.live > 0)
    .map((entry) => entry as NonNullable<typeof entry>);
  const missing = new Map(needed.map((entry) => [blockRefKey(entry.ref), entry]));
  const elsewhere = new Map<string, PeerId>();
  for (const peer of peers) {
    const asked = [...missing.values()];
    for (let from = 0; from < asked.length; from += statRefs) {
      const part = asked.slice(from, from + statRefs);
      const refs = part.map(({ ref }) => ref);
      const statuses = await storeOf(peer).stat(refs).catch(rejectIncomplete(peer));
      for (const [at, { state, held, checksum }] of statuses.entries()) {
        const { ref, length, checksum: sum } = part[at];
        if (state !== "sealed" || held !== length || checksum !== sum) continue;
        if (view.candidatesOf(ref).includes(peer)) missing.delete(blockRefKey(ref));
        else elsewhere.set(blockRefKey(ref), peer);
      }
    }
  }
  if (missing.size > 0) throw incompleteInode([...missing.keys()], elsewhere);
}

/** Whoever does not say what it has must be waited for, whatever ails it. */
function rejectIncomplete(peer: PeerId): (error: unknown) => never {
  return (error) => {
    const message = `peer ${peer} does not say what it has of the volume: ${messageOf(error)}`;
    throw new TorusError("incomplete", message, { waitingFor: [peer] }, { cause: error });
  };
}

function incompleteInode(missing: readonly string[], elsewhere: ReadonlyMap<string, PeerId>): TorusError {
  const named = `${missing.slice(0, namedMax).join(", ")}${missing.length > namedMax ? ", …" : ""}`;
  const outside = [...new Set(missing.flatMap((key) => elsewhere.get(key) ?? []))];
  if (outside.length > 0) {
    return new TorusError(
      "incomplete",
      `${missing.length} blocks it needs (${named}) are at peers that are in no ring: add them with torusctl peer add ${outside.join(" ")}`,
      { waitingFor: outside },
    );
  }
  return new TorusError("corrupt", `no peer has ${missing.length} of the blocks it needs (${named})`);
}

/** What `error` of an attach means. `isOld`: the volume's head is from before an adoption. */
export async function explainFailure(
  error: unknown,
  isOld: boolean,
  attachment: WriterAttachment,
  metadata: ClusterMetadata,
): Promise<unknown> {
  if (isTorusError(error, "fenced")) return explainRefusal(error, attachment, metadata);
  if (isTorusError(error, "metadata-behind")) return raiseAlarm(error, attachment, metadata);
  if (!isOld || !isTorusError(error, "corrupt", "incomplete")) return error;
  const { name } = attachment;
  const message = isTorusError(error, "corrupt")
    ? `volume "${name}" cannot be had as of the backup: ${error.message}. What it was then was given up after the backup was made: put back a newer backup, or delete the volume`
    : `${messageOf(error)}. The first attach of volume "${name}" after metadata was adopted needs every peer; name those that are lost for good with torusctl metadata adopt --without`;
  return new TorusError(error.code, message, error.details, { cause: error });
}

/** The refusal of a fence is `metadata-behind` where the metadata is older than what the peer has seen. */
async function explainRefusal(
  error: TorusError,
  attachment: WriterAttachment,
  metadata: ClusterMetadata,
): Promise<TorusError> {
  const { epoch, peer, used } = error.details;
  if (typeof epoch !== "number" || typeof peer !== "string") return error;
  try {
    const { view } = await metadata.adoption.look();
    const { writer } = await metadata.volumes.load(attachment.volume);
    if (epoch < writer.epoch || (epoch === writer.epoch && used !== true)) return error;
    const there = used === true ? "was written in" : "knows";
    const reason = `volume "${attachment.name}" is at epoch ${writer.epoch} in it, and peer ${peer} ${there} epoch ${epoch} already`;
    await report(reason, view.generation, attachment, metadata);
    return metadataBehind(reason);
  } catch (failure) {
    if (!isTorusError(failure)) throw failure;
    return error;
  }
}

/** A peer has seen newer metadata than a read begun after that (FenceDecision), and may not have looked at what there is now. */
async function raiseAlarm(
  error: TorusError,
  attachment: WriterAttachment,
  metadata: ClusterMetadata,
): Promise<TorusError> {
  const { reason, peer, decidedGeneration } = error.details;
  if (typeof reason === "string" && typeof decidedGeneration === "number")
    await report(`${reason} (peer ${peer})`, decidedGeneration, attachment, metadata);
  return error;
}

/** Without the alarm the next attach meets the same peer. If it cannot be raised, that one will try. */
async function report(
  reason: string,
  generation: number,
  { holder }: WriterAttachment,
  { adoption }: ClusterMetadata,
): Promise<void> {
  await adoption.report(reason, holder, generation).catch((failure: unknown) => {
    if (!isTorusError(failure)) throw failure;
  });
}
