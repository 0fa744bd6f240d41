// A guarded transaction as etcd takes it. etcd limits the compares and the operations of one level to --max-txn-ops, 128 by
// default, and a group of operations inside to what the levels above it left over. So many changes are cut into groups: all
// of them still happen in one revision or not at all. Guards cannot be cut, which is why `transactionGuardsMax` is what it is.

import { assert } from "#model";
import type { Compare, Operation, TransactionRequest } from "./request-codec.ts";

export const levelOperationsMax = 128;
const groupsMin = 64;

export function layOutTransaction(
  compares: readonly Compare[],
  operations: readonly Operation[],
): TransactionRequest {
  assert(compares.length <= levelOperationsMax, "the guards fit one level");
  if (operations.length <= levelOperationsMax) return { compares, operations };
  const groups = Math.max(groupsMin, compares.length);
  const groupSize = Math.ceil(operations.length / groups);
  assert(groupSize <= levelOperationsMax - groups, "the changes fit the groups");
  const parts: Operation[] = [];
  for (let at = 0; at < operations.length; at += groupSize) {
    parts.push({ kind: "group", operations: operations.slice(at, at + groupSize) });
  }
  return { compares, operations: parts };
}
