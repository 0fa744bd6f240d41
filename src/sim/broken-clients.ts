// What canaries put above a volume, and between a client and the metadata service: users' promises and transactions that break one
// rule each.

import type { Change, Guard, KeyValue, MetadataService, Range, Snapshot, TransactionResult } from "#metadata";
import { isTorusError, pageBytes } from "#model";
import type { AttachedVolume } from "#volume";

/** Hands every call to `volume` but for those in `changes`. */
export function withVolume(volume: AttachedVolume, changes: Partial<AttachedVolume>): AttachedVolume {
  return {
    info: volume.info,
    lost: volume.lost,
    cut: () => volume.cut(),
    read: (offset, length) => volume.read(offset, length),
    write: (offset, bytes, fua) => volume.write(offset, bytes, fua),
    trim: (offset, length, fua) => volume.trim(offset, length, fua),
    writeZeroes: (offset, length, fua) => volume.writeZeroes(offset, length, fua),
    extents: (offset, length, countMax) => volume.extents(offset, length, countMax),
    changedSince: (snapshot, ...range) => volume.changedSince(snapshot, ...range),
    flush: () => volume.flush(),
    close: () => volume.close(),
    ...changes,
  };
}

/** A part of a page is written by reading it, changing it and writing it, and nobody waits for anybody. */
export function unlockedParts(volume: AttachedVolume): AttachedVolume {
  return withVolume(volume, {
    write: async (offset, bytes, fua) => {
      const first = Math.floor(offset / pageBytes) * pageBytes;
      const end = Math.ceil((offset + bytes.length) / pageBytes) * pageBytes;
      if (first === offset && end === offset + bytes.length) return volume.write(offset, bytes, fua);
      const pages = Uint8Array.from(await volume.read(first, end - first));
      pages.set(bytes, offset - first);
      return volume.write(first, pages, fua);
    },
  });
}

/** A flush that failed has had its error; the next one has nothing to do. */
export function secondFlushIsOk(volume: AttachedVolume): AttachedVolume {
  let failed = false;
  return withVolume(volume, {
    flush: async () => {
      try {
        await volume.flush();
      } catch (error) {
        if (!failed) {
          failed = true;
          throw error;
        }
      }
    },
  });
}

/** A flush is answered at once. */
export function idleFlush(volume: AttachedVolume): AttachedVolume {
  return withVolume(volume, { flush: async () => {} });
}

/** Writes are answered when they were made. */
export function unheldWrites(volume: AttachedVolume): AttachedVolume {
  return withVolume(volume, {
    write: async (offset, bytes, fua) => {
      volume.write(offset, bytes, fua).catch(() => {});
    },
  });
}

/** Now and then a bit is wrong in what is read, as without checksums. */
export function unverifiedReads(volume: AttachedVolume): AttachedVolume {
  let reads = 0;
  return withVolume(volume, {
    read: async (offset, length) => {
      const bytes = Uint8Array.from(await volume.read(offset, length));
      reads += 1;
      if (reads % 20 === 0) bytes[bytes.length >> 1] ^= 4;
      return bytes;
    },
  });
}

/** Hands every call to `service` but for those in `changes`. */
export function withService(service: MetadataService, changes: Partial<MetadataService>): MetadataService {
  return {
    url: service.url,
    identity: service.identity,
    get failure() {
      return service.failure;
    },
    read: (ranges) => service.read(ranges),
    transact: (guards, what) => service.transact(guards, what),
    watch: (prefix, from, listener) => service.watch(prefix, from, listener),
    grantLease: (ttlMs) => service.grantLease(ttlMs),
    renewLease: (lease) => service.renewLease(lease),
    revokeLease: (lease) => service.revokeLease(lease),
    close: () => service.close(),
    ...changes,
  };
}

function changingReads(service: MetadataService, change: (entry: KeyValue) => KeyValue): MetadataService {
  return withService(service, {
    read: async (ranges: readonly Range[]): Promise<Snapshot> => {
      const { revision, ranges: found } = await service.read(ranges);
      return { revision, ranges: found.map((entries) => entries.map(change)) };
    },
  });
}

/** Who reads a logmap does not see who was struck. */
export function strikesForgotten(service: MetadataService): MetadataService {
  return changingReads(service, (entry) => {
    if (!entry.key.endsWith("/logmap")) return entry;
    return { ...entry, value: JSON.stringify({ ...JSON.parse(entry.value), struck: [] }) };
  });
}

/** Of the ring's history only the version in force is kept. */
export function ringsForgotten(service: MetadataService): MetadataService {
  return withService(service, {
    read: async (ranges: readonly Range[]): Promise<Snapshot> => {
      const { revision, ranges: found } = await service.read([...ranges, { key: "ring" }]);
      const pointer = found[ranges.length].at(0);
      const { version } = JSON.parse(pointer?.value ?? '{"version":0}') as { version: number };
      const isKept = ({ key }: KeyValue): boolean =>
        !key.startsWith("rings/") || Number.parseInt(key.slice("rings/".length), 16) >= version;
      return { revision, ranges: found.slice(0, -1).map((entries) => entries.filter(isKept)) };
    },
  });
}

/** Transactions are sent without their guards. */
export function unguarded(service: MetadataService): MetadataService {
  return withService(service, {
    transact: (guards: readonly Guard[], changes: readonly Change[]): Promise<TransactionResult> => {
      const isHead = changes.some(({ key }) => key.endsWith("/head"));
      return service.transact(isHead ? [] : guards, changes);
    },
    // Nor does it look before whose turn it is: what it read when it was its own is good enough.
    ...remembering(service),
  });
}

/** No answer means that nothing has changed: a lease is renewed by silence. */
export function silenceIsConsent(service: MetadataService): MetadataService {
  return withService(service, {
    ...remembering(service),
    renewLease: (lease) =>
      service.renewLease(lease).catch((error: unknown) => {
        if (!isTorusError(error, "timeout", "unavailable")) throw error;
      }),
  });
}

/** Reads that answer, after a failure, with what they found the time before. */
function remembering(service: MetadataService): Partial<MetadataService> {
  const known = new Map<string, Snapshot>();
  return {
    read: async (ranges: readonly Range[]): Promise<Snapshot> => {
      const key = JSON.stringify(ranges);
      try {
        const snapshot = await service.read(ranges);
        known.set(key, snapshot);
        return snapshot;
      } catch (error) {
        const before = known.get(key);
        if (before === undefined || !isTorusError(error, "timeout", "unavailable")) throw error;
        return before;
      }
    },
  };
}
