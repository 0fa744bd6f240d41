// The counters of the reconciler. The names of requests are those of the original Torus.

import type { Counter, Metrics } from "#host";

export interface ReconcileCounters {
  readonly requests: Counter;
  readonly failures: Counter;
  readonly sentBlocks: Counter;
  readonly sentBytes: Counter;
  readonly removedBlocks: Counter;
  readonly differingBlocks: Counter;
}

export function reconcileCounters(metrics: Metrics): ReconcileCounters {
  return {
    requests: metrics.counter("torus_distributor_rebalance_rpcs_total", "Requests made to move blocks."),
    failures: metrics.counter("torus_distributor_rebalance_rpc_failures", "Of these, those that failed."),
    sentBlocks: metrics.counter("torus_upkeep_sent_blocks_total", "Copies sent to peers that lacked them."),
    sentBytes: metrics.counter("torus_upkeep_sent_bytes_total", "Bytes of these copies."),
    removedBlocks: metrics.counter(
      "torus_upkeep_moved_away_blocks_total",
      "Copies dropped here because the peers that should have them do.",
    ),
    differingBlocks: metrics.counter(
      "torus_upkeep_differing_blocks_total",
      "Sealed copies met that differ from this peer's: never to be expected.",
    ),
  };
}
