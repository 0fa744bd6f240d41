// Durations and times: what is understood, and what is refused with an example of how it is written.

import assert from "node:assert/strict";
import { it } from "node:test";
import { formatDuration, parseDuration, parseTime } from "./duration.ts";

const usage = /is not a time/;

it("duration: units, and back", () => {
  for (const [text, ms, shown] of [
    ["30s", 30_000, "30s"],
    ["90 s", 90_000, "90s"],
    ["10min", 600_000, "10min"],
    ["10m", 600_000, "10min"],
    ["24h", 86_400_000, "24h"],
    ["1.5h", 5_400_000, "90min"],
    ["7d", 604_800_000, "7d"],
  ] as const) {
    assert.equal(parseDuration(text, "--x"), ms);
    assert.equal(formatDuration(ms), shown);
  }
  for (const text of ["", "5", "h", "0s", "0.5s", "366d", "-1h", "1w", "1h30"])
    assert.throws(() => parseDuration(text, "--x"), usage, text);
});

it("duration: a time has a zone, or is before now", () => {
  const nowMs = Date.UTC(2026, 0, 31, 12);
  for (const [text, ms] of [
    ["2026-01-31T12:00:00Z", nowMs],
    ["2026-01-31T13:00:00+01:00", nowMs],
    ["2026-01-31 12:00Z", nowMs],
    ["2026-01-31T12:00:00.250Z", nowMs + 250],
    ["-5m", nowMs - 300_000],
    ["-1.5s", nowMs - 1500],
    ["-2d", nowMs - 172_800_000],
  ] as const)
    assert.equal(parseTime(text, "--at", nowMs), ms, text);
  for (const text of [
    "",
    "now",
    "2026-01-31",
    "2026-01-31T12:00:00",
    "12:00Z",
    "2026-13-31T12:00:00Z",
    "5m",
    "-",
    "-x",
  ])
    assert.throws(() => parseTime(text, "--at", nowMs), usage, text);
});
