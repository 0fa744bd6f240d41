// One line that says how far something is: written over on a terminal, and elsewhere not a line a second.

import assert from "node:assert/strict";
import { it } from "node:test";
import { SimClock } from "../../sim/clock.ts";
import { ProgressLine } from "./progress-line.ts";

async function told(isTerminal: boolean): Promise<string> {
  const clock = new SimClock();
  let text = "";
  const write = (piece: string): void => void (text += piece);
  const progress = new ProgressLine({ isTerminal }, { clock, write });
  for (let i = 0; i <= 12; i++) {
    progress.say(`${Math.floor(i / 2)}%`);
    await clock.advance(1000);
  }
  progress.end();
  return text;
}

it("on a terminal each change is written over the line before, which goes in the end", async () => {
  const erase = "\r\x1b[K";
  const lines = Array.from({ length: 7 }, (_, i) => `${erase}${i}%`);
  assert.equal(await told(true), `${lines.join("")}${erase}`);
});

it("elsewhere a line is a line, every five seconds at most", async () => {
  assert.equal(await told(false), "0%\n2%\n5%\n");
});
