// gateway/nbd: volumes as network block devices (fixed newstyle NBD). Enters: an ExportCatalog of BlockDevices.
// Leaves: a server on TCP and unix sockets that qemu, libnbd and the Linux kernel take unchanged.

export type { Entrance } from "./entrance.ts";
export { enterExport } from "./entrance.ts";
export type { ExportCatalog, ExportSummary } from "./exports.ts";
export { DeviceExports } from "./exports.ts";
export type { ListenAddress } from "./listener.ts";
export { describeAddress } from "./listener.ts";
export type { NbdServerDeps, NbdServerOptions } from "./server.ts";
export { NbdServer } from "./server.ts";
export type { NbdTls, TlsCredentials } from "./tls.ts";
