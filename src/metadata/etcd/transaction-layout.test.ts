// How many guards and changes fit a transaction: whatever the seam allows, under the check that etcd makes.

import assert from "node:assert/strict";
import { it } from "node:test";
import { assert as check, integer, property } from "fast-check";
import { transactionChangesMax, transactionGuardsMax } from "../service-limits.ts";
import type { Operation } from "./request-codec.ts";
import { layOutTransaction, levelOperationsMax } from "./transaction-layout.ts";

/** As etcd does it: a level's larger list counts, and what is inside has what is left. */
function requireAccepted(compares: number, operations: readonly Operation[], allowed: number): void {
  const size = Math.max(compares, operations.length);
  assert.ok(size <= allowed, `${size} at a level that allows ${allowed}`);
  for (const operation of operations) {
    if (operation.kind === "group") requireAccepted(0, operation.operations, allowed - size);
  }
}

function flatten(operations: readonly Operation[]): Operation[] {
  return operations.flatMap((operation) =>
    operation.kind === "group" ? flatten(operation.operations) : [operation],
  );
}

function verify(guards: number, changes: number): void {
  const compares = Array.from({ length: guards }, (_, at) => ({ key: `g${at}`, modRevision: at }));
  const operations = Array.from(
    { length: changes },
    (_, at): Operation => ({ kind: "delete", key: `k${at}` }),
  );
  const laidOut = layOutTransaction(compares, operations);
  requireAccepted(laidOut.compares.length, laidOut.operations, levelOperationsMax);
  assert.deepEqual(laidOut.compares, compares);
  assert.deepEqual(flatten(laidOut.operations), operations);
}

it("every transaction within the limits of the seam fits etcd's default limits, with all in it, in order", () => {
  for (const guards of [0, 1, 64, 65, transactionGuardsMax]) {
    for (const changes of [0, 1, 128, 129, transactionChangesMax]) verify(guards, changes);
  }
  check(
    property(
      integer({ min: 0, max: transactionGuardsMax }),
      integer({ min: 0, max: transactionChangesMax }),
      verify,
    ),
    {
      numRuns: 200,
    },
  );
});
