// From a URL to a metadata service.

import type { Clock, Log, Random } from "#host";
import { TorusError } from "#model";
import type { BootClock } from "./embedded/boot-clock.ts";
import { SqliteMetadataService } from "./embedded/sqlite-service.ts";
import { EtcdMetadataService } from "./etcd/etcd-service.ts";
import { etcdUrlForm } from "./etcd/etcd-url.ts";
import { MemoryMetadataService } from "./memory/memory-service.ts";
import type { MetadataService } from "./service.ts";

export interface OpenDeps {
  readonly clock: Clock;
  readonly log: Log;
  readonly boot: BootClock;
  readonly random: Random;
  /** Of the user in an etcd URL. */
  readonly etcdPassword: string | null;
}

export interface OpenOptions {
  /** Make the database when it is missing (the default); else that is `not-found`. */
  readonly create?: boolean;
}

const supported = `${etcdUrlForm}; sqlite:PATH (one machine, such as sqlite:/var/lib/torus/metadata.db); memory: (tests)`;

/**
 * `etcd://` and `etcds://` (etcd/etcd-url.ts), `sqlite:PATH`, also `sqlite:///ABSOLUTE/PATH`, and `memory:` (empty, of this process
 * alone). Rejects with `invalid-argument` for another URL and for what etcd refuses, `unavailable` when no member of etcd
 * answers, `not-found`, `corrupt` or `unsupported` for the file it names.
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
    case "etcds":
      return EtcdMetadataService.open({ url, password: deps.etcdPassword }, deps);
    case "http":
    case "https":
      throw wrongUrl(url, `for etcd write ${scheme === "https" ? "etcds" : "etcd"}://`);
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
    `metadata URL "${url.replace(/\/\/[^/?#]*@/, "//...@")}" cannot be used: ${reason}; use ${supported}`,
  );
}
