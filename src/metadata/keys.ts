// The layout of the metadata service: every key the project uses is built and parsed here. Ids stand in fixed width
// and every folder ends in a slash, so no prefix of one id covers another's: the original deleted `volumemeta/2` and
// with it volumes 0x20 to 0x2f. Keys are printable ASCII, so text order, byte order and code unit order agree.
//
//   cluster                       what `torusctl init` decided
//   minter                        the last volume id given out
//   adoption                      how often metadata was adopted that had gone back
//   behind                        somebody noticed that the metadata went back; until it is adopted nobody attaches
//   ring                          the version of the ring in force
//   rings/<version>               every ring there was; never deleted
//   peers/<id>/record|alive       a peer as registered; its heartbeat, under its lease
//   peers/<id>/removed            it was away too long and was taken out of the ring
//   upkeep                        what operators ask of background work
//   scrubs/<id>                   a peer is asked to look at all its blocks, and what it answers
//   names/<name>                  the volume that has the name
//   volumes/<id>/spec|origin|writer|lease|head|logmap|status|clients|cut|adopted|history
//   volumes/<id>/snapshots/<name> a kept INode of the volume
//   volumes/<id>/requests/<token> what somebody asks of the volume's writer
//   tombstones/<id>               a deleted volume some peer may still hold blocks of

import type { PeerId, VolumeId } from "#model";
import { assert, TorusError, volumeIdMax, volumeNameCharsMax } from "#model";

export const clusterKey = "cluster";
export const minterKey = "minter";
export const ringKey = "ring";
export const upkeepKey = "upkeep";
export const adoptionKey = "adoption";
export const behindKey = "behind";

export const ringsPrefix = "rings/";
export const peersPrefix = "peers/";
export const scrubsPrefix = "scrubs/";
export const namesPrefix = "names/";
export const volumesPrefix = "volumes/";
export const tombstonesPrefix = "tombstones/";

/** Everything the project stores lies under these: what `torusctl wipe` removes. */
export const allRanges = [
  { key: clusterKey },
  { key: minterKey },
  { key: ringKey },
  { prefix: ringsPrefix },
  { prefix: peersPrefix },
  { prefix: namesPrefix },
  { prefix: volumesPrefix },
  { prefix: tombstonesPrefix },
  { key: upkeepKey },
  { key: adoptionKey },
  { key: behindKey },
  { prefix: scrubsPrefix },
] as const;

/** Of these, what decides over blocks: not who lives, what volumes are called, or which rings there were. */
export const decidingRanges = [
  { key: clusterKey },
  { key: minterKey },
  { key: ringKey },
  { prefix: volumesPrefix },
  { prefix: tombstonesPrefix },
  { key: upkeepKey },
] as const;

const idDigits = 10;
export const ringVersionMax = 2 ** 40 - 1;
export const peerIdCharsMax = 64;

/** A 40-bit number as ten hexadecimal digits: one width, so text order is number order. */
function fixedWidth(value: number): string {
  assert(Number.isInteger(value) && value >= 0 && value <= volumeIdMax, "a key's number fits 40 bits");
  return value.toString(16).padStart(idDigits, "0");
}

export function ringVersionKey(version: number): string {
  return `${ringsPrefix}${fixedWidth(version)}`;
}

export function peerPrefix(peer: PeerId): string {
  return `${peersPrefix}${requirePeerId(peer)}/`;
}

export function peerRecordKey(peer: PeerId): string {
  return `${peerPrefix(peer)}record`;
}

export function peerAliveKey(peer: PeerId): string {
  return `${peerPrefix(peer)}alive`;
}

export function removedPeerKey(peer: PeerId): string {
  return `${peerPrefix(peer)}removed`;
}

export function scrubKey(peer: PeerId): string {
  return `${scrubsPrefix}${requirePeerId(peer)}`;
}

export function nameKey(name: string): string {
  return `${namesPrefix}${requireVolumeName(name)}`;
}

export function volumePrefix(id: VolumeId): string {
  return `${volumesPrefix}${fixedWidth(id)}/`;
}

