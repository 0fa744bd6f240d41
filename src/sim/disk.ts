// SimulatedDrive: a disk in memory that fails as real ones do, from a seed. What was written since the last finished
// fdatasync survives a power cut sector by sector, at random (a sector of 512 bytes is never torn). Bits rot, space runs
// out, an fdatasync fails and loses what it should have kept (fsyncgate). `mount` gives the Disk a store takes; after a
// power cut the old mount is dead and a new one shows what is left.
//
// Small files are replaced atomically and durably; directory entries are durable at once.

import type { Clock, Disk, DiskFile, Random } from "#host";
import { assert, pageBytes, TorusError } from "#model";
import { Medium } from "./medium.ts";

export interface SimulatedDriveOptions {
  /** Of the whole drive; files beyond it fail with `full`. */
  readonly capacityBytes: number;
  /** How long an fdatasync and each MiB of zeroes take. Without it they end after the current turn. */
  readonly flushMs?: number | (() => number);
}

export interface SimulatedDriveDeps {
  readonly random: Random;
  /** For `flushMs`. */
  readonly clock?: Clock;
}

const zeroFillStep = 1024 * 1024;

/** What is to go wrong, counted down by the calls it is about. */
interface Faults {
  dataSyncs: number;
  writes: number;
}

export class SimulatedDrive {
  readonly #options: SimulatedDriveOptions;
  readonly #deps: SimulatedDriveDeps;
  readonly #media = new Map<string, Medium>();
  readonly #texts = new Map<string, string>();
  readonly #faults: Faults = { dataSyncs: 0, writes: 0 };
  /** Raised by a power cut: mounts of an earlier one are dead. */
  #life = 0;
  #lockedBy: object | null = null;
  /** fdatasyncs that ended well. */
  dataSyncs = 0;

  constructor(options: SimulatedDriveOptions, deps: SimulatedDriveDeps) {
    assert(options.flushMs === undefined || deps.clock !== undefined, "a drive that takes time has a clock");
    this.#options = options;
    this.#deps = deps;
  }

