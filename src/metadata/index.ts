// metadata: what the cluster agrees on. Enters: guarded transactions. Leaves: snapshots, watch events, leases.
export type * from "./records.ts";
export type * from "./service.ts";
