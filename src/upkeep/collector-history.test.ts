// The collector and the history of volumes: the log from the oldest point on is kept though no INode names it, also over crashes and attaches that
// never served; what the history has let go of is collected, and nothing else.

import assert from "node:assert/strict";
import { it } from "node:test";
import { systemClock } from "#host/node";
import type { HistoryPoint, VolumeState } from "#metadata";
import type { BlockRef } from "#model";
import { blockType, isTorusError, pageBytes } from "#model";
import type { TestClient } from "../volume/cluster.fixture.ts";
import { CollectedCluster, content } from "./collected-cluster.fixture.ts";
import { historyStanding } from "./roots.ts";

const pages = 60;
const hourMs = 3_600_000;

async function withHistory(): Promise<{ at: CollectedCluster; operator: TestClient; atMs: number }> {
  const at = await CollectedCluster.open();
  await at.cluster.createVolume("a", pages * pageBytes);
  await at.metadata.history.keep("a", hourMs);
  await at.overwrite("a", pages, 1);
  const atMs = await instant();
  return { at, operator: await at.cluster.client(), atMs };
}

/** A time after all that was answered so far and before all that comes. */
async function instant(): Promise<number> {
  const atMs = Math.floor(systemClock.wallMs()) + 1;
  while (systemClock.wallMs() < atMs + 1) await new Promise((resolve) => setTimeout(resolve, 1));
  return atMs;
}

/** "a" as it was then is as `overwrite` left it with `seed`. */
async function requirePast(
  at: CollectedCluster,
  { volumes }: TestClient,
  atMs: number,
  seed: number,
): Promise<void> {
  await volumes.takeSnapshot({ volume: "a", name: "then", labels: {}, atMs, timeoutMs: 5000 });
  await at.requireContent("a@then", pages, seed);
  await at.metadata.snapshots.delete("a", "then");
}

it("collector [C6]: what was overwritten between two points stays as long as the history has it, and goes with it", async () => {
  const { at, operator, atMs } = await withHistory();
  const { volume, client } = await at.cluster.attach("a");
  // Two contents between two checkpoints: of the first nothing is in any INode.
  const put = async (seed: number): Promise<number> => {
    for (let page = 0; page < pages; page++) await volume.write(page * pageBytes, content(seed, page), false);
    await volume.flush();
    return instant();
  };
  const between = await put(2);
  await put(3);
  await client.close();
  for (let i = 4; i < 7; i++) await at.overwrite("a", pages, i);
  await at.settle();
  await at.audit(2);
  await requirePast(at, operator, atMs, 1);
  await requirePast(at, operator, between, 2);
  await at.settle();
  const before = await at.count();
  await at.metadata.history.keep("a", null);
  await at.settle();
  await at.audit(2);
  assert.ok((await at.count()) < before / 2, `${await at.count()} of ${before}`);
  await at.requireContent("a", pages, 6);
  await operator.close();
});

it("collector [C6]: a history that becomes shorter lets go of what was longer ago, and no more", async () => {
  const { at, operator, atMs } = await withHistory();
  for (let i = 2; i < 6; i++) await at.overwrite("a", pages, i);
  const later = await instant();
  await at.overwrite("a", pages, 6);
  await at.settle();
  const before = await at.count();
  await at.metadata.history.keep("a", 1000);
  while (systemClock.wallMs() < later + 1100) await instant();
  // Points go with a head.
  await at.overwrite("a", pages, 7);
  await at.settle();
  await at.audit(2);
  assert.ok((await at.count()) < before);
  await assert.rejects(requirePast(at, operator, atMs, 1), (error) => isTorusError(error, "not-found"));
  await at.requireContent("a", pages, 7);
  await operator.close();
});

it("collector [C5, C6]: over a crash the history is whole, and open blocks of the log before are not kept for it", async () => {
  const { at, operator, atMs } = await withHistory();
  const { volume, client } = await at.cluster.attach("a");
  for (let page = 0; page < pages; page++) await volume.write(page * pageBytes, content(2, page), false);
  const crashed = await instant();
  client.kill();
  client.close().catch(() => {});
  await at.overwrite("a", pages, 3);
  await at.settle();
  const { history } = await at.metadata.volumes.find("a");
  const start = history?.points.find(({ previousEnd, epoch }) => previousEnd !== null && epoch > 2);
  assert.ok(start !== undefined && start.previousEnd !== null);
  for (const { ref } of [...(await at.blocks()).values()].flat())
    assert.ok(
      ref.type !== 0 || ref.epoch !== 2 || ref.index < (start.previousEnd ?? 0),
      "superseded blocks go",
    );
  await requirePast(at, operator, atMs, 1);
  await requirePast(at, operator, crashed, 2);
  await at.requireContent("a", pages, 3);
  await operator.close();
});

const data = (epoch: number, index: number): Omit<BlockRef, "volume"> => ({
  type: blockType.data,
  epoch,
  index,
});

it("history: the log from the oldest point on is needed, up to where the next one took over", () => {
  const point = (epoch: number, replayFrom: number, previousEnd: number | null) =>
    ({ epoch, replayFrom, previousEnd }) as HistoryPoint;
  const points = [point(3, 10, null), point(3, 20, null), point(5, 1, 25), point(8, 2, 7)];
  const state = { history: { keepMs: 1, points } } as unknown as VolumeState;
  for (const [ref, standing] of [
    [data(2, 99), "none"],
    [data(3, 9), "none"],
    [data(3, 10), "needed"],
    [data(3, 24), "needed"],
    [data(3, 25), "superseded"],
    [data(4, 1), "none"],
    [data(5, 1), "needed"],
    [data(5, 6), "needed"],
    [data(5, 7), "superseded"],
    [data(7, 1), "none"],
    [data(8, 1), "needed"],
    [data(8, 1000), "needed"],
    [data(9, 1), "none"],
    [{ ...data(5, 1), type: blockType.inode }, "none"],
  ] as const)
    assert.equal(historyStanding(ref, state), standing, `${ref.epoch}.${ref.index}`);
  assert.equal(historyStanding(data(3, 10), { history: null }), "none");
  assert.equal(historyStanding(data(3, 10), { history: { keepMs: 1, points: [] } }), "none");
});
