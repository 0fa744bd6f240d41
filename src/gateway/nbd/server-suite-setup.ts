// What tests of the server share: a server on a unix socket of its own, a clock that stands still, devices that wait
// for a word, and exports that count who has them open.

import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after } from "node:test";
import type { Clock, Log } from "#host";
import { Metrics } from "#host";
import { rereading } from "#host/node";
import { TorusError } from "#model";
import type { BlockDevice } from "#volume";
import { MemoryDevice } from "#volume";
import type { ExportCatalog } from "./exports.ts";
import type { ListenAddress } from "./listener.ts";
import type { NbdServerOptions } from "./server.ts";
import { NbdServer } from "./server.ts";

export const directory = mkdtempSync(join(tmpdir(), "torus-nbd-"));
after(() => rmSync(directory, { recursive: true, force: true }));
let sockets = 0;

export function freshPath(): ListenAddress & { kind: "unix" } {
  sockets += 1;
  return { kind: "unix", path: join(directory, `s${sockets}`) };
}

export const silent: Log = { debug() {}, info() {}, warn() {}, error() {}, child: () => silent };

/** Time that stands still unless told to go on. */
export class ManualClock implements Clock {
  #now = 0;
  readonly #timers = new Set<{ atMs: number; callback: () => void }>();
  monotonicMs(): number {
    return this.#now;
  }
  wallMs(): number {
    return this.#now;
  }
  setTimer(delayMs: number, callback: () => void) {
    const timer = { atMs: this.#now + delayMs, callback };
    this.#timers.add(timer);
    return { cancel: () => void this.#timers.delete(timer) };
  }
  advance(ms: number): void {
    this.#now += ms;
    for (const timer of [...this.#timers]) {
      if (timer.atMs > this.#now || !this.#timers.delete(timer)) continue;
      timer.callback();
    }
  }
}

/** A device whose calls wait until the test lets them go. */
export class GatedDevice extends MemoryDevice {
  readonly waiting: (() => void)[] = [];
  gated = true;

  #gate<T>(work: Promise<T>): Promise<T> {
    if (!this.gated) return work;
    return new Promise((resolve, reject) => {
      this.waiting.push(() => void work.then(resolve, reject));
    });
  }
  override read(offset: number, length: number) {
    return this.#gate(super.read(offset, length));
  }
  override write(offset: number, bytes: Uint8Array, fua: boolean) {
    return this.#gate(super.write(offset, bytes, fua));
  }
  release(): void {
    for (const settle of this.waiting.splice(0)) settle();
  }
}

/** Counts how often each export is open. */
export class CountingExports implements ExportCatalog {
  readonly opened = new Map<BlockDevice, number>();
  readonly devices: BlockDevice[];
  /** Of whoever has something open: to be called when it is lost. */
  readonly onLost = new Set<() => void>();
  failure: TorusError | null = null;

  constructor(devices: BlockDevice[]) {
    this.devices = devices;
  }
  async list() {
    return this.devices.map(({ info: { name, description } }) => ({ name, description }));
  }
  async describe(name: string) {
    return this.#find(name).info;
  }
  /** Of every device. */
  readonly taken: string[] = [];

  async snapshots(name: string) {
    this.#find(name);
    return this.taken;
  }
  async open(name: string, onLost: () => void) {
    if (this.failure !== null) throw this.failure;
    const device = this.#find(name);
    this.onLost.add(onLost);
    this.opened.set(device, this.count(device) + 1);
    return device;
  }
  #find(name: string): BlockDevice {
    const device = this.devices.find(({ info }) => info.name === name);
    if (device === undefined) throw new TorusError("not-found", `no export "${name}"`);
    return device;
  }
  async release(device: BlockDevice, onLost: () => void) {
    this.onLost.delete(onLost);
    this.opened.set(device, this.count(device) - 1);
  }
  count(device: BlockDevice): number {
    return this.opened.get(device) ?? 0;
  }
}

export interface Setup {
  readonly server: NbdServer;
  readonly exports: CountingExports;
  readonly clock: ManualClock;
  readonly metrics: Metrics;
  readonly address: ListenAddress;
}

export async function withServer(
  devices: BlockDevice[],
  body: (setup: Setup) => Promise<void>,
  options: Partial<NbdServerOptions> = {},
): Promise<void> {
  const exports = new CountingExports(devices);
  const clock = new ManualClock();
  const metrics = new Metrics();
  const server = new NbdServer(
    { listen: [freshPath()], ...options },
    { exports, clock, log: silent, metrics, reread: rereading },
  );
  await server.open();
  try {
    await body({ server, exports, clock, metrics, address: server.addresses[0] });
  } finally {
    await server.close();
    for (const device of devices) assert.equal(exports.count(device), 0, "every open was released");
    assert.equal(server.connectionCount, 0);
  }
}

export function memory(name = "vol", readOnly = false): MemoryDevice {
  return new MemoryDevice({ name, sizeBytes: 8 * 1024 * 1024, readOnly, description: "in memory" });
}

/** Turns of the event loop until `condition` holds. */
export async function until(condition: () => boolean, what: string): Promise<void> {
  for (let turns = 0; turns < 20_000; turns += 1) {
    if (condition()) return;
    await new Promise((resolve) => setImmediate(resolve));
  }
  assert.fail(`never: ${what}`);
}

export function sampleOf(metrics: Metrics, name: string): number {
  return metrics.collect().find((sample) => sample.name === name)?.value ?? Number.NaN;
}
