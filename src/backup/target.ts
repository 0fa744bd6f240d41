// BackupTarget: where backups lie: objects of bytes under keys, as a directory or an S3 bucket has them. Nothing else is asked of it, so that the rest
// cannot tell one from the other. Implementations: directory, S3, memory; target-suite.ts is what each must do.

import { TorusError } from "#model";

/** Keys are names of A-Z a-z 0-9 . _ - that do not begin with a dot, put together with "/". */
export interface BackupTarget {
  /** For messages: a path, or s3://bucket/prefix. */
  readonly place: string;
  /** Null when there is none. */
  get(key: string): Promise<Uint8Array | null>;
  has(key: string): Promise<boolean>;
  /** All of it or nothing, in place of what was there; durable, and seen by every later call of anybody, when it resolves. */
  put(key: string, bytes: Uint8Array): Promise<void>;
  /** Does nothing when there is none. */
  remove(key: string): Promise<void>;
  /** Keys that begin with `folder`, which ends in "/", in order, behind `after` if that is given. */
  list(folder: string, after: string | null): Promise<TargetPage>;
}

export interface TargetPage {
  readonly keys: readonly string[];
  /** There are more: ask behind the last. */
  readonly isMore: boolean;
}

export const listKeysMax = 1000;

const namePattern = /^[A-Za-z0-9_-][A-Za-z0-9._-]{0,199}$/;

/** Throws `invalid-argument`. */
export function requireKey(key: string): void {
  if (key.length > 500 || !key.split("/").every((name) => namePattern.test(name)))
    throw new TorusError("invalid-argument", `"${key}" is no key of a backup's target`);
}

/** Calls `each` for every key of `folder`, page by page. */
export async function forEachPage(
  target: BackupTarget,
  folder: string,
  each: (keys: readonly string[]) => Promise<void>,
): Promise<void> {
  let after: string | null = null;
  for (let isMore = true; isMore; ) {
    const page: TargetPage = await target.list(folder, after);
    if (page.keys.length > 0) await each(page.keys);
    after = page.keys.at(-1) ?? null;
    isMore = page.isMore;
  }
}
