// StoreLine: where a store runs, and the line to it. In a thread of its own a disk that keeps its caller waiting holds up its own clients
// and nobody else's, at the price of a second JavaScript heap, loaded code and all (measured: 25 MiB). The only store of a daemon has
// nobody to hold up: it runs in the daemon's thread.

import { MessageChannel, Worker } from "node:worker_threads";
import { messageOf } from "#model";
import type { FromStore, StoreStart, ToStore } from "./store-messages.ts";

export interface StoreLine {
  tell(message: ToStore): void;
  /** Ends what runs there, whatever it does. */
  close(): Promise<void>;
}

export interface StoreLineHandlers {
  hear(message: FromStore): void;
  /** Nothing is heard from then on. May be called more than once. */
  ended(reason: string): void;
}

// The bundle has the thread's program beside this one, as JavaScript.
const program = new URL(
  import.meta.url.endsWith(".ts") ? "./store-worker.ts" : "./store-worker.js",
  import.meta.url,
);

export function storeInThread(start: StoreStart, { hear, ended }: StoreLineHandlers): StoreLine {
  const worker = new Worker(program, { workerData: start });
  worker.on("message", hear);
  worker.on("error", (error) => ended(messageOf(error)));
  worker.on("exit", (code) => ended(`its thread ended with code ${code}`));
  const close = async (): Promise<void> => void (await worker.terminate());
  return { tell: (message) => worker.postMessage(message), close };
}

export function storeHere(start: StoreStart, { hear, ended }: StoreLineHandlers): StoreLine {
  const { port1: ours, port2: theirs } = new MessageChannel();
  ours.on("message", hear);
  ours.on("close", () => ended("it was closed"));
  // Loaded here only when it runs here.
  import("./store-serving.ts").then(
    ({ serveStore }) => serveStore(start, theirs),
    (error: unknown) => ended(messageOf(error)),
  );
  return { tell: (message) => ours.postMessage(message), close: async () => ours.close() };
}
