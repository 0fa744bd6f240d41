// The times and limits of a link to a peer, and what they are unless told otherwise.

import type { PeerId } from "#model";

export interface PeerClientSettings {
  readonly requestTimeoutMs: number;
  readonly connectTimeoutMs: number;
  /** A peer that owes something is asked for a sign of life after this long without one. */
  readonly pingEveryMs: number;
  /** Without any sign of life for this long, while one is due, the connection is given up. */
  readonly silenceMs: number;
  readonly backoffMsMin: number;
  readonly backoffMsMax: number;
  readonly windowRequests: number;
  readonly windowBytes: number;
  readonly waitingRequestsMax: number;
}

export interface PeerClientOptions extends Partial<PeerClientSettings> {
  readonly clusterId: string;
  /** Who must answer; empty to talk to whoever is at the address. */
  readonly peer: PeerId;
}

/**
 * A peer's thread answers pings while fdatasync and requests wait, so a slow disk is not silent: it has `requestTimeoutMs`. What a
 * second of silence means is a process that does not run, a line that is cut, or a thread that has stood in one write of its disk for
 * that long. To give up a connection costs little (it is made again, and what the peer has is not sent twice); the replicator strikes a
 * member only when it stays silent for half a second more. An attempt to connect that is refused costs next to nothing.
 */
export const peerClientDefaults: PeerClientSettings = {
  requestTimeoutMs: 5000,
  connectTimeoutMs: 2000,
  pingEveryMs: 250,
  silenceMs: 1000,
  backoffMsMin: 50,
  backoffMsMax: 250,
  windowRequests: 512,
  windowBytes: 32 * 2 ** 20,
  waitingRequestsMax: 65_536,
};
