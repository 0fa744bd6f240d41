// A volume in memory with snapshots, for tests of backups: differences are those of the bytes, page by page, as a map would have them.

import { pageBytes } from "#model";
import type { DifferencePart } from "#volume";
import { MemoryDevice } from "#volume";
import type { SnapshotIdentity, VolumeIdentity } from "./manifest-codec.ts";
import type { Difference, OpenSnapshot, SourceSnapshot, SourceVolume } from "./source-volume.ts";

/** Pages of one part of a difference. */
const partPages = 96;

export class MemorySource implements SourceVolume {
  readonly identity: VolumeIdentity;
  readonly kept = new Map<string, { readonly snapshot: SourceSnapshot; readonly device: MemoryDevice }>();
  device: MemoryDevice;
  /** Bytes read of snapshots. */
  readBytes = 0;
  #tokens = 0;

  constructor(sizeBytes: number, identity: Partial<VolumeIdentity> = {}) {
    this.identity = { name: "db", id: 7, cluster: "c1", ...identity };
    this.device = new MemoryDevice({ name: this.identity.name, sizeBytes });
  }

  async resize(sizeBytes: number): Promise<void> {
    this.device = await copyOf(this.device, sizeBytes);
  }

  async snapshots(): Promise<readonly SourceSnapshot[]> {
    return [...this.kept.values()].map(({ snapshot }) => snapshot);
  }

  async take(name: string, labels: Readonly<Record<string, string>>): Promise<SourceSnapshot> {
    this.#tokens += 1;
    const { sizeBytes } = this.device.info;
    const snapshot = { name, token: `t${this.#tokens}`, createdMs: this.#tokens, sizeBytes, labels };
    this.kept.set(name, { snapshot, device: await copyOf(this.device, sizeBytes) });
    return snapshot;
  }

  async open({ name }: SnapshotIdentity): Promise<OpenSnapshot> {
    const found = this.kept.get(name);
    if (found === undefined) throw new Error(`no snapshot ${name}`);
    const { device } = found;
    const read = device.read.bind(device);
    device.read = async (offset, length) => {
      this.readBytes += length;
      return read(offset, length);
    };
    return {
      device,
      differenceFrom: (base) => new PageDifference(base === null ? null : this.#deviceOf(base), device),
      close: async () => {
        device.read = read;
      },
    };
  }

  async remove({ name }: SnapshotIdentity): Promise<void> {
    this.kept.delete(name);
  }

  #deviceOf({ token }: SnapshotIdentity): MemoryDevice {
    for (const { snapshot, device } of this.kept.values()) if (snapshot.token === token) return device;
    throw new Error(`no snapshot with token ${token}`);
  }
}

export async function copyOf(device: MemoryDevice, sizeBytes: number): Promise<MemoryDevice> {
  const copy = new MemoryDevice({ name: device.info.name, sizeBytes });
  const length = Math.min(sizeBytes, device.info.sizeBytes);
  await copy.write(0, await MemoryDevice.prototype.read.call(device, 0, length), false);
  return copy;
}

/** The bytes of both are those of the first call. */
class PageDifference implements Difference {
  readonly #bytes: Promise<readonly [Buffer, Buffer]>;

  constructor(from: MemoryDevice | null, to: MemoryDevice) {
    this.#bytes = Promise.all([from === null ? Buffer.alloc(0) : contentOf(from), contentOf(to)]);
    this.#bytes.catch(() => {});
  }

  async after(page: number): Promise<DifferencePart> {
    const [from, to] = await this.#bytes;
    const pages = to.length / pageBytes;
    const ranges: { first: number; count: number }[] = [];
    const end = Math.min(page + partPages, pages);
    for (let at = page; at < end; at++) {
      if (isSamePage(from, to, at * pageBytes)) continue;
      const last = ranges.at(-1);
      if (last !== undefined && last.first + last.count === at) last.count += 1;
      else ranges.push({ first: at, count: 1 });
    }
    return { ranges, end: end >= pages ? Number.POSITIVE_INFINITY : end };
  }
}

const zeroPage = Buffer.alloc(pageBytes);

/** What `from` is too short for is a hole there. */
function isSamePage(from: Buffer, to: Buffer, start: number): boolean {
  const end = start + pageBytes;
  if (end > from.length) return to.compare(zeroPage, 0, pageBytes, start, end) === 0;
  return to.compare(from, start, end, start, end) === 0;
}

async function contentOf(device: MemoryDevice): Promise<Buffer> {
  return Buffer.from(await MemoryDevice.prototype.read.call(device, 0, device.info.sizeBytes));
}
