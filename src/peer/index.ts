// peer: a store stretched over TCP. Enters: BlockStore calls at a PeerClient. Leaves: the same calls at the
// BlockStore behind a PeerServer elsewhere. Knows the wire; knows nothing of what blocks mean or who should hold them.

export type { DisconnectListener, PeerClientDeps } from "./client.ts";
export { PeerClient } from "./client.ts";
export type { PeerClientOptions, PeerClientSettings } from "./client-settings.ts";
export { peerClientDefaults } from "./client-settings.ts";
export type { PeerIdentity } from "./greeting.ts";
export { protocolVersionMax, protocolVersionMin } from "./greeting.ts";
export type { PeerPoolDeps, PeerPoolOptions } from "./pool.ts";
export { PeerPool } from "./pool.ts";
export type { PeerServerDeps, PeerServerOptions } from "./server.ts";
export { PeerServer, peerServerDefaults } from "./server.ts";
