// torusctl peer scrub: who is asked, what is told while it waits and at the end, and what the list of peers says.

import assert from "node:assert/strict";
import { afterEach, beforeEach, it } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import type { ScrubAnswer } from "#metadata";
import { peerIds, TorusctlFixture } from "./torusctl.fixture.ts";

const answer: ScrubAnswer = {
  beganMs: 1000,
  updatedMs: 11_000,
  done: 0.25,
  found: 2,
  repaired: 1,
  unrepairable: 0,
  ended: false,
};
const last: ScrubAnswer = { ...answer, done: 1, repaired: 2, ended: true };

let torusctl: TorusctlFixture;

beforeEach(async () => {
  torusctl = new TorusctlFixture();
  await torusctl.json("init --replication 1");
});

afterEach(() => torusctl.close());

/** As the peer does. */
async function answerFor(peer: string, said: ScrubAnswer): Promise<void> {
  await torusctl.withCluster(async ({ scrubs }) => {
    const request = await scrubs.of(peer);
    assert.ok(request !== null, `${peer} was asked`);
    await scrubs.answer(peer, request.token, said);
  });
}

it("torusctl peer scrub: asks those that are alive, once, and the list of peers tells how far they are", async () => {
  const { code, err } = await torusctl.run("peer scrub");
  assert.equal(code, 1);
  assert.match(err, /no peer is alive/);
  await torusctl.startPeer(peerIds[0], "n1:4321", 2 ** 30);
  const lease = await torusctl.startPeer(peerIds[1], "n2:4321", 2 ** 30);
  await torusctl.stopPeer(lease);
  assert.match((await torusctl.run("peer scrub n2:4321")).err, /start the torusd of n2:4321/);
  assert.doesNotMatch((await torusctl.run("peer list")).out, /scrub/);
  const asked = await torusctl.run("peer scrub");
  assert.match(asked.err, /DOWN, and not asked: n2:4321/);
  assert.match(asked.out, /n1:4321 .* asked +0 +0 +0\n/);
  await answerFor(peerIds[0], answer);
  const { peers } = (await torusctl.json("peer scrub n1:4321")) as { peers: object[] };
  const { askedMs } = peers[0] as { askedMs: number };
  const said = { askedMs, beganMs: 1000, endedMs: null, done: 0.25, found: 2, repaired: 1, unrepairable: 0 };
  const whole = { ...said, remainingMs: 30_000 };
  assert.deepEqual(peers, [{ peer: peerIds[0], address: "n1:4321", ...whole }]);
  const listing = (await torusctl.json("peer list")) as { peers: { scrubAsked: object | null }[] };
  assert.deepEqual(
    listing.peers.map(({ scrubAsked }) => scrubAsked),
    [whole, null],
  );
  const footer =
    /Asked to scrub, last \d+s ago: 0 of 1 peers done, 25%, damaged blocks: 2 found, 1 repaired, 0 unrepairable/;
  assert.match((await torusctl.run("peer list")).out, footer);
});

it("torusctl peer scrub --wait: ends when all are done, with 1 when a block has no good copy", async () => {
  await torusctl.startPeer(peerIds[0], "n1:4321", 2 ** 30);
  await torusctl.startPeer(peerIds[1], "n2:4321", 2 ** 30);
  await torusctl.run("peer scrub");
  await answerFor(peerIds[0], last);
  await answerFor(peerIds[1], answer);
  // The first is asked anew: what it answered was about another time.
  const waiting = torusctl.run("peer scrub --wait");
  const isAskedAnew = (): Promise<boolean> =>
    torusctl.withCluster(async ({ scrubs }) => (await scrubs.of(peerIds[0]))?.answer === null);
  while (!(await isAskedAnew())) await sleep(10);
  await answerFor(peerIds[0], last);
  await answerFor(peerIds[1], { ...last, repaired: 1, unrepairable: 1 });
  const { code, out, err } = await waiting;
  assert.equal(code, 1);
  assert.match(err, /no good copy within reach of 1 damaged block: /);
  assert.match(out, /n1:4321 .* done +2 +2 +0\n.*n2:4321 .* done +2 +1 +1\n$/);
});
