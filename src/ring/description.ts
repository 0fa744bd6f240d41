// Checks of ring descriptions. A description decides where data is written and looked for, so anything that is not
// understood in full (a field of a later version, too) is refused rather than guessed at.

import { replicasMax, TorusError } from "#model";
import type { RingDescription, RingMember, RingType } from "./ring.ts";
import { ringTypes } from "./ring.ts";

export const ringMembersMax = 10_000;
/** Weights are relative; a peer's size in bytes fits. */
export const ringWeightMin = 1e-6;
export const ringWeightMax = 2 ** 60;
export const ringLabelsMax = 16;
export const ringLabelCharsMax = 63;
export const ringPeerCharsMax = 128;
/** Ring changes that may be under way at once. */
export const ringUnionDepthMax = 8;

function refuse(what: string): never {
  throw new TorusError("invalid-argument", `ring description: ${what}`);
}

/** What `value` looks like in a message. */
function shown(value: unknown): string {
  return (JSON.stringify(value) ?? String(value)).slice(0, 80);
}

function fieldsOf(value: unknown, where: string, allowed: readonly string[]): Record<string, unknown> {
  if (typeof value !== "object" || value === null || Array.isArray(value))
    refuse(`${where} is not an object`);
  const unknown = Object.keys(value).find((key) => !allowed.includes(key));
  if (unknown !== undefined) refuse(`${where} has the field "${unknown}", which this version does not know`);
  return value as Record<string, unknown>;
}

function decodeLabels(value: unknown, where: string): Readonly<Record<string, string>> {
  if (typeof value !== "object" || value === null || Array.isArray(value))
    refuse(`${where} is not an object`);
  const entries = Object.entries(value as Record<string, unknown>);
  if (entries.length > ringLabelsMax)
    refuse(`${where} has ${entries.length} labels; at most ${ringLabelsMax}`);
  for (const [name, text] of entries) {
    if (!/^[A-Za-z0-9][A-Za-z0-9._/-]*$/.test(name) || name.length > ringLabelCharsMax) {
      refuse(
        `${where}: ${shown(name)} is not a label name (letters, digits, . _ / -; ${ringLabelCharsMax} at most)`,
      );
    }
    if (typeof text !== "string" || !/^[\x20-\x7e]+$/.test(text) || text.length > ringLabelCharsMax) {
      refuse(
        `${where}.${name} is ${shown(text)}; a label is 1 to ${ringLabelCharsMax} printable ASCII characters`,
      );
    }
  }
  return Object.fromEntries(entries) as Record<string, string>;
}

function decodeMember(value: unknown, where: string): RingMember {
  const { peer, weight, labels } = fieldsOf(value, where, ["peer", "weight", "labels"]);
  if (typeof peer !== "string" || !/^[\x21-\x7e]+$/.test(peer) || peer.length > ringPeerCharsMax) {
    refuse(
      `${where}.peer is ${shown(peer)}; a peer id is 1 to ${ringPeerCharsMax} printable ASCII characters`,
    );
  }
  if (typeof weight !== "number" || !(weight >= ringWeightMin && weight <= ringWeightMax)) {
    refuse(
      `${where}.weight of ${peer} is ${shown(weight)}; it must be a number from ${ringWeightMin} to 2^60`,
    );
  }
  return { peer, weight, labels: decodeLabels(labels, `${where}.labels`) };
}

function decodeMembers(value: unknown, where: string): RingMember[] {
  if (!Array.isArray(value)) refuse(`${where} is not a list`);
  if (value.length > ringMembersMax)
    refuse(`${where} has ${value.length} members; at most ${ringMembersMax}`);
  const members = value.map((member, i) => decodeMember(member, `${where}[${i}]`));
  const seen = new Set<string>();
  for (const { peer } of members) {
    if (seen.has(peer)) refuse(`${where} names peer ${peer} twice`);
    seen.add(peer);
  }
  return members;
}

function decodeInteger(value: unknown, where: string, min: number, max: number): number {
  if (!Number.isSafeInteger(value) || (value as number) < min || (value as number) > max) {
    refuse(`${where} is ${shown(value)}; it must be a whole number from ${min} to ${max}`);
  }
  return value as number;
}

/** The members of a union: the new part's, then those of the old part that are not in it. */
export function unionMembers(old: readonly RingMember[], next: readonly RingMember[]): RingMember[] {
  const inNew = new Set(next.map((member) => member.peer));
  return [...next, ...old.filter((member) => !inNew.has(member.peer))];
}

function decodeParts(
  value: unknown,
  where: string,
  depth: number,
): { old: RingDescription; new: RingDescription } {
  if (depth >= ringUnionDepthMax) {
    refuse(`more than ${ringUnionDepthMax} ring changes are under way; let the data move first`);
  }
  const parts = fieldsOf(value, where, ["old", "new"]);
  const next = decode(parts["new"], `${where}.new`, depth + 1);
  if (next.type === "union") refuse(`${where}.new is a union; only the old part of a union may be one`);
  return { old: decode(parts["old"], `${where}.old`, depth + 1), new: next };
}

function checkUnion(ring: RingDescription, where: string): void {
  const { old, new: next } = ring.parts!;
  if (old.version >= ring.version || next.version > ring.version) {
    refuse(`${where} has version ${ring.version}, its parts ${old.version} and ${next.version}`);
  }
  if (ring.replicas !== next.replicas) refuse(`${where}.replicas differs from that of its new part`);
  const expected = unionMembers(old.members, next.members);
  const same =
    expected.length === ring.members.length && expected.every(({ peer }, i) => peer === ring.members[i].peer);
  if (!same) refuse(`${where}.members are not the new part's followed by the old part's others`);
}

function decode(value: unknown, where: string, depth: number): RingDescription {
  const fields = fieldsOf(value, where, ["version", "type", "replicas", "members", "parts"]);
  const type = fields["type"] as RingType;
  if (!ringTypes.includes(type)) refuse(`${where}.type is ${shown(type)}; known are ${ringTypes.join(", ")}`);
  const ring = {
    version: decodeInteger(fields["version"], `${where}.version`, 1, Number.MAX_SAFE_INTEGER),
    type,
    replicas: decodeInteger(fields["replicas"], `${where}.replicas`, 1, replicasMax),
    members: decodeMembers(fields["members"], `${where}.members`),
  };
  if (type === "empty" && ring.members.length > 0) refuse(`${where} is of type empty and has members`);
  if (type === "single" && ring.members.length !== 1) {
    refuse(`${where} is of type single and has ${ring.members.length} members; it must have one`);
  }
  if (type !== "union") {
    if (fields["parts"] !== undefined) refuse(`${where} has parts but is not a union`);
    return ring;
  }
  const union = { ...ring, parts: decodeParts(fields["parts"], `${where}.parts`, depth) };
  checkUnion(union, where);
  return union;
}

/** A checked copy of `value`, which came from outside. Throws `invalid-argument` that names the field and what is allowed. */
export function decodeRingDescription(value: unknown): RingDescription {
  return decode(value, "ring", 0);
}

/** What new blocks follow: of a union, its new part. */
export function plainRing(ring: RingDescription): RingDescription {
  return ring.parts?.new ?? ring;
}
