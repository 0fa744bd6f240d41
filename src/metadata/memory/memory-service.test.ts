// The metadata service in memory passes the suite.

import { ManualClock } from "../manual-clock.fixture.ts";
import type { MetadataService } from "../service.ts";
import { serviceSuite } from "../service-suite.ts";
import { MemoryMetadataService, MemoryMetadataState } from "./memory-service.ts";

serviceSuite("memory", async () => {
  const clock = new ManualClock();
  const historyRevisionsMax = 1000;
  const state = new MemoryMetadataState({ historyRevisionsMax }, { clock });
  const clients: MetadataService[] = [];
  return {
    historyRevisionsMax,
    connect: async () => {
      const client = new MemoryMetadataService({ state }, { clock });
      clients.push(client);
      return client;
    },
    advance: (ms) => clock.advance(ms),
    dispose: async () => {
      for (const client of clients) await client.close();
    },
  };
});
