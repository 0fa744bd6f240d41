// IoLoad: steady reads, writes and flushes of one client, and the longest that any of them took. What is read was written long before,
// so that it comes from peers.

import { setTimeout as sleep } from "node:timers/promises";
import type { NbdClient } from "../../system/nbd-client.ts";
import { dice } from "../../system/scale.ts";

export interface LongestMs {
  readonly writeMs: number;
  readonly readMs: number;
  readonly errors: number;
}

const pageBytes = 4096;
const chunkBytes = 1024 * 1024;
const chunksAtOnce = 8;
const workers = 4;
const restMs = 2;
const flushRestMs = 50;

/** What the load reads lies below, what it writes above. */
export const readBytes = 64 * 2 ** 20;
export const writeBytes = 64 * 2 ** 20;

/** Bytes that are not all alike. */
function chunk(seed: number): Buffer {
  const bytes = Buffer.alloc(chunkBytes);
  const roll = dice(seed);
  for (let at = 0; at < bytes.length; at += 4) bytes.writeUInt32LE(roll(2 ** 32), at);
  return bytes;
}

/** Writes [from, from + bytes) in large pieces, several at once, and flushes. */
export async function writeMuch(client: NbdClient, from: number, bytes: number): Promise<void> {
  const piece = chunk(1);
  let next = from;
  const writeNext = async (): Promise<void> => {
    while (next < from + bytes) {
      const at = next;
      next += chunkBytes;
      await client.write(at, piece);
    }
  };
  await Promise.all(Array.from({ length: chunksAtOnce }, writeNext));
  await client.flush();
}

export class IoLoad {
  readonly #client: NbdClient;
  readonly #roll = dice(7);
  readonly #page = Buffer.alloc(pageBytes, 7);
  readonly #underway = new Map<object, { readonly isRead: boolean; readonly sinceMs: number }>();
  readonly #working: Promise<unknown>;
  #longest = { write: 0, read: 0 };
  #errors = 0;
  #over = false;

  constructor(client: NbdClient) {
    this.#client = client;
    const repeat = async (isRead: boolean, rest: number, request: () => Promise<unknown>): Promise<void> => {
      while (!this.#over) {
        await this.#time(isRead, request);
        await sleep(rest);
      }
    };
    const some = (isRead: boolean, request: () => Promise<unknown>) =>
      Array.from({ length: workers }, () => repeat(isRead, restMs, request));
    this.#working = Promise.all([
      ...some(false, () => client.write(readBytes + this.#pageBelow(writeBytes), this.#page)),
      ...some(true, () => client.read(this.#pageBelow(readBytes), pageBytes)),
      repeat(false, flushRestMs, () => client.flush()),
    ]);
  }

  /** From now on. */
  reset(): void {
    this.#longest = { write: 0, read: 0 };
    this.#errors = 0;
  }

  /** Since the last reset; what is still waited for counts. */
  get longest(): LongestMs {
    for (const { isRead, sinceMs } of this.#underway.values()) this.#count(isRead, sinceMs);
    return { writeMs: this.#longest.write, readMs: this.#longest.read, errors: this.#errors };
  }

  async stop(): Promise<void> {
    this.#over = true;
    this.#client.destroy();
    await this.#working;
  }

  #pageBelow(bytes: number): number {
    return this.#roll(bytes / pageBytes) * pageBytes;
  }

  async #time(isRead: boolean, request: () => Promise<unknown>): Promise<void> {
    const token = { isRead, sinceMs: performance.now() };
    this.#underway.set(token, token);
    try {
      await request();
    } catch {
      this.#errors += 1;
    }
    this.#underway.delete(token);
    if (!this.#over) this.#count(isRead, token.sinceMs);
  }

  #count(isRead: boolean, sinceMs: number): void {
    const direction = isRead ? "read" : "write";
    this.#longest[direction] = Math.max(this.#longest[direction], performance.now() - sinceMs);
  }
}
