// The serving of one store: opens the disk, the store and the peer server over it, answers the daemon's questions and stops when told
// to. An error before it is ready is told and ends it; a disk error later drops its clients and shows in every report. It runs in a
// thread of its own when the daemon has several disks, so that a slow one holds up its own clients only, else in the daemon's.

import { Metrics } from "#host";
import { collectGarbage, createLog, openDisk, systemClock, systemNetwork, systemRandom } from "#host/node";
import type { TorusError } from "#model";
import { assert } from "#model";
import { PeerServer } from "#peer";
import { DiskStore } from "#storage";
import { MemoryGuard } from "../shared/memory-guard.ts";
import { residentBytes } from "../shared/process-usage.ts";
import { startMsMax, ThreadPauses } from "../shared/thread-pauses.ts";
import type { StoreSize } from "./config.ts";
import { answerStore } from "./store-answers.ts";
import { StoreLocator } from "./store-locator.ts";
import type { FromStore, StoreReport, StoreStart, ToStore } from "./store-messages.ts";
import { encodeError } from "./store-messages.ts";
import { StoreUpkeep } from "./store-upkeep.ts";

/** Two heartbeats that were missed make a pause of more than this many. */
const heartbeatsPerLook = 8 / 3;

/** The store's end of the line to the daemon. */
export interface StorePort {
  postMessage(message: FromStore): void;
  on(event: "message", listener: (message: ToStore) => void): void;
  close(): void;
}

/** Never rejects: what goes wrong is told at `port`. */
export async function serveStore(start: StoreStart, port: StorePort): Promise<void> {
  try {
    await serve(start, port);
  } catch (error) {
    port.postMessage({ kind: "failed", error: encodeError(error) });
    port.close();
  }
}

function sizeBytesOf(size: StoreSize, totalBytes: number): number {
  return "bytes" in size ? size.bytes : Math.floor((totalBytes * size.percent) / 100);
}

async function serve(start: StoreStart, port: StorePort): Promise<void> {
  const say = (message: FromStore): void => port.postMessage(message);
  const log = createLog({ level: start.logLevel, name: "torusd" }).child({ directory: start.directory });
  const metrics = new Metrics();
  const deps = { clock: systemClock, random: systemRandom, log, metrics };
  const disk = openDisk(start.directory, { log });
  const { blockBytes, cachedBytesMax, memory } = start;
  const sizeBytes = sizeBytesOf(start.size, disk.space().totalBytes);
  let server: PeerServer | null = null;
  const onPoisoned = (error: TorusError): void => server?.fail(error.message);
  const store = await DiskStore.open(
    {
      blockBytes,
      cachedBytesMax,
      sizeBytes,
      bufferBytesMax: memory.bufferBytes,
      lookMsMax: start.heartbeatMs * heartbeatsPerLook,
    },
    { ...deps, disk, onPoisoned },
  );
  const { peer, incarnation } = store;
  const { clusterId, address } = start;
  const upkeep = new StoreUpkeep(start, { ...deps, store, disk });
  server = new PeerServer(
    {
      clusterId,
      incarnation,
      address,
      requestBytesMax: memory.requestBytes,
    },
    { ...deps, ...seamsOf(start, store), confirmer: upkeep, courtesy: upkeep, listen: systemNetwork.listen },
  );
  try {
    await server.start();
  } catch (error) {
    await store.close();
    throw error;
  }
  if (store.poison !== null) server.fail(store.poison.message);
  upkeep.start();
  const guard = guardOf(start, server, metrics);
  const pauses = new ThreadPauses({ afterMs: startMsMax }, deps);
  guard.start();
  if (start.isMeasured) pauses.start();
  const serving = { server, store, upkeep, guard, pauses, metrics };
  port.on("message", (message: ToStore) => {
    if (message.kind === "stop") void stop(serving, port);
    else if (message.kind !== "report") void answerStore(message, store).then(say);
    else void report(serving).then((found) => say({ kind: "report", request: message.request, ...found }));
  });
  assert("port" in server.address, "a peer listens at a port");
  say({ kind: "ready", peer, incarnation, address: server.address, sizeBytes });
}

/** All that the server sees of the store. */
function seamsOf({ directory }: StoreStart, store: DiskStore) {
  return { store, witness: store, locator: new StoreLocator(directory, store) };
}

function guardOf({ memoryBytesMax }: StoreStart, server: PeerServer, metrics: Metrics): MemoryGuard {
  return new MemoryGuard(
    { memoryBytesMax },
    {
      clock: systemClock,
      metrics,
      residentBytes,
      collectGarbage,
      squeeze: (isSqueezed) => server.squeeze(isSqueezed),
    },
  );
}

interface Serving {
  readonly server: PeerServer;
  readonly store: DiskStore;
  readonly upkeep: StoreUpkeep;
  readonly guard: MemoryGuard;
  readonly pauses: ThreadPauses;
  readonly metrics: Metrics;
}

async function report({ store, upkeep, metrics }: Serving): Promise<StoreReport> {
  const usage = await store.usage().catch(() => ({ usedBytes: 0, blocks: 0 }));
  const refusal = store.behind === "" ? null : `metadata went back: ${store.behind}`;
  const condition = store.poison?.message ?? refusal ?? upkeep.condition ?? "ok";
  const { usedBytes, blocks } = usage;
  return { usedBytes, blocks, condition, ...upkeep.reports, metrics: metrics.collect() };
}

async function stop({ server, store, upkeep, guard, pauses }: Serving, port: StorePort): Promise<void> {
  let failure: unknown = null;
  guard.close();
  pauses.close();
  try {
    await Promise.all([server.close(), upkeep.close()]);
    await store.close();
  } catch (error) {
    failure = error;
  }
  port.postMessage({ kind: "stopped", error: failure === null ? null : encodeError(failure) });
  port.close();
}
