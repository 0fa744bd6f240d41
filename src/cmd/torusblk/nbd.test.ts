// `torusblk nbd`, whole, over a volume in memory and a kernel that is a script.

import assert from "node:assert/strict";
import { test } from "node:test";
import type { ConnectRequest, DeviceName, KernelNbd, WaitingDevice } from "#gateway/kernel";
import { isTorusError, TorusError } from "#model";
import { attachToKernel, detachFromKernel } from "./nbd.ts";
import type { TestSurroundings } from "./surroundings-suite.ts";
import { globalConfig, testSurroundings } from "./surroundings-suite.ts";

const config = { ...globalConfig, volume: "a", device: null, sectorBytes: 4096, reconnectSeconds: 300 };

const flushRequest = Buffer.from(`25609513${"0000"}${"0003"}${"00".repeat(20)}`, "hex");

/** A kernel with one device. */
class ScriptedKernel {
  problem: TorusError | null = null;
  connected = false;
  inUse = false;
  request: ConnectRequest | null = null;
  /** Devices of before. */
  found: WaitingDevice[] = [];
  /** What `reconnect` says, one after the other, and then always "connected". */
  answers: ("served" | "gone")[] = [];
  readonly sizes: number[] = [];
  readonly steps: string[] = [];

  async require(): Promise<void> {
    if (this.problem !== null) throw this.problem;
  }
  waiting(): WaitingDevice[] {
    return this.found;
  }
  async connect(request: ConnectRequest): Promise<string> {
    this.request = request;
    this.connected = true;
    this.steps.push("connect");
    return "/dev/nbd0";
  }
  async reconnect(device: string, name: DeviceName): Promise<"connected" | "served" | "gone"> {
    const answer = this.answers.shift() ?? "connected";
    this.connected = answer !== "gone";
    this.steps.push(`reconnect ${device} ${name.token}: ${answer}`);
    return answer;
  }
  async resize(_device: string, _name: DeviceName, sizeBytes: number): Promise<void> {
    this.sizes.push(sizeBytes);
  }
  async disconnect(device: string): Promise<void> {
    this.connected = false;
    this.steps.push(`disconnect ${device}`);
  }
  isConnected(): boolean {
    return this.connected;
  }
  async isInUse(): Promise<boolean> {
    return this.inUse;
  }
}

function setUp() {
  const kernel = new ScriptedKernel();
  const outside = testSurroundings(kernel as unknown as KernelNbd);
  return { kernel, outside };
}

const turn = () => new Promise((resolve) => setImmediate(resolve));

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await turn();
}

test("asked to stop: flushes the device, detaches it, detaches the volume", async () => {
  const { kernel, outside } = setUp();
  const ended = attachToKernel(config, outside);
  assert.match(await outside.spoken, /volume a is \/dev\/nbd0; it stays/);
  const { served, name, deadSeconds } = kernel.request as ConnectRequest;
  assert.deepEqual([served.sizeBytes, name.volume, deadSeconds], [1 << 20, "a", 300]);
  assert.equal(name.token, outside.catalog.attached[0].device);
  assert.equal(outside.catalogOptions[0].clients, "here");
  outside.askToStop("SIGTERM");
  await ended;
  assert.deepEqual(outside.synced, ["/dev/nbd0"]);
  assert.deepEqual(kernel.steps, ["connect", "disconnect /dev/nbd0"]);
  assert.equal(outside.catalog.attached[0].closed, 1);
  assert.deepEqual([...outside.open], []);
});

test("asked to stop while the device is used: flushes it and leaves it to the next", async () => {
  const { kernel, outside } = setUp();
  kernel.inUse = true;
  const ended = attachToKernel(config, outside);
  await outside.spoken;
  outside.askToStop("SIGTERM");
  await ended;
  assert.deepEqual(outside.synced, ["/dev/nbd0"]);
  assert.deepEqual(kernel.steps, ["connect"]);
  assert.match(outside.said[1], /\/dev\/nbd0 is in use and stays: .* 300 s .* torusblk nbd a/);
  assert.equal(outside.catalog.attached[0].closed, 1);
  assert.deepEqual([...outside.open], []);
});

test("a device that waits for the volume goes on with it", async () => {
  const { kernel, outside } = setUp();
  kernel.found = [{ device: "/dev/nbd4", volume: "a", token: "t1" }];
  kernel.connected = true;
  kernel.answers = ["served"];
  outside.catalog.device = "t1";
  const ended = attachToKernel(config, outside);
  await until(() => {
    outside.clock.advance(500);
    return outside.said.length > 0;
  });
  assert.match(outside.said[0], /volume a is \/dev\/nbd4 again/);
  assert.deepEqual(outside.catalog.claims[0].resume, ["t1"]);
  assert.deepEqual(kernel.steps, ["reconnect /dev/nbd4 t1: served", "reconnect /dev/nbd4 t1: connected"]);
  outside.askToStop("SIGTERM");
  await ended;
  assert.equal(kernel.steps.at(-1), "disconnect /dev/nbd4");
});

test("[C2] a device whose volume was elsewhere since is taken away, and another given", async () => {
  const { kernel, outside } = setUp();
  kernel.found = [{ device: "/dev/nbd4", volume: "a", token: "t1" }];
  kernel.connected = true;
  const ended = attachToKernel(config, outside);
  assert.match(await outside.spoken, /\/dev\/nbd4 cannot go on/);
  await until(() => outside.said.length === 2);
  assert.match(outside.said[1], /volume a is \/dev\/nbd0; it stays/);
  assert.deepEqual(kernel.steps, ["disconnect /dev/nbd4", "connect"]);
  assert.notEqual(kernel.request?.name.token, "t1");
  outside.askToStop("SIGTERM");
  await ended;
});