  mount(): Disk {
    return new SimulatedDisk(this, this.#life);
  }

  /** The power fails: what was not durable is kept or lost at random, every mount is dead. */
  cutPower(): void {
    this.#life += 1;
    this.#lockedBy = null;
    for (const medium of this.#media.values()) medium.cutPower(this.#deps.random);
  }

  /** The process dies, the drive does not: all that was written stays, as in a drive's cache, and may still be lost. */
  killProcess(): void {
    this.#life += 1;
    this.#lockedBy = null;
    for (const medium of this.#media.values()) medium.keepPending();
  }

  /** Flips bits of one stored byte. */
  rot(name: string, offset: number, mask = 0xff): void {
    const medium = this.#media.get(name);
    assert(medium !== undefined && offset < medium.sizeBytes, "rot strikes a byte that is stored");
    const number = Math.floor(offset / pageBytes);
    const page = medium.page(number).slice();
    page[offset % pageBytes] ^= mask;
    medium.pages.set(number, page);
  }

  /** A copy of stored bytes, as they are now. */
  peek(name: string, offset: number, length: number): Uint8Array {
    const bytes = new Uint8Array(length);
    this.#media.get(name)?.read(bytes, offset);
    return bytes;
  }

  sizeOf(name: string): number {
    return this.#media.get(name)?.sizeBytes ?? 0;
  }

  /** The text of a small file, to look at or to change; null removes it. */
  text(name: string): string | null {
    return this.#texts.get(name) ?? null;
  }

  setText(name: string, text: string | null): void {
    if (text === null) this.#texts.delete(name);
    else this.#texts.set(name, text);
  }

  removeFile(name: string): void {
    this.#media.delete(name);
  }

  /** The next `count` fdatasyncs fail, and lose what they should have kept at the next power cut. */
  failDataSyncs(count: number): void {
    this.#faults.dataSyncs = count;
  }

  /** The next `count` writes fail. */
  failWrites(count: number): void {
    this.#faults.writes = count;
  }

  // What follows is for SimulatedDisk.

  requireAlive(life: number): void {
    if (life !== this.#life) throw new TorusError("io", "the simulated power is off");
  }

  lock(owner: object): void {
    if (this.#lockedBy !== null && this.#lockedBy !== owner) {
      throw new TorusError("busy", "the simulated directory is in use");
    }
    this.#lockedBy = owner;
  }

  unlock(owner: object): void {
    if (this.#lockedBy === owner) this.#lockedBy = null;
  }

  medium(name: string, create: boolean): Medium {
    let medium = this.#media.get(name);
    if (medium === undefined) {
      if (!create) throw new TorusError("io", `${name} does not exist`);
      medium = new Medium();
      this.#media.set(name, medium);
    }
    return medium;
  }

  get names(): string[] {
    return [...this.#media.keys(), ...this.#texts.keys()];
  }

  get freeBytes(): number {
    let used = 0;
    for (const { sizeBytes } of this.#media.values()) used += sizeBytes;
    return Math.max(0, this.#options.capacityBytes - used);
  }

  get totalBytes(): number {
    return this.#options.capacityBytes;
  }

  write(medium: Medium, source: Uint8Array, offset: number): void {
    this.#requireWritable(medium, offset + source.length);
    medium.write(source, offset);
  }

  /** One half is written at once, the other when it ends: whoever changes or moves `source` meanwhile finds that on the disk. */
  async writeAside(medium: Medium, source: Uint8Array, offset: number, life: number): Promise<void> {
    this.#requireWritable(medium, offset + source.length);
    const half = Math.floor(source.length / pageBytes / 2) * pageBytes;
    medium.write(source.subarray(0, half), offset);
    await this.#pass();
    this.requireAlive(life);
    medium.write(source.subarray(half), offset + half);
  }

  async dataSync(medium: Medium, life: number): Promise<void> {
    const covered = medium.undo;
    medium.undo = new Map();
    medium.flushing.push(covered);
    await this.#pass();
    this.requireAlive(life);
    // One that began later covers what was written before the earlier ones, too.
    const ended = medium.flushing.splice(0, medium.flushing.indexOf(covered) + 1);
    if (this.#faults.dataSyncs > 0) {
      this.#faults.dataSyncs -= 1;
      for (const layer of ended) {
        for (const [number, before] of layer)
          if (!medium.doomed.has(number)) medium.doomed.set(number, before);
      }
      throw new TorusError("io", "a simulated fdatasync failed");
    }
    this.dataSyncs += 1;
  }

  async zeroFill(medium: Medium, from: number, to: number, life: number): Promise<void> {
    for (let at = from; at < to; at += zeroFillStep) {
      this.requireAlive(life);
      this.#zero(medium, at, Math.min(zeroFillStep, to - at));
      await this.#pass();
    }
    this.requireAlive(life);
    await this.dataSync(medium, life);
  }

  /** Pages that were never written are zero already. */
  #zero(medium: Medium, offset: number, length: number): void {
    const from = Math.min(medium.sizeBytes, offset + length);
    this.#requireWritable(medium, offset + length);
    if (from > offset) medium.write(new Uint8Array(from - offset), offset);
    medium.sizeBytes = Math.max(medium.sizeBytes, offset + length);
  }

  #requireWritable(medium: Medium, end: number): void {
    if (this.#faults.writes > 0) {
      this.#faults.writes -= 1;
      throw new TorusError("io", "a simulated write failed");
    }
    const grows = Math.max(0, end - medium.sizeBytes);
    if (grows > this.freeBytes) throw new TorusError("full", "the simulated drive is full");
  }

  #pass(): Promise<void> {
    const { clock } = this.#deps;
    const { flushMs } = this.#options;
    return new Promise((resolve) => {
      if (flushMs === undefined || clock === undefined) queueMicrotask(resolve);
      else clock.setTimer(typeof flushMs === "number" ? flushMs : flushMs(), resolve);
    });
  }
}

class SimulatedDisk implements Disk {
  readonly #drive: SimulatedDrive;
  readonly #life: number;

  constructor(drive: SimulatedDrive, life: number) {
    this.#drive = drive;
    this.#life = life;
  }

  lock(): void {
    this.#drive.requireAlive(this.#life);
    this.#drive.lock(this);
  }

  openFile(name: string, { create }: { create: boolean }): DiskFile {
    this.#drive.requireAlive(this.#life);
    return new SimulatedFile(this.#drive, this.#drive.medium(name, create), this.#life);
  }

  exists(name: string): boolean {
    return this.#drive.names.includes(name);
  }

  names(): string[] {
    return this.#drive.names;
  }

  readText(name: string): string | null {
    this.#drive.requireAlive(this.#life);
    return this.#drive.text(name);
  }

  writeTextDurably(name: string, text: string): void {
    this.#drive.requireAlive(this.#life);
    this.#drive.setText(name, text);
  }

  allocateAligned(bytes: number): Uint8Array {
    return new Uint8Array(bytes);
  }

  space(): { totalBytes: number; freeBytes: number } {
    return { totalBytes: this.#drive.totalBytes, freeBytes: this.#drive.freeBytes };
  }

  close(): void {
    this.#drive.unlock(this);
  }
}

class SimulatedFile implements DiskFile {
  readonly #drive: SimulatedDrive;
  readonly #medium: Medium;
  readonly #life: number;
  #closed = false;

  constructor(drive: SimulatedDrive, medium: Medium, life: number) {
    this.#drive = drive;
    this.#medium = medium;
    this.#life = life;
  }

  sizeBytes(): number {
    return this.#medium.sizeBytes;
  }

  writeSync(source: Uint8Array, offset: number): void {
    this.#check(source.length, offset);
    this.#drive.write(this.#medium, source, offset);
  }

  async write(source: Uint8Array, offset: number): Promise<void> {
    this.#check(source.length, offset);
    await this.#drive.writeAside(this.#medium, source, offset, this.#life);
  }

  readSync(target: Uint8Array, offset: number): void {
    this.#check(0, 0);
    if (offset + target.length > this.#medium.sizeBytes) throw new TorusError("io", "the file is too short");
    this.#medium.read(target, offset);
  }

  async bringIn(): Promise<void> {
    this.#check(0, 0);
  }

  readDirectSync(target: Uint8Array, offset: number): void {
    this.#check(target.length, offset);
    this.readSync(target, offset);
  }

  async zeroFill(from: number, to: number): Promise<void> {
    this.#check(to - from, from);
    await this.#drive.zeroFill(this.#medium, from, to, this.#life);
  }

  async dataSync(): Promise<void> {
    this.#check(0, 0);
    await this.#drive.dataSync(this.#medium, this.#life);
  }

  close(): void {
    this.#closed = true;
  }

  #check(length: number, offset: number): void {
    assert(!this.#closed, "a closed file is not used");
    assert(length % pageBytes === 0 && offset % pageBytes === 0, "I/O past the page cache is in whole pages");
    this.#drive.requireAlive(this.#life);
  }
}