/** All there is of a volume besides its snapshots and requests. */
export const volumeParts = [
  "spec",
  "origin",
  "writer",
  "lease",
  "head",
  "logmap",
  "status",
  "clients",
  "cut",
  "adopted",
  "history",
] as const;

export type VolumePart = (typeof volumeParts)[number];

export function volumeKey(id: VolumeId, part: VolumePart): string {
  return `${volumePrefix(id)}${part}`;
}

export function snapshotsPrefix(id: VolumeId): string {
  return `${volumePrefix(id)}snapshots/`;
}

export function snapshotKey(id: VolumeId, snapshot: string): string {
  return `${snapshotsPrefix(id)}${requireName(snapshot, "snapshot")}`;
}

export function requestsPrefix(id: VolumeId): string {
  return `${volumePrefix(id)}requests/`;
}

/** `token`: a UUID, or another short word. */
export function requestKey(id: VolumeId, token: string): string {
  assert(/^[0-9A-Za-z-]{1,64}$/.test(token), "a request's token is a plain word");
  return `${requestsPrefix(id)}${token}`;
}

export function tombstoneKey(id: VolumeId): string {
  return `${tombstonesPrefix}${fixedWidth(id)}`;
}

/** The id in `volumes/<id>/...`, and what stands after it; null when the key is not of that form. */
export function parseVolumeKey(key: string): { readonly id: VolumeId; readonly part: string } | null {
  const match = /^volumes\/([0-9a-f]{10})\/(.+)$/.exec(key);
  return match === null ? null : { id: Number.parseInt(match[1], 16), part: match[2] };
}

export function parseTombstoneKey(key: string): VolumeId | null {
  const match = /^tombstones\/([0-9a-f]{10})$/.exec(key);
  return match === null ? null : Number.parseInt(match[1], 16);
}

export function parseRingVersionKey(key: string): number | null {
  const match = /^rings\/([0-9a-f]{10})$/.exec(key);
  return match === null ? null : Number.parseInt(match[1], 16);
}

export function parsePeerKey(key: string): { readonly peer: PeerId; readonly part: string } | null {
  const match = /^peers\/([0-9A-Za-z][0-9A-Za-z._-]{0,63})\/(record|alive|removed)$/.exec(key);
  return match === null ? null : { peer: match[1], part: match[2] };
}

/** A peer id as it may stand in a key: a UUID in production, any short word in a simulation. */
export function requirePeerId(peer: PeerId): PeerId {
  if (!/^[0-9A-Za-z][0-9A-Za-z._-]{0,63}$/.test(peer)) {
    throw new TorusError("invalid-argument", `"${peer}" is not a peer id: use the UUID that peer list shows`);
  }
  return peer;
}

/** Names of volumes and snapshots. `/` would nest keys, `@` divides volume from snapshot. Throws `invalid-argument`. */
export function requireName(name: string, what: "volume" | "snapshot"): string {
  const problem = nameProblem(name);
  if (problem !== null) {
    throw new TorusError(
      "invalid-argument",
      `${what} name "${name.slice(0, volumeNameCharsMax)}" ${problem}: use 1 to ${volumeNameCharsMax} of A-Z a-z 0-9 . _ -, not starting with a dot or a dash`,
    );
  }
  return name;
}

/** A volume's name, or `SET/NAME`, as files may be called. Throws `invalid-argument`. */
export function requireVolumeName(name: string): string {
  const at = name.indexOf("/");
  if (at === -1) return requireName(name, "volume");
  requireName(name.slice(0, at), "volume");
  requireName(name.slice(at + 1), "volume");
  if (name.length > volumeNameCharsMax) requireName(name, "volume");
  return name;
}

function nameProblem(name: string): string | null {
  if (name.length === 0) return "is empty";
  if (name.length > volumeNameCharsMax) return `has ${name.length} characters`;
  if (name.startsWith(".")) return "starts with a dot";
  if (name.startsWith("-")) return "starts with a dash";
  const wrong = /[^A-Za-z0-9._-]/u.exec(name);
  return wrong === null ? null : `has a ${JSON.stringify(wrong[0])} in it`;
}
