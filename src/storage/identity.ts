// Identity of a store: identity.json. The peer id is minted with the directory and never changes, so a new or emptied
// disk is a new peer; the incarnation is raised durably at every open, so that answers of an earlier life can be told
// apart. A store exists only from incarnation 1 on: a directory left at 0 was never served from and is made again.

import type { Disk } from "#host";
import type { PeerId } from "#model";
import { formatBytes, messageOf, TorusError } from "#model";

export interface Identity {
  readonly peer: PeerId;
  readonly createdMs: number;
  readonly incarnation: number;
  /** What the operator gave it, as of the last open. */
  readonly sizeBytes: number;
  readonly blockBytes: number;
  readonly segmentBytes: number;
}

export const storeFormat = 1;
export const dataFileName = "blocks.torus";
const identityName = "identity.json";
/** What a directory may contain and still become a new store: the lock, a first identity cut short, what mkfs makes. */
const harmlessNames = new Set(["lock", "lock.holder", `${identityName}.next`, "lost+found"]);

export function writeIdentity(disk: Disk, identity: Identity): void {
  disk.writeTextDurably(identityName, `${JSON.stringify({ format: storeFormat, ...identity }, null, 2)}\n`);
}

/** The identity in the directory, null when there is none and nothing else either. */
export function readIdentity(disk: Disk): Identity | null {
  const text = disk.readText(identityName);
  if (text === null) {
    const others = disk.names().filter((name) => !harmlessNames.has(name));
    if (others.length === 0) return null;
    throw new TorusError(
      "invalid-argument",
      `the directory is not a Torus store: it has no ${identityName} but ${others.slice(0, 3).join(", ")}${others.length > 3 ? ", …" : ""}. Give an empty directory`,
    );
  }
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new TorusError(
      "corrupt",
      `${identityName} cannot be read: ${messageOf(error)}`,
      {},
      { cause: error },
    );
  }
  return checkIdentity(value);
}

function checkIdentity(value: unknown): Identity {
  const fields = (typeof value === "object" && value !== null ? value : {}) as Record<string, unknown>;
  if (fields["format"] !== storeFormat) {
    throw new TorusError(
      "unsupported",
      `the store has format ${String(fields["format"])}, this version of Torus reads format ${storeFormat}: use the version that wrote it`,
    );
  }
  const number = (name: string, min: number): number => {
    const found = fields[name];
    if (typeof found === "number" && Number.isSafeInteger(found) && found >= min) return found;
    throw new TorusError("corrupt", `${identityName} has no valid ${name}: ${JSON.stringify(found)}`);
  };
  const peer = fields["peer"];
  if (typeof peer !== "string" || !/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/.test(peer)) {
    throw new TorusError("corrupt", `${identityName} has no valid peer id: ${JSON.stringify(peer)}`);
  }
  return {
    peer,
    createdMs: number("createdMs", 0),
    incarnation: number("incarnation", 0),
    sizeBytes: number("sizeBytes", 1),
    blockBytes: number("blockBytes", 1),
    segmentBytes: number("segmentBytes", 1),
  };
}

/** Throws unless a store made as `identity` may be opened with `blockBytes` and `sizeBytes`, of which `takenBytes` are written. */
export function requireFits(
  identity: Identity,
  blockBytes: number,
  sizeBytes: number,
  takenBytes: number,
): void {
  if (identity.blockBytes !== blockBytes) {
    throw new TorusError(
      "invalid-argument",
      `the store was made for blocks of ${formatBytes(identity.blockBytes)}, the cluster's are ${formatBytes(blockBytes)}: it belongs to another cluster`,
    );
  }
  if (takenBytes > sizeBytes) {
    throw new TorusError(
      "invalid-argument",
      `the store cannot shrink from ${formatBytes(identity.sizeBytes)} to ${formatBytes(sizeBytes)}: ${formatBytes(takenBytes)} are laid out. Give at least that, or remove this peer and start it anew`,
    );
  }
}
