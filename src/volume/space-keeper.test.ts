// SpaceKeeper [C16]: full is not exhausted, and space that comes back is noticed.

import assert from "node:assert/strict";
import { test } from "node:test";
import type { Clock } from "#host";
import type { BlockStore, StoreUsage } from "#model";
import { TorusError } from "#model";
import { attachFullPatienceMs, SpaceKeeper } from "./space-keeper.ts";

const blockBytes = 1000;

function open() {
  const usage: StoreUsage = { sizeBytes: 10_000, usedBytes: 9000, blocks: 9, availableBytes: 0 };
  const state = { usage, isAway: false, isServing: true, nowMs: 0 };
  const told: string[] = [];
  let due: (() => void) | null = null;
  const clock = {
    monotonicMs: () => state.nowMs,
    wallMs: () => 0,
    setTimer: (_: number, callback: () => void) => {
      due = callback;
      return { cancel: () => {} };
    },
  } satisfies Clock;
  const silent = () => {};
  const log = { debug: silent, info: silent, warn: silent, error: silent, child: () => log };
  const store = {
    usage: async () => {
      if (state.isAway) throw new TorusError("unavailable", "away");
      return state.usage;
    },
  } as BlockStore;
  const keeper = new SpaceKeeper(
    { blockBytes, askEveryMs: 1 },
    {
      storeOf: () => store,
      onCondition: (condition) => told.push(condition),
      isServing: () => state.isServing,
      onExhausted: (error) => told.push(`exhausted: ${error.code}`),
      onChange: (isFull) => told.push(isFull ? "full" : "space"),
      clock,
      log,
    },
  );
  const ask = async (): Promise<void> => {
    due?.();
    await new Promise(setImmediate);
  };
  return { keeper, state, told, ask };
}

test("[C16] the first refusal of a peer is for new data, the second means that even the reserve is used up", () => {
  const { keeper, told } = open();
  keeper.refused("p1", 10);
  keeper.refused("p2", 10);
  assert.ok(keeper.isFull);
  assert.equal(keeper.exhaustion, null);
  keeper.refused("p2", 10);
  assert.ok(told.includes("exhausted: full"));
  keeper.advanced(10);
  assert.notEqual(keeper.exhaustion, null, "nothing has moved");
  keeper.advanced(11);
  assert.ok(keeper.isFull);
  assert.equal(keeper.exhaustion, null);
});

test("[C16] new data is taken again when there is room for two blocks of it, and what comes back before is counted", async () => {
  const { keeper, state, told, ask } = open();
  keeper.refused("p1", 10);
  await ask();
  assert.equal(keeper.returns, 0);
  state.usage = { ...state.usage, usedBytes: 8000, availableBytes: blockBytes };
  await ask();
  assert.ok(keeper.isFull);
  assert.equal(keeper.returns, 1);
  state.usage = { ...state.usage, availableBytes: 2 * blockBytes };
  await ask();
  assert.ok(!keeper.isFull);
  assert.deepEqual(told.slice(-2), ["", "space"]);
});

test("a full peer that does not answer is no longer known to be full: if it is, it refuses again", async () => {
  const { keeper, state, ask } = open();
  keeper.refused("p1", 10);
  state.isAway = true;
  await ask();
  assert.ok(!keeper.isFull);
});

test("space: a volume that is being attached is not exhausted before others had time to give some back", () => {
  const { keeper, state, told } = open();
  state.isServing = false;
  for (let i = 0; i < 3; i++) keeper.refused("a", 500);
  assert.ok(!told.includes("exhausted: full"));
  state.nowMs = attachFullPatienceMs;
  keeper.refused("a", 500);
  assert.equal(told.at(-2), "exhausted: full");
  keeper.close();
});
