// Fencing for an attach: whom it waits for, and for how long.

import assert from "node:assert/strict";
import { test } from "node:test";
import type { VolumeState } from "#metadata";
import type { BlockStore, FenceReport, PeerId } from "#model";
import { isTorusError, TorusError } from "#model";
import { createRing } from "#ring";
import type { ClusterView } from "./cluster-view.ts";
import { FenceDecision } from "./decided-fence.ts";
import { MovingClock } from "./moving-clock.fixture.ts";
import { fenceForAttach } from "./recovery.ts";

const log = { debug() {}, info() {}, warn() {}, error() {}, child: () => log };
const report: FenceReport = { epoch: 2, blocks: [], durableIndex: 0, durableOffset: 0, cutEpoch: 0 };

const metadata = {
  clusterId: "c",
  identity: "m",
  generation: 0,
  revision: 5,
  ringVersion: 1,
  lastVolumeId: 1,
};

/** What a peer does when it is asked to let in a new writer. */
type Behaviour = "answers" | "dead" | "silent";

async function fence(behaviours: Readonly<Record<PeerId, Behaviour>>, timeoutMs = 30_000) {
  const clock = new MovingClock();
  const members = Object.keys(behaviours).map((peer) => ({ peer, weight: 1, labels: { host: peer } }));
  const ring = createRing({ version: 1, type: "rendezvous", replicas: 3, members });
  const spec = { id: 1, name: "v", minReplicas: 2 };
  const state = { spec, head: null, logmap: null } as unknown as VolumeState;
  const storeOf = (peer: PeerId) =>
    ({
      fence: () => {
        if (behaviours[peer] === "answers") return Promise.resolve(report);
        if (behaviours[peer] === "silent") return new Promise(() => {});
        return Promise.reject(new TorusError("unavailable", `peer ${peer} cannot be reached`));
      },
    }) as unknown as BlockStore;
  const view = { ring, ringOf: () => ring } as unknown as ClusterView;
  const options = { epoch: 2, timeoutMs, wantsWhole: false };
  const decision = new FenceDecision({ view: metadata, headEpoch: 0 }, () => Promise.reject(new Error()));
  const reports = await fenceForAttach(state, options, {
    storeOf,
    clock,
    log,
    view,
    everyone: null,
    decision,
  });
  return { answered: [...reports.keys()].sort(), tookMs: clock.monotonicMs() };
}

test("a peer that cannot be reached is not waited for where the others are enough", async () => {
  const { answered, tookMs } = await fence({ a: "answers", b: "answers", c: "dead" });
  assert.deepEqual(answered, ["a", "b"]);
  assert.ok(tookMs < 100, `${tookMs} ms`);
});

test("a silent peer has a moment to answer, and no more where the others are enough", async () => {
  const { answered, tookMs } = await fence({ a: "answers", b: "answers", c: "silent" });
  assert.deepEqual(answered, ["a", "b"]);
  assert.ok(tookMs >= 300 && tookMs < 400, `${tookMs} ms`);
});

test("where the others are not enough everyone is waited for, to the end", async () => {
  for (const away of ["dead", "silent"] as const) {
    const fencing = fence({ a: "answers", b: away, c: away }, 7000);
    await assert.rejects(
      fencing,
      (error) => isTorusError(error, "incomplete") && /1 of 3/.test(error.message),
    );
  }
});
