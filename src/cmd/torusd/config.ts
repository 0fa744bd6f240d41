// What the command line of torusd says, as values. Everything that is wrong is an `invalid-argument` that names the option.

import { resolve } from "node:path";
import { parseAddress } from "#host";
import type { LogLevel } from "#host/node";
import { logLevels } from "#host/node";
import { parseBytes, TorusError } from "#model";
import { parseDuration } from "../shared/duration.ts";
import type { MetadataFlags } from "../shared/metadata-options.ts";
import { metadataUrl } from "../shared/metadata-options.ts";
import type { ProgramIo } from "../shared/program-io.ts";

/** As commander gives them. */
export interface TorusdFlags extends MetadataFlags {
  readonly peerAddress: string;
  readonly dataDir: readonly string[];
  readonly size: string;
  readonly memory?: string;
  readonly autoJoin: boolean;
  readonly label: readonly string[];
  readonly http?: string;
  readonly heartbeat: string;
  readonly repairAfter: string;
  readonly repairBudget: string;
  readonly collectGrace: string;
  readonly scrubPeriod: string;
  readonly logLevel: string;
  readonly exitWithParent: boolean;
}

/** Bytes, or a share of the file system in percent. */
export type StoreSize = { readonly bytes: number } | { readonly percent: number };

export interface HostPort {
  readonly host: string;
  readonly port: number;
}

export interface TorusdConfig {
  readonly metadataUrl: string;
  readonly address: HostPort;
  /** Absolute, one a disk. */
  readonly dataDirectories: readonly string[];
  readonly size: StoreSize;
  /** What the process may take; null: what is usual for so many disks. */
  readonly memoryBytes: number | null;
  readonly autoJoin: boolean;
  readonly labels: Readonly<Record<string, string>>;
  readonly http: HostPort | null;
  /** How often peers say that they live, and look at each other. */
  readonly heartbeatMs: number;
  /** A peer that is away for longer leaves the ring. */
  readonly repairAfterMs: number;
  /** What each peer sends to others, at most, to move and repair blocks. */
  readonly repairBytesPerSecond: number;
  /** Dead blocks are kept for so long. */
  readonly collectGraceMs: number;
  /** Every block is looked at within it. */
  readonly scrubPeriodMs: number;
  readonly logLevel: LogLevel;
  readonly exitWithParent: boolean;
}

export const flagDefaults = {
  size: "80%",
  heartbeat: "3s",
  repairAfter: "10min",
  repairBudget: "64MiB/s",
  collectGrace: "60s",
  scrubPeriod: "7d",
  logLevel: "info",
} as const;

/** A peer is DOWN after a few of them: what is rarer finds nobody dead in time. */
const heartbeatMsMax = 60_000;
const repairBudgetMin = 64 * 1024;
const dataDirectoriesMax = 64;
const labelsMax = 32;

export function torusdConfig(flags: TorusdFlags, io: ProgramIo): TorusdConfig {
  const address = parseHostPort(flags.peerAddress, "--peer-address");
  const dataDirectories = parseDirectories(flags.dataDir);
  if (address.port !== 0 && address.port + dataDirectories.length - 1 > 65_535) {
    throw wrong(
      `--peer-address ${flags.peerAddress} leaves no ports for ${dataDirectories.length} data directories`,
    );
  }
  return {
    metadataUrl: metadataUrl(flags, io),
    address,
    dataDirectories,
    size: parseSize(flags.size),
    memoryBytes: flags.memory === undefined ? null : parseBytes(flags.memory, "--memory"),
    autoJoin: flags.autoJoin,
    labels: { host: io.host, ...parseLabels(flags.label) },
    http: flags.http === undefined ? null : parseHostPort(flags.http, "--http"),
    heartbeatMs: parseHeartbeat(flags.heartbeat),
    repairAfterMs: parseDuration(flags.repairAfter, "--repair-after"),
    repairBytesPerSecond: parseBudget(flags.repairBudget),
    collectGraceMs: parseDuration(flags.collectGrace, "--collect-grace"),
    scrubPeriodMs: parseDuration(flags.scrubPeriod, "--scrub-period"),
    logLevel: parseLogLevel(flags.logLevel),
    exitWithParent: flags.exitWithParent,
  };
}

function wrong(message: string): TorusError {
  return new TorusError("invalid-argument", message);
}

function parseHostPort(text: string, option: string): HostPort {
  // `:PORT` is every address of this machine.
  const address = /^:\d+$/.test(text) ? { host: "::", port: Number(text.slice(1)) } : parseAddress(text);
  if ("path" in address || address.port > 65_535) {
    throw wrong(`${option} "${text}" is not HOST:PORT, such as 10.0.0.5:4321 or [::1]:4321`);
  }
  return address;
}

function parseDirectories(given: readonly string[]): string[] {
  const directories = given.map((directory) => resolve(directory));
  const twice = directories.find((directory, at) => directories.indexOf(directory) !== at);
  if (twice !== undefined) throw wrong(`--data-dir ${twice} is given twice`);
  if (directories.length > dataDirectoriesMax) {
    throw wrong(
      `${directories.length} data directories are too many for one torusd: ${dataDirectoriesMax} at most`,
    );
  }
  return directories;
}

function parseSize(text: string): StoreSize {
  const share = /^(\d+(?:\.\d+)?)\s*%$/.exec(text.trim());
  if (share === null) return { bytes: parseBytes(text, "--size") };
  const percent = Number(share[1]);
  if (!(percent > 0 && percent <= 100)) throw wrong(`--size "${text}" is not a share from 1% to 100%`);
  return { percent };
}

function parseHeartbeat(text: string): number {
  const everyMs = parseDuration(text, "--heartbeat");
  if (everyMs <= heartbeatMsMax) return everyMs;
  throw wrong(`--heartbeat "${text}" is too seldom: ${heartbeatMsMax / 1000}s at most`);
}

function parseBudget(text: string): number {
  const bytesPerSecond = parseBytes(text.trim().replace(/\/s$/, ""), "--repair-budget");
  if (bytesPerSecond >= repairBudgetMin) return bytesPerSecond;
  throw wrong(
    `--repair-budget "${text}" is too little: 64KiB/s at least, or data never gets where it belongs`,
  );
}

function parseLabels(given: readonly string[]): Record<string, string> {
  if (given.length > labelsMax) throw wrong(`${given.length} labels are too many: ${labelsMax} at most`);
  return Object.fromEntries(
    given.map((text) => {
      const match = /^([a-z][a-z0-9-]{0,62})=([A-Za-z0-9._-]{1,128})$/.exec(text);
      if (match === null) throw wrong(`--label "${text}" is not NAME=VALUE, such as zone=a`);
      return [match[1], match[2]];
    }),
  );
}

function parseLogLevel(text: string): LogLevel {
  const level = logLevels.find((known) => known === text);
  if (level === undefined) throw wrong(`--log-level "${text}" is none of ${logLevels.join(", ")}`);
  return level;
}
