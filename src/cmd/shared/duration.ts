// Durations and times as people type them.

import { TorusError } from "#model";

const unitMs: Readonly<Record<string, number>> = {
  s: 1000,
  m: 60_000,
  min: 60_000,
  h: 3_600_000,
  d: 86_400_000,
};
const durationMsMax = 365 * 86_400_000;

/** Such as 30s, 10min, 2h or 1d, in milliseconds; throws `invalid-argument` naming `option`. */
export function parseDuration(text: string, option: string): number {
  const durationMs = durationOf(text.trim());
  if (durationMs >= 1000 && durationMs <= durationMsMax) return durationMs;
  throw new TorusError(
    "invalid-argument",
    `${option} "${text}" is not a time from 1s to 365d, such as 30s, 10min, 2h or 1d`,
  );
}

/** NaN for what is none. */
function durationOf(text: string): number {
  const match = /^(\d+(?:\.\d+)?)\s*(s|m|min|h|d)$/.exec(text);
  return match === null ? Number.NaN : Math.round(Number(match[1]) * unitMs[match[2]]);
}

/** The largest unit that gives a whole number, such as 24h: what `parseDuration` reads. */
export function formatDuration(durationMs: number): string {
  for (const unit of ["d", "h", "min"]) {
    const count = durationMs / unitMs[unit];
    if (Number.isInteger(count) && (unit !== "d" || count > 1)) return `${count}${unit}`;
  }
  return `${durationMs / 1000}s`;
}

const isoTime = /^\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d{1,3})?)?(Z|[+-]\d\d:\d\d)$/i;

/**
 * A time: ISO 8601 with its zone, such as 2026-01-31T12:00:00Z or 2026-01-31T12:00:00.250+01:00, or so long before `nowMs`, such as -5m. In
 * milliseconds since 1970 UTC. Throws `invalid-argument` naming `option`.
 */
export function parseTime(text: string, option: string, nowMs: number): number {
  const written = text.trim();
  const atMs = written.startsWith("-") ? nowMs - durationOf(written.slice(1)) : absoluteMs(written);
  if (atMs >= 0) return atMs;
  throw new TorusError(
    "invalid-argument",
    `${option} "${text}" is not a time: use ISO 8601 with a zone, such as 2026-01-31T12:00:00Z, or a time before now, such as -5m`,
  );
}

function absoluteMs(text: string): number {
  return isoTime.test(text) ? Date.parse(text.replace(" ", "T")) : Number.NaN;
}
