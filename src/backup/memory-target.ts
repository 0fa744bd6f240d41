// A backup target in memory, for tests.

import { TorusError } from "#model";
import type { BackupTarget, TargetPage } from "./target.ts";
import { listKeysMax, requireKey } from "./target.ts";

export class MemoryTarget implements BackupTarget {
  readonly place = "memory";
  readonly objects = new Map<string, Uint8Array>();
  readonly calls = { get: 0, has: 0, put: 0, remove: 0, list: 0, putBytes: 0 };
  /** Puts that still succeed; then every call rejects, as if the process had been killed. */
  putsLeft = Number.POSITIVE_INFINITY;

  async get(key: string): Promise<Uint8Array | null> {
    this.#count("get", key);
    return this.objects.get(key)?.slice() ?? null;
  }

  async has(key: string): Promise<boolean> {
    this.#count("has", key);
    return this.objects.has(key);
  }

  async put(key: string, bytes: Uint8Array): Promise<void> {
    this.#count("put", key);
    this.putsLeft -= 1;
    this.#requireAlive();
    this.calls.putBytes += bytes.length;
    this.objects.set(key, bytes.slice());
  }

  async remove(key: string): Promise<void> {
    this.#count("remove", key);
    this.objects.delete(key);
  }

  async list(folder: string, after: string | null): Promise<TargetPage> {
    this.calls.list += 1;
    this.#requireAlive();
    const keys = [...this.objects.keys()]
      .filter((key) => key.startsWith(folder) && (after ?? "") < key)
      .sort();
    return { keys: keys.slice(0, listKeysMax), isMore: keys.length > listKeysMax };
  }

  #count(call: "get" | "has" | "put" | "remove", key: string): void {
    requireKey(key);
    this.calls[call] += 1;
    this.#requireAlive();
  }

  #requireAlive(): void {
    if (this.putsLeft < 0) throw new TorusError("unavailable", "the target is gone");
  }
}
