// An audit of a pool: every block of every peer, read whole and summed, against what the ring wants where and what the INodes of all
// volumes need. It asks the peers as any of them would, and trusts none: what a peer says it has is read.

import { Metrics } from "#host";
import { createLog, systemClock, systemNetwork } from "#host/node";
import type { ClusterMetadata, NodePointer } from "#metadata";
import type { BlockRef, BlockStatus, PeerId } from "#model";
import { blockRefKey, crc32 } from "#model";
import { PeerPool } from "#peer";
import { desiredPeers, ringOf, rootsOf, standingOf } from "#upkeep";
import { NeededBlocks } from "#volume";

export interface PoolAudit {
  /** Different blocks that lie somewhere. */
  readonly blocks: number;
  /** Bytes of all copies that were read. */
  readonly bytes: number;
  /** Blocks that an INode needs. */
  readonly needed: number;
  /** Copies by peer. */
  readonly copiesOf: ReadonlyMap<PeerId, number>;
  /** What is not as it should be, a line each: `damaged`, `misplaced`, `missing`. */
  readonly wrong: readonly string[];
  /** Blocks that neither an INode nor the end of a log needs. */
  readonly leaked: readonly string[];
}

interface Found {
  readonly ref: BlockRef;
  readonly copies: { readonly peer: PeerId; readonly status: BlockStatus }[];
}

const listPage = 4096;
const namedMax = 5;

/** Blocks whose place a log decides, and dead ones, are read too, and counted, and not held to the ring. */
export async function auditPool(cluster: ClusterMetadata): Promise<PoolAudit> {
  const { peers } = await cluster.peers.list();
  const addressOf = (id: string): string | null =>
    peers.find(({ peer }) => peer === id)?.record?.address ?? null;
  const { clusterId } = await cluster.load();
  const log = createLog({ level: "silent", name: "audit" });
  const deps = { connect: systemNetwork.connect, clock: systemClock, log, metrics: new Metrics() };
  const pool = new PeerPool({ clusterId }, { ...deps, addressOf });
  try {
    const alive = peers.filter(({ alive }) => alive !== null).map(({ peer }) => peer);
    return await audit(cluster, pool, alive);
  } finally {
    await pool.close();
  }
}

async function audit(cluster: ClusterMetadata, pool: PeerPool, peers: readonly PeerId[]): Promise<PoolAudit> {
  const found = new Map<string, Found>();
  const wrong: string[] = [];
  let bytes = 0;
  for (const peer of peers) {
    for (const status of await listAll(pool, peer)) {
      const key = blockRefKey(status.ref);
      const block = found.get(key) ?? { ref: status.ref, copies: [] };
      block.copies.push({ peer, status });
      found.set(key, block);
      if (status.state !== "sealed") continue;
      bytes += status.held;
      if (!(await isWhole(pool, peer, status))) wrong.push(`damaged: ${key} of peer ${peer}`);
    }
  }
  // What was listed is judged by what was agreed afterwards.
  const snapshot = await cluster.snapshot();
  const needed = await neededBlocks(rootsOf(snapshot), found, pool);
  const ring = ringOf(snapshot);
  const leaked: string[] = [];
  for (const [key, { ref, copies }] of found) {
    const standing = standingOf(ref, snapshot);
    if (!needed.has(key) && standing !== "log") leaked.push(`${key} (${standing})`);
    // What is dead goes from one peer before the other.
    if (standing !== "placed" || !needed.has(key)) continue;
    const sealed = copies.filter(({ status }) => status.state === "sealed");
    const seals = new Set(sealed.map(({ status }) => `${status.held} ${status.checksum}`));
    const where = sealed.map(({ peer }) => peer).sort();
    if (seals.size > 1) wrong.push(`differing: ${key}`);
    if (where.join() !== desiredPeers(ring, ref).sort().join())
      wrong.push(`misplaced: ${key} is on ${where.join(", ") || "nobody"}`);
  }
  for (const key of needed) if (!found.has(key)) wrong.push(`missing: ${key}`);
  const copiesOf = new Map(peers.map((peer) => [peer, 0]));
  for (const block of found.values()) {
    for (const { peer } of block.copies) copiesOf.set(peer, (copiesOf.get(peer) ?? 0) + 1);
  }
  return { blocks: found.size, bytes, needed: needed.size, copiesOf, wrong, leaked };
}

async function listAll(pool: PeerPool, peer: PeerId): Promise<BlockStatus[]> {
  const all: BlockStatus[] = [];
  for (let after: BlockRef | null = null; ; ) {
    const page: { blocks: readonly BlockStatus[]; next: BlockRef | null } = await pool
      .storeOf(peer)
      .list(after, listPage);
    all.push(...page.blocks);
    if (page.next === null) return all;
    after = page.next;
  }
}

/** A copy dropped since it was listed is no damage: whoever audits a pool in motion sees it in the next audit. */
async function isWhole(pool: PeerPool, peer: PeerId, { ref, held, checksum }: BlockStatus): Promise<boolean> {
  try {
    return crc32(await pool.storeOf(peer).read(ref, 0, held)) === checksum;
  } catch (error) {
    const [now] = await pool.storeOf(peer).stat([ref]);
    if (now.state === "absent") return true;
    throw error;
  }
}

/** Keys of all blocks the INodes need; fails when a node of one cannot be read whole from any peer. */
async function neededBlocks(
  roots: readonly NodePointer[],
  found: ReadonlyMap<string, Found>,
  pool: PeerPool,
): Promise<ReadonlySet<string>> {
  const needed = new Set<string>();
  const readNode = async ({ ref, offset, length, checksum }: NodePointer): Promise<Uint8Array> => {
    for (const { peer } of found.get(blockRefKey(ref))?.copies ?? []) {
      const bytes = await pool.storeOf(peer).read(ref, offset, length);
      if (crc32(bytes) === checksum) return bytes;
    }
    throw new Error(`no peer has a node of an INode, in block ${blockRefKey(ref)}`);
  };
  const inodes = new NeededBlocks({ cacheBytesMax: 64 * 2 ** 20 });
  await inodes.walk(roots, readNode, (ref) => needed.add(blockRefKey(ref)));
  return needed;
}

/** The first few lines of what is wrong. */
export function complaintsOf(lines: readonly string[]): string {
  const more = lines.length > namedMax ? `\n… and ${lines.length - namedMax} more` : "";
  return lines.slice(0, namedMax).join("\n") + more;
}

/** Every peer has found all it holds in place by a ring that is no union any more. */
export async function isSettled(cluster: ClusterMetadata): Promise<boolean> {
  const { ring, peers } = await cluster.peers.list();
  if (ring.type === "union") return false;
  return ring.members.every((member) => {
    const report = peers.find(({ peer }) => peer === member.peer)?.alive?.upkeep;
    return report?.ringVersion === ring.version && report.misplacedBlocks === 0;
  });
}
