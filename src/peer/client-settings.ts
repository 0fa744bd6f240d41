// The times and limits of a link to a peer, and what they are unless told otherwise.

export interface PeerClientSettings {
  readonly requestTimeoutMs: number;
  readonly connectTimeoutMs: number;
  readonly pingEveryMs: number;
  readonly silenceMs: number;
  readonly backoffMsMin: number;
  readonly backoffMsMax: number;
  readonly windowRequests: number;
  readonly windowBytes: number;
  readonly waitingRequestsMax: number;
}

export const peerClientDefaults: PeerClientSettings = {
  requestTimeoutMs: 5000,
  connectTimeoutMs: 2000,
  pingEveryMs: 1000,
  silenceMs: 3000,
  backoffMsMin: 50,
  backoffMsMax: 1000,
  windowRequests: 512,
  windowBytes: 32 * 2 ** 20,
  waitingRequestsMax: 65_536,
};
