// What is counted of a program's requests to peers.

import type { Counter, Metrics } from "#host";

export interface ClientCounters {
  readonly requests: Counter;
  readonly timeouts: Counter;
  readonly disconnects: Counter;
  readonly late: Counter;
}

export function clientCounters(metrics: Metrics): ClientCounters {
  const counter = (name: string, help: string): Counter =>
    metrics.counter(`torus_peer_client_${name}_total`, help);
  return {
    requests: counter("requests", "Requests made to peers"),
    timeouts: counter("timeouts", "Requests to peers that had no answer in time"),
    disconnects: counter("disconnects", "Connections to peers that were lost"),
    late: counter("late_answers", "Answers of peers that came after their deadline"),
  };
}
