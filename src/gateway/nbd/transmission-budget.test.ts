// What all connections may take together: one that has begun a payload goes on, others wait, and each goes on in the end.

import assert from "node:assert/strict";
import { test } from "node:test";
import { MemoryBudget, Metrics, ReusedMemory } from "#host";
import { MemoryDevice } from "#volume";
import { command, encodeRequest } from "./nbd-codec.ts";
import { silent } from "./server-suite-setup.ts";
import { Transmission, TransmissionMetrics } from "./transmission.ts";

const payloadBytes = 100_000;
const budgetBytes = 64 * 1024;

/** Takes what it is given when it is told to. */
class Client {
  paused = false;
  readonly writable = true;
  readonly #taken: (() => void)[] = [];
  readonly transmission: Transmission;

  constructor(device: MemoryDevice, budget: MemoryBudget, memory: ReusedMemory) {
    this.transmission = new Transmission(
      { style: "simple", contexts: [] },
      {
        socket: this as never,
        device,
        memory,
        budget,
        log: silent,
        metrics: new TransmissionMetrics(new Metrics()),
        onFinished: () => {},
      },
    );
  }

  pause(): void {
    this.paused = true;
  }
  resume(): void {
    this.paused = false;
  }
  cork(): void {}
  uncork(): void {}
  write(_: Uint8Array, taken?: () => void): void {
    if (taken !== undefined) this.#taken.push(taken);
  }
  takeAll(): void {
    for (const taken of this.#taken.splice(0)) taken();
  }
}

const request = (type: number, length: number) =>
  encodeRequest(
    { type, flags: 0, cookieHigh: 0, cookieLow: 1, offset: 0, length },
    type === command.write ? Buffer.alloc(length, 7) : undefined,
  );
/** Long enough for what a turn has gathered to be written. */
async function turn(): Promise<void> {
  for (let count = 0; count < 3; count++) await new Promise((resolve) => setImmediate(resolve));
}

function setUp() {
  const budget = new MemoryBudget(budgetBytes);
  const memory = new ReusedMemory();
  const device = new MemoryDevice({ name: "d", sizeBytes: 2 ** 20 });
  const [first, second] = [1, 2].map(() => new Client(device, budget, memory));
  return { budget, device, first, second };
}

test("payloads that have begun are received, though the budget is full, and requests behind them wait", async () => {
  const { budget, device, first, second } = setUp();
  const write = request(command.write, payloadBytes);
  first.transmission.receive(write.subarray(0, 50_000));
  assert.ok(budget.full);
  second.transmission.receive(write.subarray(0, 50_000));
  assert.deepEqual([first.paused, second.paused], [false, true], "who comes now waits");
  first.transmission.receive(write.subarray(50_000));
  await turn();
  assert.equal(device.calls.write, 1);
  assert.equal(second.paused, false, "and goes on when there is room");
  second.transmission.receive(write.subarray(50_000));
  await turn();
  assert.equal(device.calls.write, 2);
  assert.equal(budget.bytes, 0);
});

test("what was read counts until the client has taken it", async () => {
  const { budget, device, first, second } = setUp();
  first.transmission.receive(request(command.read, payloadBytes));
  await turn();
  assert.equal(device.calls.read, 1);
  assert.equal(budget.bytes, payloadBytes);
  second.transmission.receive(request(command.read, payloadBytes));
  assert.deepEqual([second.paused, device.calls.read], [true, 1]);
  first.takeAll();
  await turn();
  assert.equal(device.calls.read, 2);
  second.takeAll();
  await turn();
  assert.equal(budget.bytes, 0);
});

test("a client that leaves in the middle of a payload gives back what it took", () => {
  const { budget, first } = setUp();
  first.transmission.receive(request(command.write, payloadBytes).subarray(0, 50_000));
  assert.ok(budget.bytes > 0);
  first.transmission.end();
  assert.equal(budget.bytes, 0);
});
