import { systemClock, systemNetwork } from "#host/node";
import { MemoryStore } from "#storage";
import { storeSuite } from "../storage/store-suite.ts";
import { openLoopback } from "./loopback.ts";

const host = { network: systemNetwork, clock: systemClock, address: { host: "127.0.0.1", port: 0 } };

storeSuite("memory over TCP", async () => {
  const memory = new MemoryStore({ peer: "p1", sizeBytes: 32 * 2 ** 20 });
  let loopback = await openLoopback(memory, host);
  return {
    store: loopback.client(),
    reopen: async (options) => {
      await loopback.close();
      memory.restart(options);
      loopback = await openLoopback(memory, host, { incarnation: memory.incarnation });
      return loopback.client();
    },
    corrupt: (ref, offset) => memory.corrupt(ref, offset),
    close: () => loopback.close(),
  };
});
