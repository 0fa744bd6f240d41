// Courtesy: what a peer that serves users does so that they do not notice what is moved beside them.

export interface Courtesy {
  /** A user's request came at `startedMs`, by the monotonic clock, and is answered now. */
  served(startedMs: number): void;
  /** Resolves when `bytes` that another peer moves here may be stored; soon enough for that peer to hear of it in time. */
  admit(bytes: number): Promise<void>;
}
