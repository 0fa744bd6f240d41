// Random clients negotiate: mostly sensible, sometimes not, cut into chunks anywhere.

import assert from "node:assert/strict";
import { test } from "node:test";
import { errorCodes } from "#model";
import { Dice, label, mutate, seed, steps } from "./fuzz-suite-dice.ts";
import { optionBytesMax } from "./limits.ts";
import { option } from "./nbd-codec.ts";
import { NegotiationMachine } from "./negotiation-machine.ts";

test(`handshakes never break the machine, and every option is answered once (${label})`, () => {
  const dice = new Dice(seed);
  for (let step = 0; step < steps; ) step += negotiate(dice);
});

/** One client from greeting to end; the number of options it sent. */
function negotiate(dice: Dice): number {
  const machine = new NegotiationMachine({ tls: dice.pick(["off", "on", "require"] as const) });
  const client: Buffer[] = [
    Buffer.from(dice.oneIn(50) ? [0, 0, 0, dice.below(256)] : [0, 0, 0, dice.below(4)]),
  ];
  const count = dice.below(12);
  for (let index = 0; index < count; index += 1) client.push(randomOption(dice));
  const stream = dice.oneIn(10) ? mutate(dice, Buffer.concat(client)) : Buffer.concat(client);
  const output: Buffer[] = [];
  let at = 0;
  for (;;) {
    const step = machine.next();
    output.push(machine.takeOutput());
    if (step.kind === "close" || step.kind === "transmit") break;
    if (step.kind === "more") {
      if (at === stream.length) break;
      const end = Math.min(stream.length, at + 1 + dice.below(dice.oneIn(2) ? 40 : 4000));
      machine.push(stream.subarray(at, end));
      at = end;
    } else if (step.kind === "startTls") machine.secured();
    else answerStep(dice, machine, step.kind);
  }
  checkReplies(Buffer.concat(output));
  return Math.max(1, count);
}

function answerStep(
  dice: Dice,
  machine: NegotiationMachine,
  kind: "list" | "describe" | "contexts" | "open",
): void {
  if (dice.oneIn(3)) machine.refused(dice.pick(errorCodes), "x".repeat(dice.below(6000)));
  else if (kind === "list") {
    machine.listed(Array.from({ length: dice.below(4) }, (_, n) => ({ name: `v${n}`, description: "d" })));
  } else if (kind === "contexts") {
    machine.listedContexts(Array.from({ length: dice.below(40) }, (_, n) => `a:${n}`));
  } else {
    const readOnly = dice.oneIn(4);
    machine.found({
      name: "v",
      sizeBytes: 2 ** dice.below(48),
      readOnly,
      preferredBytes: 4096,
      description: "",
    });
  }
}

function randomOption(dice: Dice): Buffer {
  const number = dice.oneIn(4)
    ? dice.below(2 ** 32)
    : dice.pick([3, 3, 5, 6, 6, 8, 8, 9, 10, 11, option.go, 1, 2]);
  let data = dice.bytes(dice.oneIn(3) ? dice.below(80) : 0);
  if (number === option.info || number === option.go) {
    const name = dice.oneIn(3) ? Buffer.alloc(0) : dice.bytes(dice.below(20)).fill("n");
    const wants = dice.below(5);
    data = Buffer.alloc(6 + name.length + 2 * wants);
    data.writeUInt32BE(dice.oneIn(12) ? dice.below(2 ** 32) : name.length, 0);
    name.copy(data, 4);
    data.writeUInt16BE(dice.oneIn(12) ? dice.below(65536) : wants, 4 + name.length);
    for (let want = 0; want < wants; want += 1) data.writeUInt16BE(dice.below(6), 6 + name.length + 2 * want);
  }
  if (number === option.listMetaContext || number === option.setMetaContext) data = contextData(dice);
  const head = Buffer.from("49484156454f50540000000000000000", "hex");
  head.writeUInt32BE(number, 8);
  head.writeUInt32BE(dice.oneIn(40) ? dice.below(2 * optionBytesMax) : data.length, 12);
  return Buffer.concat([head, data]);
}

function contextData(dice: Dice): Buffer {
  const text = (content: string) => {
    const bytes = Buffer.alloc(4 + content.length);
    bytes.writeUInt32BE(dice.oneIn(60) ? dice.below(2 ** 32) : content.length, 0);
    bytes.write(content, 4);
    return bytes;
  };
  const count = dice.below(dice.oneIn(4) ? 40 : 3);
  const queries = Array.from({ length: count }, (_, n) =>
    text(dice.oneIn(20) ? "nonsense" : `a:${dice.oneIn(9) ? "" : n}`),
  );
  const head = Buffer.alloc(4);
  head.writeUInt32BE(dice.oneIn(60) ? dice.below(2 ** 32) : count, 0);
  return Buffer.concat([text(dice.oneIn(3) ? "" : "n"), head, ...queries]);
}

/** Whatever was sent, after the greeting come whole option replies, or the answer to EXPORT_NAME at the end. */
function checkReplies(output: Buffer): void {
  let at = 18;
  while (at < output.length) {
    const left = output.length - at;
    if (output.toString("hex", at, at + 8) !== "0003e889045565a9") {
      assert.ok(left === 10 || left === 134, `${left} bytes that are no reply`);
      return;
    }
    at += 20 + output.readUInt32BE(at + 16);
  }
  assert.equal(at, output.length);
}
