// What the command line says, as values. Everything that is wrong is an `invalid-argument` that names the option.

import type { LogLevel } from "#host/node";
import { logLevels } from "#host/node";
import { leaseTtlMsDefault, parseBytes, TorusError } from "#model";
import type { MetadataFlags } from "../shared/metadata-options.ts";
import { metadataUrl } from "../shared/metadata-options.ts";
import type { ProgramIo } from "../shared/program-io.ts";

/** Options that every command has, as commander gives them. */
export interface GlobalFlags extends MetadataFlags {
  readonly http?: string;
  readonly logLevel: string;
  readonly exitWithParent: boolean;
  readonly force: boolean;
  readonly writeCacheSize: string;
  readonly mapCacheSize: string;
  readonly readCacheSize: string;
  readonly memory?: string;
  readonly lease: string;
}

export interface HostPort {
  readonly host: string;
  readonly port: number;
}

export interface GlobalConfig {
  readonly metadataUrl: string;
  readonly http: HostPort | null;
  readonly logLevel: LogLevel;
  readonly exitWithParent: boolean;
  readonly force: boolean;
  readonly writeCacheBytes: number;
  readonly mapCacheBytes: number;
  readonly readCacheBytes: number;
  /** What the process may take; null: no bound. */
  readonly memoryBytes: number | null;
  readonly leaseTtlMs: number;
}

export const flagDefaults = {
  logLevel: "info",
  writeCacheSize: "64MiB",
  mapCacheSize: "128MiB",
  readCacheSize: "64MiB",
  lease: `${leaseTtlMsDefault / 1000}s`,
  listen: "127.0.0.1:10809",
  sectorSize: "4096",
  reconnect: "5m",
} as const;

const leaseMsMin = 2000;
const leaseMsMax = 300_000;
const reconnectSecondsMin = 10;
const reconnectSecondsMax = 86_400;

export function globalConfig(flags: GlobalFlags, io: ProgramIo): GlobalConfig {
  return {
    metadataUrl: metadataUrl(flags, io),
    http: flags.http === undefined ? null : parseHostPort(flags.http, "--http"),
    logLevel: parseLogLevel(flags.logLevel),
    exitWithParent: flags.exitWithParent,
    force: flags.force,
    writeCacheBytes: parseBytes(flags.writeCacheSize, "--write-cache-size"),
    mapCacheBytes: parseBytes(flags.mapCacheSize, "--map-cache-size"),
    // No size is zero, but no cache is.
    readCacheBytes: flags.readCacheSize === "0" ? 0 : parseBytes(flags.readCacheSize, "--read-cache-size"),
    memoryBytes: flags.memory === undefined ? null : parseBytes(flags.memory, "--memory"),
    leaseTtlMs: parseLease(flags.lease),
  };
}

export function parseLogLevel(text: string): LogLevel {
  const level = logLevels.find((known) => known === text);
  if (level === undefined) {
    throw new TorusError("invalid-argument", `--log-level "${text}" is none of ${logLevels.join(", ")}`);
  }
  return level;
}

/** HOST:PORT, [IPV6]:PORT or :PORT (every address of this machine). */
export function parseHostPort(text: string, option: string): HostPort {
  const match = /^(?:\[([0-9A-Fa-f:.%a-z]+)\]|([^\s:[\]]*)):(\d{1,5})$/.exec(text);
  const port = match === null ? Number.NaN : Number(match[3]);
  if (match === null || port > 65_535) {
    throw new TorusError(
      "invalid-argument",
      `${option} "${text}" is not an address: use HOST:PORT, such as 127.0.0.1:10809 or [::1]:10809`,
    );
  }
  return { host: match[1] ?? (match[2] === "" ? "::" : match[2]), port };
}

/** Whether only this machine can reach it. */
export function isLoopback({ host }: HostPort): boolean {
  return host === "localhost" || host === "::1" || /^127(\.\d{1,3}){3}$/.test(host);
}

/** What the kernel takes for a sector. */
export function parseSectorBytes(text: string): number {
  if (!["512", "1024", "2048", "4096"].includes(text)) {
    throw new TorusError("invalid-argument", `--sector-size "${text}" is none of 512, 1024, 2048, 4096`);
  }
  return Number(text);
}

/** A time in seconds: how long a device waits for the next process. */
export function parseReconnect(text: string): number {
  const seconds = Math.ceil(millisecondsOf(text) / 1000);
  if (!(seconds >= reconnectSecondsMin && seconds <= reconnectSecondsMax)) {
    throw new TorusError(
      "invalid-argument",
      `--reconnect-timeout "${text}" is not a time from 10s to 1440m, such as 5m`,
    );
  }
  return seconds;
}

function parseLease(text: string): number {
  const milliseconds = millisecondsOf(text);
  if (!(milliseconds >= leaseMsMin && milliseconds <= leaseMsMax)) {
    throw new TorusError("invalid-argument", `--lease "${text}" is not a time from 2s to 5m, such as 10s`);
  }
  return Math.round(milliseconds);
}

/** NaN when it is not a time. */
function millisecondsOf(text: string): number {
  const match = /^(\d+(?:\.\d+)?)(ms|s|m)$/.exec(text.trim());
  const unitMs = { ms: 1, s: 1000, m: 60_000 };
  return match === null ? Number.NaN : Number(match[1]) * unitMs[match[2] as keyof typeof unitMs];
}
