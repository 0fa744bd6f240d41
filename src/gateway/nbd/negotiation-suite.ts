// What tests of the handshake share: a machine past its greeting, options for it, and its replies taken apart.

import assert from "node:assert/strict";
import type { BlockDeviceInfo } from "#volume";
import { option } from "./nbd-codec.ts";
import type { TlsPolicy } from "./negotiation-machine.ts";
import { NegotiationMachine } from "./negotiation-machine.ts";
import { goData } from "./server-suite-client.ts";

export const info: BlockDeviceInfo = {
  name: "vol",
  sizeBytes: 1 << 20,
  readOnly: false,
  preferredBytes: 4096,
  description: "a volume",
};

export function optionBytes(number: number, data: Buffer = Buffer.alloc(0)): Buffer {
  const head = Buffer.from("49484156454f50540000000000000000", "hex");
  head.writeUInt32BE(number, 8);
  head.writeUInt32BE(data.length, 12);
  return Buffer.concat([head, data]);
}

export interface Reply {
  option: number;
  type: number;
  data: Buffer;
}

export function replies(output: Buffer): Reply[] {
  const found: Reply[] = [];
  for (let at = 0; at < output.length; ) {
    assert.equal(output.toString("hex", at, at + 8), "0003e889045565a9");
    const length = output.readUInt32BE(at + 16);
    found.push({
      option: output.readUInt32BE(at + 8),
      type: output.readUInt32BE(at + 12),
      data: output.subarray(at + 20, at + 20 + length),
    });
    at += 20 + length;
  }
  return found;
}

/** A machine past the greeting and the client's flags. */
export function started(clientFlags = 3, tls: TlsPolicy = "off"): NegotiationMachine {
  const machine = new NegotiationMachine({ tls });
  assert.equal(machine.next().kind, "more");
  assert.equal(machine.takeOutput().length, 18);
  const flags = Buffer.alloc(4);
  flags.writeUInt32BE(clientFlags);
  machine.push(flags);
  return machine;
}

export function send(machine: NegotiationMachine, number: number, data?: Buffer) {
  machine.push(optionBytes(number, data));
  return machine.next();
}

/** Enters the export; what the machine says then. */
export function enter(machine: NegotiationMachine, name = "vol") {
  machine.takeOutput();
  send(machine, option.go, goData(name));
  machine.found({ ...info, name });
  const step = machine.next();
  assert.ok(step.kind === "transmit");
  return step;
}

export function isGarbage(machine: NegotiationMachine): boolean {
  const step = machine.next();
  return step.kind === "close" && step.garbage;
}
