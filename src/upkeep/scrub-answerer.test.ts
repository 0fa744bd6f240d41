// What operators ask the scrubber: done once, told while it lasts and at the end, and taken up again after a restart.

import assert from "node:assert/strict";
import { it } from "node:test";
import type { ScrubReport } from "#metadata";
import { ClusterMetadata, MemoryMetadataService, MemoryMetadataState } from "#metadata";
import { SeededRandom } from "../sim/random.ts";
import { SteppedClock } from "../storage/disk-store.fixture.ts";
import { ScrubAnswerer } from "./scrub-answerer.ts";
import type { AskedRound } from "./scrubber.ts";

const peer = "a";

/** A scrubber whose round is as far as the test says. */
class SteeredScrubber {
  round: AskedRound | null = null;
  report: ScrubReport = { done: 0.9, found: 9, repaired: 9, unrepairable: 0 };
  readonly hurried: string[] = [];

  hurry(asked: string): void {
    this.hurried.push(asked);
    this.reach({ asked, done: 0, found: 0, repaired: 0, isEnded: false });
  }

  reach(round: Partial<AskedRound>): void {
    this.round = { ...(this.round as AskedRound), ...round };
  }
}

async function openAsked() {
  const clock = new SteppedClock();
  const quiet = (): void => {};
  const log = { debug: quiet, info: quiet, warn: quiet, error: quiet, child: () => log };
  const state = new MemoryMetadataState({}, { clock });
  const service = new MemoryMetadataService({ state }, { clock });
  const cluster = new ClusterMetadata(service, { clock, random: new SeededRandom(1), log });
  const ring = { version: 1, type: "rendezvous", replicas: 1, members: [] } as const;
  await cluster.init({ blockBytes: 2 ** 20, ring });
  await cluster.peers.register({ peer, address: "n1:1", sizeBytes: 1, labels: {}, protocolVersion: 1 });
  const { scrubs } = cluster;
  const start = (scrubber: SteeredScrubber): ScrubAnswerer =>
    new ScrubAnswerer({ everyMs: 10 }, { peer, scrubs, scrubber, wake: () => {}, clock });
  return { scrubs, start };
}

it("scrub answerer: a round is begun once, told of while it lasts, and answered at its end", async () => {
  const { scrubs, start } = await openAsked();
  const scrubber = new SteeredScrubber();
  const answerer = start(scrubber);
  await answerer.pass();
  assert.deepEqual([scrubber.hurried, answerer.everyMs], [[], 30]);
  await scrubs.ask(peer, "t1", 1);
  await answerer.pass();
  assert.equal(answerer.everyMs, 10);
  scrubber.reach({ done: 0.5, found: 2, repaired: 1 });
  scrubber.report = { ...scrubber.report, unrepairable: 1 };
  await answerer.pass();
  const begun = (await scrubs.of(peer))?.answer;
  assert.deepEqual([begun?.done, begun?.found, begun?.repaired, begun?.unrepairable], [0.5, 2, 1, 1]);
  assert.equal(begun?.ended, false);
  scrubber.reach({ done: 1, isEnded: true });
  await answerer.pass();
  assert.deepEqual((await scrubs.of(peer))?.answer, { ...begun, done: 1, ended: true });
  await answerer.pass();
  assert.deepEqual([scrubber.hurried, answerer.everyMs], [["t1"], 30]);
  await scrubs.ask(peer, "t2", 1);
  await answerer.pass();
  assert.deepEqual(scrubber.hurried, ["t1", "t2"]);
  assert.deepEqual((await scrubs.of(peer))?.answer?.found, 0, "the counts of another round");
});

it("scrub answerer: after a restart it is asked for by the same name, and what was repaired before counts", async () => {
  const { scrubs, start } = await openAsked();
  await scrubs.ask(peer, "t1", 1);
  const before = new SteeredScrubber();
  const answerer = start(before);
  await answerer.pass();
  before.reach({ done: 0.5, found: 3, repaired: 2 });
  await answerer.pass();
  const after = new SteeredScrubber();
  const again = start(after);
  await again.pass();
  assert.deepEqual(after.hurried, ["t1"]);
  // The third is found again: its round began anew.
  after.reach({ done: 1, found: 1, repaired: 1, isEnded: true });
  await again.pass();
  const answer = (await scrubs.of(peer))?.answer;
  assert.deepEqual([answer?.found, answer?.repaired, answer?.ended], [3, 3, true]);
});
