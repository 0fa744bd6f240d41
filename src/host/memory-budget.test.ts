// The budget: who comes when it is full waits, the oldest first; the last to come before may pass it, and a squeezed one lets somebody in still.

import assert from "node:assert/strict";
import { test } from "node:test";
import { MemoryBudget } from "./memory-budget.ts";

test("those who wait are woken in their order, while there is room", () => {
  const budget = new MemoryBudget(100);
  const woken: string[] = [];
  budget.take(90);
  assert.equal(budget.full, false);
  budget.take(50);
  assert.equal(budget.full, true, "the last to come may pass the limit");
  budget.wait(() => {
    woken.push("first");
    budget.take(100);
  });
  const second = (): void => void woken.push("second");
  budget.wait(second);
  budget.give(30);
  assert.deepEqual(woken, []);
  budget.give(110);
  assert.deepEqual(woken, ["first"], "the first filled it again");
  budget.forget(second);
  budget.give(100);
  assert.deepEqual([woken, budget.bytes], [["first"], 0]);
});

test("a squeezed budget is full sooner, never when nobody holds anything, and wakes who waits when it is over", () => {
  const budget = new MemoryBudget(80);
  let woken = 0;
  budget.take(10);
  budget.squeeze(true);
  assert.equal(budget.full, true);
  budget.wait(() => (woken += 1));
  budget.squeeze(false);
  assert.equal(woken, 1);
  budget.squeeze(true);
  budget.give(10);
  assert.equal(budget.full, false);
});
