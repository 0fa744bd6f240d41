// `torusblk nbd`, whole, over a volume in memory and a kernel that is a script.

import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { test } from "node:test";
import { isTorusError, TorusError } from "#model";
import type { ConnectRequest, KernelNbd } from "./kernel-nbd.ts";
import { attachToKernel, detachFromKernel } from "./nbd.ts";
import { globalConfig, testSurroundings } from "./surroundings-suite.ts";

const config = { ...globalConfig, volume: "a", device: null, sectorBytes: 4096 };

/** A kernel with one device. */
class ScriptedKernel {
  problem: TorusError | null = null;
  connected = false;
  request: ConnectRequest | null = null;
  readonly steps: string[] = [];

  async require(): Promise<void> {
    if (this.problem !== null) throw this.problem;
  }
  async connect(request: ConnectRequest): Promise<string> {
    assert.ok(existsSync(request.socketPath), "the server listens before the kernel is asked");
    this.request = request;
    this.connected = true;
    this.steps.push("connect");
    return "/dev/nbd0";
  }
  async disconnect(): Promise<void> {
    this.connected = false;
    this.steps.push("disconnect");
  }
  isConnected(): boolean {
    return this.connected;
  }
}

function setUp() {
  const kernel = new ScriptedKernel();
  const outside = testSurroundings(kernel as unknown as KernelNbd);
  return { kernel, outside };
}

test("asked to stop: flushes the device, detaches it, detaches the volume", async () => {
  const { kernel, outside } = setUp();
  const ended = attachToKernel(config, outside);
  assert.match(await outside.spoken, /volume a is \/dev\/nbd0/);
  assert.equal(kernel.request?.exportName, "a");
  outside.askToStop("SIGTERM");
  await ended;
  assert.deepEqual(outside.synced, ["/dev/nbd0"]);
  assert.deepEqual(kernel.steps, ["connect", "disconnect"]);
  assert.equal(outside.catalog.attached[0].closed, 1);
  assert.deepEqual([...outside.open], []);
});

test("[C2] the kernel is nobody's client of before: it is told of those that were cut off, and goes on", async () => {
  const { outside } = setUp();
  outside.catalog.cutOff = { epoch: 3, atMs: 0, previousHolder: "torusblk 77 on host-7" };
  const ended = attachToKernel(config, outside);
  assert.match(await outside.spoken, /torusblk 77 on host-7 answered .* may be lost.* accept-loss a$/);
  while (outside.said.length < 2) await new Promise((resolve) => setImmediate(resolve));
  assert.match(outside.said[1], /volume a is \/dev\/nbd0/);
  assert.equal(outside.catalogOptions[0].clients, "none");
  outside.askToStop("SIGTERM");
  await ended;
});

test("detached by somebody else: ends by itself", async () => {
  const { kernel, outside } = setUp();
  const ended = attachToKernel(config, outside);
  await outside.spoken;
  await detachFromKernel("/dev/nbd0", outside);
  await ended;
  assert.deepEqual(outside.synced, ["/dev/nbd0"]);
  assert.deepEqual(kernel.steps, ["connect", "disconnect"]);
  assert.equal(outside.catalog.attached[0].closed, 1);
});

test("a volume that is lost takes its device away and fails the command", async () => {
  const { kernel, outside } = setUp();
  const ended = attachToKernel(config, outside);
  await outside.spoken;
  outside.catalog.attached[0].lose(new TorusError("attachment-lost", "a newer writer took over"));
  await assert.rejects(
    ended,
    (error) => isTorusError(error, "attachment-lost") && /newer writer/.test(error.message),
  );
  assert.equal(kernel.connected, false);
  assert.deepEqual([...outside.open], []);
});

test("what could not be flushed is not passed over in silence", async () => {
  const { kernel, outside } = setUp();
  const ended = attachToKernel(config, {
    ...outside,
    syncDevice: () => Promise.reject(new Error("EIO: i/o error, fsync")),
  });
  await outside.spoken;
  outside.askToStop("SIGTERM");
  await assert.rejects(
    ended,
    (error) => isTorusError(error, "io") && /not all .* could be kept: EIO/.test(error.message),
  );
  assert.equal(kernel.connected, false);
  assert.equal(outside.catalog.attached[0].closed, 1);
});

test("a machine that cannot do it: nothing is attached", async () => {
  const { kernel, outside } = setUp();
  kernel.problem = new TorusError("unsupported", "this kernel has no nbd driver");
  await assert.rejects(attachToKernel(config, outside), (error) => isTorusError(error, "unsupported"));
  assert.equal(outside.catalog.attached.length, 0);
  assert.deepEqual([...outside.open], []);
});
