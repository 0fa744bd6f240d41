// For tests of torusblk: time that stands still, volumes in memory, a process's surroundings without the process.

import { mkdtemp, rm } from "node:fs/promises";
import type { Socket } from "node:net";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { KernelNbd } from "#gateway/kernel";
import type { Clock, Log, Timer } from "#host";
import { Metrics } from "#host";
import { systemRandom } from "#host/node";
import type { CutRecord } from "#metadata";
import type { TorusError } from "#model";
import type { AttachedVolume, AttachWish, DeviceClaim, SnapshotSummary, VolumeCatalog } from "#volume";
import { MemoryDevice } from "#volume";
import type { GlobalConfig } from "./config.ts";
import type { CatalogOptions, Surroundings } from "./surroundings.ts";

export const silent: Log = { debug() {}, info() {}, warn() {}, error() {}, child: () => silent };

export class ManualClock implements Clock {
  #now = 0;
  readonly #timers = new Set<{ atMs: number; callback: () => void }>();
  get timers(): number {
    return this.#timers.size;
  }
  monotonicMs(): number {
    return this.#now;
  }
  wallMs(): number {
    return this.#now;
  }
  setTimer(delayMs: number, callback: () => void): Timer {
    const timer = { atMs: this.#now + delayMs, callback };
    this.#timers.add(timer);
    return { cancel: () => void this.#timers.delete(timer) };
  }
  advance(ms: number): void {
    this.#now += ms;
    for (const timer of [...this.#timers]) {
      if (timer.atMs <= this.#now && this.#timers.delete(timer)) timer.callback();
    }
  }
}

export class MemoryVolume extends MemoryDevice implements AttachedVolume {
  readonly lost: Promise<TorusError>;
  lose: (error: TorusError) => void = () => {};
  cutOff: CutRecord | null = null;
  device: string | null = null;
  closed = 0;
  closeFailure: TorusError | null = null;
  /** While set, `close` waits for it. */
  closing: Promise<void> = Promise.resolve();

  constructor(name: string) {
    super({ name, sizeBytes: 1 << 20 });
    this.lost = new Promise((resolve) => {
      this.lose = resolve;
    });
  }
  resize(sizeBytes: number): void {
    Object.assign(this, { info: { ...this.info, sizeBytes } });
  }
  async cut(): Promise<CutRecord | null> {
    return this.cutOff;
  }
  async close(): Promise<void> {
    this.closed += 1;
    await this.closing;
    if (this.closeFailure !== null) throw this.closeFailure;
  }
}

export class MemoryCatalog implements VolumeCatalog {
  readonly attached: MemoryVolume[] = [];
  failure: TorusError | null = null;
  /** Of volumes that are attached from now on. */
  cutOff: CutRecord | null = null;
  forced = 0;
  readonly snapshots: SnapshotSummary[] = [];
  /** What attachments asked for, and, unless it is null, what they get. */
  readonly claims: DeviceClaim[] = [];
  device: string | null = null;
  async list() {
    return [{ name: "a", sizeBytes: 1 << 20, snapshots: this.snapshots }];
  }
  async attach(name: string, options: AttachWish) {
    if (options.force) this.forced += 1;
    if (this.failure !== null) throw this.failure;
    const volume = new MemoryVolume(name);
    volume.cutOff = this.cutOff;
    if (options.device !== undefined) {
      this.claims.push(options.device);
      volume.device = this.device ?? options.device.fresh;
    }
    this.attached.push(volume);
    return volume;
  }
  async close() {}
}

export const globalConfig: GlobalConfig = {
  metadataUrl: "memory:",
  http: null,
  logLevel: "silent",
  exitWithParent: false,
  force: false,
  writeCacheBytes: 1 << 20,
  mapCacheBytes: 1 << 20,
  readCacheBytes: 1 << 20,
  memoryBytes: null,
  leaseTtlMs: 10_000,
};

/** What a test sees of a command that runs. */
export interface TestSurroundings extends Surroundings {
  readonly catalog: MemoryCatalog;
  readonly clock: ManualClock;
  readonly said: string[];
  /** Ends of sockets that a kernel was given, which keeps them. */
  readonly entrances: Socket[];
  readonly synced: string[];
  /** What the catalogue was opened with. */
  readonly catalogOptions: CatalogOptions[];
  /** What is running and has not been closed: "http", "catalog", "directory". */
  readonly open: Set<string>;
  askToStop(reason: string): void;
  /** Resolves when something was said. */
  readonly spoken: Promise<string>;
}

export function testSurroundings(kernel: KernelNbd): TestSurroundings {
  const catalog = new MemoryCatalog();
  const stop = Promise.withResolvers<string>();
  const spoken = Promise.withResolvers<string>();
  const open = new Set<string>();
  const said: string[] = [];
  const entrances: Socket[] = [];
  const synced: string[] = [];
  const catalogOptions: CatalogOptions[] = [];
  const running = (name: string) => {
    open.add(name);
    return async () => void open.delete(name);
  };
  return {
    catalog,
    said,
    entrances,
    synced,
    catalogOptions,
    open,
    kernel,
    clock: new ManualClock(),
    random: systemRandom,
    log: silent,
    metrics: new Metrics(),
    holder: "test",
    bootOf: (metadataUrl) => ({ machine: metadataUrl, id: "boot" }),
    stop: stop.promise,
    spoken: spoken.promise,
    askToStop: stop.resolve,
    say: (line) => {
      said.push(line);
      spoken.resolve(line);
    },
    openCatalog: async (options) => {
      catalogOptions.push(options);
      catalog.close = running("catalog");
      return catalog;
    },
    guardMemory: () => {},
    serveHttp: async () => ({ close: running("http") }),
    privateDirectory: async () => {
      const path = await mkdtemp(join(tmpdir(), "torusblk-test-"));
      const closed = running("directory");
      return { path, close: () => rm(path, { recursive: true }).then(closed) };
    },
    enterExport: async (path, name) => {
      const { socket, sizeBytes } = await enter(path, name);
      entrances.push(socket);
      return { served: { descriptor: 0, sizeBytes, flags: 0 }, close: () => {} };
    },
    syncDevice: async (device) => void synced.push(device),
  };
}

/** Into an export by EXPORT_NAME, as a kernel that closes when the server does. */
async function enter(path: string, name: string): Promise<{ socket: Socket; sizeBytes: number }> {
  const socket = connect(path);
  const length = Buffer.alloc(4);
  length.writeUInt32BE(name.length);
  socket.write(
    Buffer.concat([Buffer.from("0000000349484156454f505400000001", "hex"), length, Buffer.from(name)]),
  );
  let held = Buffer.alloc(0);
  await new Promise<void>((resolve) => {
    socket.on("data", (part: Buffer) => {
      held = Buffer.concat([held, part]);
      if (held.length >= 28) resolve();
    });
  });
  return { socket, sizeBytes: Number(held.readBigUInt64BE(18)) };
}
