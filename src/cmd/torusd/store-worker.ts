// The thread of one store.

import { parentPort, workerData } from "node:worker_threads";
import { releaseHeap } from "#host/node";
import { assert } from "#model";
import type { StoreStart } from "./store-messages.ts";
import { serveStore } from "./store-serving.ts";

assert(parentPort !== null, "a store's thread is started by torusd");
await serveStore(workerData as StoreStart, parentPort);
releaseHeap();
