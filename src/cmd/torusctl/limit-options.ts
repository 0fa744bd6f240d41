// The options that limit what a volume's clients may ask for: of volume create-block, and of volume set, which changes them while they work.

import { type Command, Option } from "commander";
import type { QosLimits } from "#metadata";
import { burstMsMax, bytesPerSecondMin, iopsMax } from "#metadata";
import { formatBytes, parseBytes, TorusError } from "#model";
import { parseCount } from "./arguments.ts";

/** Absent: as it is; 0: no limit. */
export interface LimitFlags {
  readonly iops?: number;
  readonly bandwidth?: number;
  readonly burst?: number;
}

/** `flags` over `before`. */
export function limitsOf({ iops, bandwidth, burst }: LimitFlags, before: QosLimits): QosLimits {
  return {
    iops: iops === 0 ? null : (iops ?? before.iops),
    bytesPerSecond: bandwidth === 0 ? null : (bandwidth ?? before.bytesPerSecond),
    burstMs: burst ?? before.burstMs,
  };
}

export function addLimitOptions(command: Command): Command {
  return command
    .addOption(new Option("--iops <n>", "requests a second at most, or none").argParser(parseIops))
    .addOption(
      new Option("--bandwidth <size>", "bytes a second at most, such as 50MiB/s, or none").argParser(
        parseBandwidth,
      ),
    )
    .addOption(
      new Option(
        "--burst <time>",
        "of how long what was not used may be used at once (default: 100ms)",
      ).argParser(parseBurst),
    );
}

export function describeLimits({ iops, bytesPerSecond, burstMs }: QosLimits): string {
  const limits: string[] = [];
  if (iops !== null) limits.push(`${iops} requests a second`);
  if (bytesPerSecond !== null) limits.push(`${formatBytes(bytesPerSecond)} a second`);
  if (limits.length === 0) return "no limits";
  return `at most ${limits.join(" and ")}, bursts of ${burstMs} ms`;
}

function isOff(text: string): boolean {
  return text === "none" || /^0+$/.test(text);
}

function parseIops(text: string): number {
  return isOff(text) ? 0 : parseCount("--iops", 1, Math.min(iopsMax, 999_999_999))(text);
}

function parseBandwidth(text: string): number {
  if (isOff(text)) return 0;
  const bytes = Math.floor(parseBytes(text.replace(/\/s$/, ""), "--bandwidth"));
  if (bytes >= bytesPerSecondMin) return bytes;
  throw new TorusError(
    "invalid-argument",
    `--bandwidth "${text}" is too little: use ${formatBytes(bytesPerSecondMin)} a second or more, or none`,
  );
}

function parseBurst(text: string): number {
  const match = /^([0-9]{1,6}(?:\.[0-9]{1,3})?)(ms|s)$/.exec(text);
  const ms = match === null ? Number.NaN : Math.round(Number(match[1]) * (match[2] === "s" ? 1000 : 1));
  if (ms >= 1 && ms <= burstMsMax) return ms;
  throw new TorusError(
    "invalid-argument",
    `--burst "${text}" is not possible: use a time from 1ms to ${burstMsMax / 1000}s, such as 500ms or 2s`,
  );
}
