// BringIn: parts of what is asked for, a few at a time, in the order they were asked for, to the end also when one fails.

import assert from "node:assert/strict";
import { test } from "node:test";
import { BringIn } from "./bring-in.ts";

const partBytes = 256 * 1024;

test("at most three parts are under way, and who waits longest is next", async () => {
  const started: number[] = [];
  const ends: (() => void)[] = [];
  const bringIn = new BringIn((_target, offset, length) => {
    assert.ok(length <= partBytes);
    started.push(offset);
    return new Promise((resolve) => ends.push(resolve));
  });
  let ended = 0;
  const count = (): void => {
    ended += 1;
  };
  const large = bringIn.bring(0, 4 * partBytes + 4096).then(count);
  const small = bringIn.bring(100 * partBytes, 4096).then(count);
  const expected = [0, 1, 2, 3, 4, 100].map((part) => part * partBytes);
  for (let done = 0; done < expected.length; done++) {
    await new Promise(setImmediate);
    assert.deepEqual(started, expected.slice(0, Math.min(expected.length, done + 3)));
    ends[done]();
  }
  await Promise.all([large, small]);
  assert.equal(ended, 2);
});

test("one that fails gives its turn away", async () => {
  const bringIn = new BringIn(async (_target, offset) => {
    if (offset === 0) throw new Error("broken");
  });
  const failing = Array.from({ length: 5 }, () => bringIn.bring(0, 4096));
  assert.ok((await Promise.allSettled(failing)).every(({ status }) => status === "rejected"));
  await bringIn.bring(4096, 4096);
});
