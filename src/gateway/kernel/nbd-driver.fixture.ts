// A kernel's nbd driver for tests: it reads what it is told by netlink, keeps sysfs as the real one does, and answers.

import { existsSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { ReceivedAttribute } from "./netlink-codec.ts";
import { decodeAttributes, decodeMessages, encodeRequest } from "./netlink-codec.ts";

const nbdFamily = 0x21;
const names = [
  ...["unspecified", "index", "sizeBytes", "blockSizeBytes", "timeout", "serverFlags"],
  ...["clientFlags", "sockets", "deadConnTimeout", "deviceList", "backendIdentifier"],
] as const;

type Told = Partial<Record<string, number | string>>;

export class FakeDriver {
  readonly connected: Told[] = [];
  /** Taken by a faster process between a look and a try. */
  readonly stolen = new Set<number>();
  /** Refuses everything with this errno. */
  refusal = 0;
  isAbsent = false;
  isSilent = false;
  keepsNames = true;
  asked = 0;
  readonly #sysRoot: string;
  readonly #devices = new Map<number, { backend: string; sizeBytes: number; alive: boolean }>();

  constructor(sysRoot: string) {
    this.#sysRoot = sysRoot;
  }

  connectElsewhere(index: number): void {
    this.#devices.set(index, { backend: "", sizeBytes: 2 ** 20, alive: true });
    writeFileSync(this.#file(index, "pid"), "77\n");
  }

  die(index: number): void {
    const device = this.#devices.get(index);
    if (device !== undefined) device.alive = false;
  }

  sizeOf(index: number): number {
    return this.#devices.get(index)?.sizeBytes ?? 0;
  }

  async exchange(message: Uint8Array): Promise<Uint8Array[]> {
    const bytes = Buffer.from(message);
    const sequence = bytes.readUInt32LE(8);
    if (this.isSilent) return [];
    if (bytes.readUInt16LE(4) === 16) {
      if (this.isAbsent) return [done(sequence, 2)];
      const answer = { family: 16, sequence, command: 1, version: 2, attributes: [] };
      const family = Buffer.from([6, 0, 1, 0, nbdFamily, 0, 0, 0]);
      const head = encodeRequest(answer);
      head.writeUInt32LE(head.length + family.length, 0);
      return [Buffer.concat([head, family]), done(sequence, 0)];
    }
    this.asked += 1;
    const [decoded] = decodeMessages(message);
    if (decoded?.kind !== "answer") throw new Error("a request was expected");
    return [done(sequence, this.refusal || this.#do(decoded.command, toldBy(decoded.attributes)))];
  }

  close(): void {}

  #do(command: number, told: Told): number {
    const index = Number(told["index"]);
    const device = this.#devices.get(index);
    if (command === 1) {
      if (this.stolen.has(index)) this.connectElsewhere(index);
      if (this.#devices.has(index)) return 16;
      this.connected.push(told);
      const backend = String(told["backendIdentifier"]);
      this.#devices.set(index, { backend, sizeBytes: Number(told["sizeBytes"]), alive: true });
      writeFileSync(this.#file(index, "pid"), "1\n");
      if (this.keepsNames) writeFileSync(this.#file(index, "backend"), `${backend}\n`);
      return 0;
    }
    if (device === undefined) return 22;
    if (command === 2) {
      this.#devices.delete(index);
      for (const name of ["pid", "backend"])
        if (existsSync(this.#file(index, name))) rmSync(this.#file(index, name));
      return 0;
    }
    if (told["backendIdentifier"] !== device.backend) return 22;
    device.sizeBytes = Number(told["sizeBytes"]);
    if (told["socket"] === undefined) return 0;
    if (device.alive) return 28;
    device.alive = true;
    return 0;
  }

  #file(index: number, name: string): string {
    return join(this.#sysRoot, "block", `nbd${index}`, name);
  }
}

function toldBy(attributes: readonly ReceivedAttribute[]): Told {
  const told: Told = {};
  for (const { type, bytes } of attributes) {
    const name = names[type];
    const view = Buffer.from(bytes);
    if (name === "backendIdentifier") told[name] = view.subarray(0, -1).toString();
    else if (name === "sockets") told["socket"] = descriptorIn(bytes);
    else told[name] = view.length === 8 ? Number(view.readBigUInt64LE()) : view.readUInt32LE();
  }
  return told;
}

function descriptorIn(sockets: Uint8Array): number {
  const [item] = decodeAttributes(sockets);
  const [descriptor] = decodeAttributes(item.bytes);
  return Buffer.from(descriptor.bytes).readUInt32LE();
}

function done(sequence: number, errno: number): Uint8Array {
  const bytes = Buffer.alloc(36);
  bytes.writeUInt32LE(bytes.length, 0);
  bytes.writeUInt16LE(2, 4);
  bytes.writeUInt32LE(sequence, 8);
  bytes.writeInt32LE(-errno, 16);
  return bytes;
}
