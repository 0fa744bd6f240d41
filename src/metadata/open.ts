// From a URL to a metadata service.

import type { Clock, Log } from "#host";
import { TorusError } from "#model";
import type { BootClock } from "./embedded/boot-clock.ts";
import { SqliteMetadataService } from "./embedded/sqlite-service.ts";
import { MemoryMetadataService } from "./memory/memory-service.ts";
import type { MetadataService } from "./service.ts";

export interface OpenDeps {
  readonly clock: Clock;
  readonly log: Log;
  readonly boot: BootClock;
}

export interface OpenOptions {
  /** Make the database when it is missing (the default); else that is `not-found`. */
  readonly create?: boolean;
}

const supported = "sqlite:PATH (one machine, such as sqlite:/var/lib/torus/metadata.db) and memory: (tests)";

/**
 * `sqlite:PATH`, also `sqlite:///ABSOLUTE/PATH`, and `memory:` (empty, of this process alone). Rejects with `invalid-argument` for another URL,
 * `unsupported` for etcd, `not-found`, `corrupt` or `unsupported` for the file it names.
 */
export async function openMetadata(
  url: string,
  deps: OpenDeps,
  options: OpenOptions = {},
): Promise<MetadataService> {
  const scheme = /^([a-z][a-z0-9+.-]*):/i.exec(url)?.[1].toLowerCase();
  switch (scheme) {
    case "sqlite":
      return SqliteMetadataService.open({ path: sqlitePath(url), create: options.create ?? true }, deps);
    case "memory":
      if (url.length > "memory:".length) throw wrongUrl(url, "memory: takes nothing after the colon");
      return new MemoryMetadataService({}, deps);
    case "etcd":
    case "http":
    case "https":
      throw new TorusError(
        "unsupported",
        `metadata URL "${url}": etcd is not supported yet; use ${supported}`,
      );
    case undefined:
      throw wrongUrl(url, "it has no scheme");
    default:
      throw wrongUrl(url, `the scheme "${scheme}" is unknown`);
  }
}

function sqlitePath(url: string): string {
  const rest = url.slice("sqlite:".length);
  if (rest.startsWith("//") && !rest.startsWith("///")) {
    throw wrongUrl(url, "a database is a file of this machine, without a host");
  }
  const path = rest.startsWith("///") ? rest.slice(2) : rest;
  if (path.length === 0 || path.endsWith("/")) throw wrongUrl(url, "it names no file");
  if (path.includes("\0") || path.includes("?"))
    throw wrongUrl(url, "the path has a character that is not allowed");
  return path;
}

function wrongUrl(url: string, reason: string): TorusError {
  return new TorusError(
    "invalid-argument",
    `metadata URL "${url}" cannot be used: ${reason}; use ${supported}`,
  );
}