test("a device that was detached while the volume was attached is connected anew", async () => {
  const { kernel, outside } = setUp();
  kernel.found = [{ device: "/dev/nbd4", volume: "a", token: "t1" }];
  kernel.answers = ["gone"];
  outside.catalog.device = "t1";
  const ended = attachToKernel(config, outside);
  assert.match(await outside.spoken, /volume a is \/dev\/nbd0; it stays/);
  outside.askToStop("SIGTERM");
  await ended;
});

test("a volume has one device: another by name is refused before anything is attached", async () => {
  const { kernel, outside } = setUp();
  kernel.found = [{ device: "/dev/nbd4", volume: "a", token: "t1" }];
  await assert.rejects(
    attachToKernel({ ...config, device: "/dev/nbd1" }, outside),
    (error) => isTorusError(error, "busy") && /is \/dev\/nbd4 on this machine/.test(error.message),
  );
  assert.equal(outside.catalog.attached.length, 0);
});

test("[C2] a connection that the kernel gave up: it gets another once nothing of the last is left", async () => {
  const { kernel, outside } = setUp();
  const ended = attachToKernel(config, outside);
  await outside.spoken;
  await until(() => outside.clock.timers > 0);
  outside.clock.advance(500);
  await turn();
  assert.deepEqual(kernel.steps, ["connect"], "the connection is there");
  const flushed = Promise.withResolvers<void>();
  const asked = Promise.withResolvers<void>();
  outside.catalog.attached[0].flush = () => {
    asked.resolve();
    return flushed.promise;
  };
  outside.entrances[0].write(flushRequest);
  await asked.promise;
  outside.entrances[0].destroy();
  for (let turns = 0; turns < 50; turns++) {
    outside.clock.advance(500);
    await turn();
  }
  assert.deepEqual(kernel.steps, ["connect"], "a request of it is in flight");
  flushed.resolve();
  await until(() => {
    outside.clock.advance(500);
    return kernel.steps.length > 1;
  });
  assert.match(kernel.steps[1], /^reconnect \/dev\/nbd0 .*: connected$/);
  kernel.answers = ["gone"];
  outside.entrances[1].destroy();
  const over = ended.then(() => true);
  await until(() => {
    outside.clock.advance(500);
    return kernel.steps.length > 2;
  });
  assert.equal(await over, true, "detached by somebody else");
});

test("another size of the volume is told to the kernel", async () => {
  const { kernel, outside } = setUp();
  const ended = attachToKernel(config, outside);
  await outside.spoken;
  outside.catalog.attached[0].resize(1 << 21);
  await until(() => {
    outside.clock.advance(500);
    return kernel.sizes.length > 0;
  });
  assert.deepEqual(kernel.sizes, [1 << 21]);
  await until(() => outside.said.length === 2);
  assert.match(outside.said[1], /volume a has 2.0 MiB now, and so has \/dev\/nbd0/);
  outside.askToStop("SIGTERM");
  await ended;
});

test("NBD clients that were cut off do not concern the kernel: it is told of them, and goes on", async () => {
  const { outside } = setUp();
  outside.catalog.cutOff = { epoch: 3, atMs: 0, previousHolder: "torusblk 77 on host-7" };
  const ended = attachToKernel(config, outside);
  assert.match(await outside.spoken, /torusblk 77 on host-7 answered .* may be lost.* accept-loss a$/);
  await until(() => outside.said.length === 2);
  assert.match(outside.said[1], /volume a is \/dev\/nbd0/);
  outside.askToStop("SIGTERM");
  await ended;
});

async function detach(outside: TestSurroundings, force: boolean): Promise<void> {
  const detaching = detachFromKernel("/dev/nbd0", { force }, outside);
  const over = { is: false };
  detaching.finally(() => (over.is = true)).catch(() => {});
  await until(() => {
    outside.clock.advance(1000);
    return over.is;
  });
  return detaching;
}

test("detached by somebody else: ends by itself", async () => {
  const { kernel, outside } = setUp();
  const ended = attachToKernel(config, outside);
  await outside.spoken;
  await detachFromKernel("/dev/nbd0", { force: false }, outside);
  outside.clock.advance(500);
  await ended;
  assert.deepEqual(outside.synced, ["/dev/nbd0"]);
  assert.deepEqual(kernel.steps, ["connect", "disconnect /dev/nbd0"]);
  assert.equal(outside.catalog.attached[0].closed, 1);
});

test("a device that is used, or that cannot be flushed because nothing serves it, is detached by force alone", async () => {
  const { kernel, outside } = setUp();
  kernel.connected = true;
  kernel.inUse = true;
  await assert.rejects(
    detach(outside, false),
    (error) => isTorusError(error, "busy") && /mounted, or open/.test(error.message),
  );
  kernel.inUse = false;
  const stuck = { ...outside, syncDevice: () => new Promise<void>(() => {}) };
  await assert.rejects(
    detach(stuck, false),
    (error) => isTorusError(error, "timeout") && /--force/.test(error.message),
  );
  assert.deepEqual(kernel.steps, []);
  kernel.inUse = true;
  await detach(stuck, true);
  assert.deepEqual(kernel.steps, ["disconnect /dev/nbd0"]);
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
