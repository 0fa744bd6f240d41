// The bar of long copies: on a terminal by itself when it takes long, elsewhere when it was asked for.

import assert from "node:assert/strict";
import { it } from "node:test";
import type { Clock } from "#host";
import { describeTime, ProgressBar } from "./progress-bar.ts";

const MiB = 2 ** 20;

class StandingClock implements Clock {
  nowMs = 5000;

  monotonicMs(): number {
    return this.nowMs;
  }

  wallMs(): number {
    return this.nowMs;
  }

  setTimer(): never {
    throw new Error("a bar sets no timers");
  }
}

function bar(options: { forced: boolean; isTerminal: boolean }) {
  const clock = new StandingClock();
  const written: string[] = [];
  const write = (text: string): void => void written.push(text);
  return { clock, written, bar: new ProgressBar({ title: "dumping db", ...options }, { clock, write }) };
}

it("progress bar: on a terminal it comes by itself after two seconds, is written over, and goes in the end", () => {
  const { clock, written, bar: shown } = bar({ forced: false, isTerminal: true });
  clock.nowMs += 1900;
  shown.update(10 * MiB, 100 * MiB);
  assert.deepEqual(written, []);
  clock.nowMs += 100;
  shown.update(20 * MiB, 100 * MiB);
  clock.nowMs += 100;
  shown.update(21 * MiB, 100 * MiB);
  shown.end();
  const line = "dumping db: [####................] 20%, 20.0 MiB of 100.0 MiB, 10.0 MiB/s, about 8s left";
  assert.deepEqual(written, [`\r\x1b[K${line}`, "\r\x1b[K"]);
});

it("progress bar: elsewhere only when it was asked for: a line now and then", () => {
  const silent = bar({ forced: false, isTerminal: false });
  silent.clock.nowMs += 60_000;
  silent.bar.update(1, 2);
  silent.bar.end();
  assert.deepEqual(silent.written, []);
  const { clock, written, bar: asked } = bar({ forced: true, isTerminal: false });
  asked.update(0, 4 * MiB);
  clock.nowMs += 1000;
  asked.update(MiB, 4 * MiB);
  clock.nowMs += 1000;
  asked.update(2 * MiB, null);
  asked.end();
  assert.deepEqual(written, [
    "dumping db: [....................]  0%, 0 B of 4.0 MiB, 0 B/s\n",
    "dumping db: 2.0 MiB, 1.0 MiB/s\n",
  ]);
});

it("progress bar: what is left is told in the unit that fits, rounded up", () => {
  assert.deepEqual([1, 119_000, 121_000, 7_300_000].map(describeTime), ["1s", "119s", "3m", "3h"]);
});
