// A metadata service that is replaced under a program is opened anew; one that only fails is not.

import assert from "node:assert/strict";
import { it } from "node:test";
import type { TorusError } from "#model";
import { TorusError as Failure, isTorusError, metadataBehind } from "#model";
import { LastingMetadata } from "./lasting-metadata.ts";
import { ManualClock } from "./manual-clock.fixture.ts";
import { MemoryMetadataService } from "./memory/memory-service.ts";
import { quietLog } from "./quiet-log.fixture.ts";
import type { MetadataService } from "./service.ts";

/** Services that fail when they are told to, and how many were opened and closed. */
function openable() {
  const counts = { opened: 0, closed: 0 };
  const now: { failure: TorusError | null; mayOpen: boolean } = { failure: null, mayOpen: true };
  const open = async (): Promise<MetadataService> => {
    if (!now.mayOpen) throw new Failure("unavailable", "nobody answers");
    counts.opened += 1;
    now.failure = null;
    const mine = { failure: null as TorusError | null };
    const inner = new MemoryMetadataService({}, { clock: new ManualClock() });
    return {
      url: "test:",
      identity: `store ${counts.opened}`,
      get failure() {
        return mine.failure;
      },
      read: async (ranges) => {
        mine.failure ??= now.failure;
        if (mine.failure !== null) throw mine.failure;
        return inner.read(ranges);
      },
      transact: (guards, changes) => inner.transact(guards, changes),
      watch: (prefix, from, listener) => inner.watch(prefix, from, listener),
      grantLease: (ttlMs) => inner.grantLease(ttlMs),
      renewLease: (lease) => inner.renewLease(lease),
      revokeLease: (lease) => inner.revokeLease(lease),
      close: async () => {
        counts.closed += 1;
        await inner.close();
      },
    };
  };
  return { counts, now, open };
}

it("lasting metadata: opens the service anew, once for all who ask, when another was put in its place", async () => {
  const { counts, now, open } = openable();
  const lasting = await LastingMetadata.open(open, quietLog);
  now.failure = metadataBehind("a backup");
  await assert.rejects(lasting.read([{ key: "a" }]), (error) => isTorusError(error, "metadata-behind"));
  assert.equal(lasting.failure, null);
  await Promise.all([lasting.read([{ key: "a" }]), lasting.grantLease(1000), lasting.read([])]);
  assert.deepEqual(counts, { opened: 2, closed: 1 });
  assert.equal(lasting.identity, "store 2");
  await lasting.close();
  assert.deepEqual(counts, { opened: 2, closed: 2 });
});

it("lasting metadata: tries again while the new one cannot be opened, and leaves other failures alone", async () => {
  const { counts, now, open } = openable();
  const lasting = await LastingMetadata.open(open, quietLog);
  now.failure = metadataBehind("a backup");
  await assert.rejects(lasting.read([]));
  now.mayOpen = false;
  await assert.rejects(lasting.read([]), (error) => isTorusError(error, "unavailable"));
  now.mayOpen = true;
  await lasting.read([]);
  assert.equal(counts.opened, 2);
  now.failure = new Failure("unavailable", "a commit failed");
  await assert.rejects(lasting.read([]), /a commit failed/);
  assert.equal(lasting.failure?.message, "a commit failed");
  assert.equal(counts.opened, 2);
  await lasting.close();
});
