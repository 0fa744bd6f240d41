// The NBD server of a command, which holds it, and so the process, below what that may take.

import type { ExportCatalog, NbdServerOptions } from "#gateway/nbd";
import { NbdServer } from "#gateway/nbd";
import { rereading } from "#host/node";
import type { GlobalConfig } from "./config.ts";
import type { ServedCatalog, Surroundings } from "./surroundings.ts";

export function boundedServer(
  options: NbdServerOptions,
  exports: ExportCatalog,
  { memoryBytes }: GlobalConfig,
  outside: Surroundings,
  { requestBytes }: ServedCatalog,
): NbdServer {
  const { clock, log, metrics } = outside;
  const limits = requestBytes === undefined ? {} : { requestBytesMax: requestBytes };
  const server = new NbdServer(
    { ...options, ...limits },
    { exports, clock, log, metrics, reread: rereading },
  );
  if (memoryBytes !== null) outside.guardMemory(memoryBytes, (isSqueezed) => server.squeeze(isSqueezed));
  return server;
}
