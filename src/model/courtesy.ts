// Courtesy: what a peer that serves users does so that they do not notice what is moved beside them.

/** What users wait for, each for reasons of its own: an append for this thread, a sync and a read for the disk. */
export const userRequests = ["append", "sync", "read"] as const;
export type UserRequest = (typeof userRequests)[number];

export interface Courtesy {
  /** A user's request came at `startedMs`, by the monotonic clock, and is answered now. */
  served(kind: UserRequest, startedMs: number): void;
  /** Resolves when `bytes` that another peer moves here may be stored; soon enough for that peer to hear of it in time. */
  admit(bytes: number): Promise<void>;
}
