// The data directory of `torus up`: taken for one `up` at a time, and remembering how many peers its data lies on.
//
//   up.json      {format, peers}      metadata.db   the cluster's metadata
//   peer-1 ...   one store each       logs/         what the daemons say
//   nbd.sock     the NBD server       lock          held while `up` runs

import { createHash } from "node:crypto";
import {
  existsSync,
  lstatSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statfsSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { type FileLock, lockDirectory, makeDirectory } from "#host/node";
import { formatBytes, messageOf, TorusError } from "#model";

const stateFormat = 1;
/** Linux: sun_path holds 108 bytes, the last of them zero. */
const socketPathBytesMax = 107;
const logGenerationsMax = 3;
/** A store fills its files with zeroes ahead of use. */
const newPeerBytes = 256 * 1024 * 1024;
/** What a first start that died early may have left. */
const earlyNames = new Set(["lock", "lock.holder", "logs", "up.json.new"]);

export class DataDirectory {
  readonly path: string;
  readonly #lock: FileLock;
  #shortPath: string | null = null;

  private constructor(path: string, lock: FileLock) {
    this.path = path;
    this.#lock = lock;
  }

  /** Takes the directory, making it if it is missing. Throws `busy`, `io`, or `invalid-argument` when it is not one of ours. */
  static open(path: string): DataDirectory {
    try {
      makeDirectory(path);
      const names = readdirSync(path).filter((name) => !earlyNames.has(name));
      if (names.length > 0 && !names.includes("up.json")) {
        throw new TorusError(
          "invalid-argument",
          `${path} holds ${names[0]} and was not made by torus up: give an empty or new directory with --data`,
        );
      }
      const lock = lockDirectory(path);
      makeDirectory(join(path, "logs"));
      return new DataDirectory(path, lock);
    } catch (error) {
      if (error instanceof TorusError) throw error;
      throw new TorusError("io", `cannot use ${path} for data: ${messageOf(error)}`);
    }
  }

  get metadataUrl(): string {
    return `sqlite:${join(this.path, "metadata.db")}`;
  }

  peerPath(number: number): string {
    return join(this.path, `peer-${number}`);
  }

  /** Remembers `peers`. Throws `invalid-argument` when there were more, `full` without room for those that are new. */
  takePeers(peers: number): void {
    const before = this.#readPeers();
    if (peers < before) {
      throw new TorusError(
        "invalid-argument",
        `${this.path} has data on ${before} peers: start it with --peers ${before} or more`,
      );
    }
    this.#requireSpace(peers - before);
    const file = join(this.path, "up.json");
    writeFileSync(`${file}.new`, `${JSON.stringify({ format: stateFormat, peers })}\n`, { flush: true });
    renameSync(`${file}.new`, file);
  }

  #readPeers(): number {
    const file = join(this.path, "up.json");
    if (!existsSync(file)) return 0;
    let state: { format?: unknown; peers?: unknown } = {};
    try {
      state = JSON.parse(readFileSync(file, "utf8")) as typeof state;
    } catch (error) {
      throw new TorusError("corrupt", `${file} cannot be read: ${messageOf(error)}`);
    }
    if (state.format !== stateFormat || !Number.isInteger(state.peers)) {
      throw new TorusError("unsupported", `${file} was written by another version of torus up`);
    }
    return state.peers as number;
  }

  /** Throws `full` when the disk has not even room for `peers` new stores. */
  #requireSpace(peers: number): void {
    const { bavail, bsize } = statfsSync(this.path);
    const neededBytes = peers * newPeerBytes;
    if (bavail * bsize >= neededBytes) return;
    throw new TorusError(
      "full",
      `${this.path} has ${formatBytes(bavail * bsize)} free: ${peers} new peers need ${formatBytes(neededBytes)} at the least`,
    );
  }

  /** The log of a daemon, empty; earlier ones are kept as NAME.log.1 and so on. */
  freshLog(name: string): string {
    const log = join(this.path, "logs", `${name}.log`);
    for (let generation = logGenerationsMax - 1; generation >= 0; generation--) {
      const from = generation === 0 ? log : `${log}.${generation}`;
      if (existsSync(from)) renameSync(from, `${log}.${generation + 1}`);
    }
    return log;
  }

  /** A free path for the NBD server's socket: in the directory, or under /tmp when that is too long for a socket. */
  freshSocket(): string {
    const inside = join(this.path, "nbd.sock");
    const path =
      Buffer.byteLength(inside) <= socketPathBytesMax ? inside : join(this.#shortDirectory(), "nbd.sock");
    // Whoever made it is gone: the directory is locked by us.
    rmSync(path, { force: true });
    return path;
  }

  /** /tmp/torus-HASH, ours alone. */
  #shortDirectory(): string {
    const path = `/tmp/torus-${createHash("sha256").update(this.path).digest("hex").slice(0, 12)}`;
    makeDirectory(path);
    const { uid, mode } = lstatSync(path);
    if (uid !== process.getuid?.() || (mode & 0o170777) !== 0o040700) {
      throw new TorusError("io", `${path} belongs to someone else: give a shorter --data directory`);
    }
    this.#shortPath = path;
    return path;
  }

  close(): void {
    // Ours alone, with the socket in it.
    if (this.#shortPath !== null) rmSync(this.#shortPath, { recursive: true, force: true });
    this.#lock.release();
  }
}
