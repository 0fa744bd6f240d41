// The lease machine: when it renews, holds, resumes and loses; no order of events lets it serve too long.

import assert from "node:assert/strict";
import { it } from "node:test";
import fc from "fast-check";
import { LeaseMachine, type LeaseTime, leaseTimes } from "./lease-machine.ts";

const times = leaseTimes(10_000);
const at = (monotonicMs: number, wallMs = monotonicMs): LeaseTime => ({ monotonicMs, wallMs });

function machine(): LeaseMachine {
  return new LeaseMachine(times, at(0));
}

it("lease machine: renews at a third of the lease, counted from the send", () => {
  const lease = machine();
  assert.equal(Math.round(lease.nextTickMs(at(0))), 3333);
  assert.deepEqual(lease.handle({ kind: "tick" }, at(3000)), []);
  const sent = at(3334);
  assert.deepEqual(lease.handle({ kind: "tick" }, sent), ["renew"]);
  assert.deepEqual(lease.handle({ kind: "acknowledged", sent }, at(3400)), []);
  assert.equal(Math.round(lease.nextTickMs(at(3400))), 3267);
});

it("lease machine: holds before the lease can have run out, and resumes when a renewal is acknowledged", () => {
  const lease = machine();
  assert.ok(lease.mayServe(at(7999)));
  assert.ok(!lease.mayServe(at(8000)), "also when no tick came in time");
  lease.handle({ kind: "tick" }, at(3334));
  lease.handle({ kind: "tick" }, at(6700));
  assert.deepEqual(lease.handle({ kind: "tick" }, at(8000)), ["hold"]);
  assert.deepEqual(lease.handle({ kind: "tick" }, at(8001)), []);
  const sent = at(60_000);
  assert.deepEqual(lease.handle({ kind: "tick" }, sent), ["renew"]);
  assert.deepEqual(lease.handle({ kind: "acknowledged", sent }, at(60_500)), ["resume"]);
  assert.equal(lease.state, "serving");
  assert.ok(lease.mayServe(at(67_999)));
  assert.ok(!lease.mayServe(at(68_000)), "counted from the send, not from the answer");
});

it("lease machine: an answer to an old renewal counts from that renewal's send", () => {
  const lease = machine();
  const first = at(3334);
  const second = at(6668);
  lease.handle({ kind: "tick" }, first);
  assert.deepEqual(lease.handle({ kind: "tick" }, second), ["renew"]);
  lease.handle({ kind: "acknowledged", sent: second }, at(6700));
  lease.handle({ kind: "acknowledged", sent: first }, at(6800));
  assert.ok(lease.mayServe(at(second.monotonicMs + 7999)));
  assert.ok(!lease.mayServe(at(second.monotonicMs + 8000)));
  const slow = machine();
  slow.handle({ kind: "tick" }, first);
  slow.handle({ kind: "tick" }, second);
  assert.deepEqual(slow.handle({ kind: "acknowledged", sent: first }, at(11_400)), ["hold", "renew"]);
});

it("lease machine: tries again soon after a failure", () => {
  const lease = machine();
  const sent = at(3334);
  lease.handle({ kind: "tick" }, sent);
  assert.deepEqual(lease.handle({ kind: "failed", sent }, at(3400)), []);
  assert.equal(lease.nextTickMs(at(3400)), 934);
  assert.deepEqual(lease.handle({ kind: "tick" }, at(4334)), ["renew"]);
});

it("lease machine: a wall clock that jumps ahead, or a suspend that monotonic time does not see, holds", () => {
  const lease = machine();
  assert.ok(!lease.mayServe(at(10, 3_600_000)));
  assert.deepEqual(lease.handle({ kind: "tick" }, at(10, 3_600_000)), ["hold", "renew"]);
});

it("lease machine: a wall clock that is set back does not prolong the lease", () => {
  const lease = machine();
  assert.ok(!lease.mayServe(at(8000, -3_600_000)));
  assert.deepEqual(lease.handle({ kind: "tick" }, at(8000, -3_600_000)), ["hold", "renew"]);
});

it("lease machine: is lost for good when another writer is seen", () => {
  const lease = machine();
  assert.deepEqual(lease.handle({ kind: "fenced" }, at(10)), ["lost"]);
  assert.deepEqual(lease.handle({ kind: "fenced" }, at(11)), []);
  assert.deepEqual(lease.handle({ kind: "acknowledged", sent: at(12) }, at(13)), []);
  assert.ok(!lease.mayServe(at(13)));
});

it("lease machine: property: never serves when the service may have let the lease go", () => {
  // The service counts from when it got the renewal, which is after the send; answers are late, lost or out of order.
  const step = fc.record({
    passMs: fc.integer({ min: 1, max: 6000 }),
    suspendMs: fc.oneof(fc.constant(0), fc.integer({ min: 0, max: 20_000 })),
    deliver: fc.boolean(),
    answer: fc.constantFrom("acknowledged", "failed", "none"),
  });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
      const lease = machine();
      let monotonicMs = 0;
      let wallMs = 0;
      let expiresMs = times.ttlMs;
      const unanswered: LeaseTime[] = [];
      for (const { passMs, suspendMs, deliver, answer } of steps) {
        monotonicMs += passMs;
        wallMs += passMs + suspendMs;
        const now = { monotonicMs, wallMs };
        if (lease.handle({ kind: "tick" }, now).includes("renew") && deliver) {
          unanswered.push(now);
          expiresMs = Math.max(expiresMs, wallMs + times.ttlMs);
        }
        if (answer !== "none" && unanswered.length > 0) {
          lease.handle(
            { kind: answer, sent: unanswered.splice((passMs * 7) % unanswered.length, 1)[0] },
            now,
          );
        }
        if (lease.mayServe(now)) assert.ok(wallMs < expiresMs);
        assert.ok(lease.nextTickMs(now) >= 1);
      }
    }),
  );
});
