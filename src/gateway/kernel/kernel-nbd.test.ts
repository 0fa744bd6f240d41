// The kernel's devices, against a sysfs of plain files and a driver that changes them as it is told by netlink.

import assert from "node:assert/strict";
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import type { Clock } from "#host";
import { isTorusError } from "#model";
import type { Outcome } from "./kernel-nbd.ts";
import { KernelNbd } from "./kernel-nbd.ts";
import { FakeDriver } from "./nbd-driver.fixture.ts";

const folder = mkdtempSync(join(tmpdir(), "torus-kernel-"));
after(() => rmSync(folder, { recursive: true, force: true }));
let machines = 0;

/** Time passes only by waiting. */
function hurriedClock(): Clock {
  let now = 0;
  return {
    monotonicMs: () => now,
    wallMs: () => now,
    setTimer: (delayMs, callback) => {
      now += delayMs;
      setImmediate(callback);
      return { cancel: () => {} };
    },
  };
}

/** A modprobe that finds no module. */
const noModule: Outcome = {
  status: 1,
  output: "modprobe: FATAL: Module nbd not found in directory /lib/modules/6.1\n",
};

/** A machine with `devices` nbd devices, those in `used` connected by others. */
function machine(devices: number, used: number[] = []) {
  machines += 1;
  const sysRoot = join(folder, `m${machines}`);
  mkdirSync(join(sysRoot, "block"), { recursive: true });
  mkdirSync(join(sysRoot, "module"));
  const block = (name: string) => join(sysRoot, "block", name);
  const driver = new FakeDriver(sysRoot);
  const state = { open: new Set<string>() };
  if (devices > 0) {
    mkdirSync(join(sysRoot, "module", "nbd"));
    for (let index = 0; index < devices; index += 1) {
      mkdirSync(block(`nbd${index}`));
      writeFileSync(join(block(`nbd${index}`), "size"), "0\n");
    }
    for (const index of used) driver.connectElsewhere(index);
  }
  const deps = {
    clock: hurriedClock(),
    run: async () => noModule,
    isOpen: async (device: string) => state.open.has(device),
    openNetlink: async () => driver,
  };
  return { kernel: new KernelNbd({ sysRoot, devRoot: "/dev" }, deps), driver, state, block };
}

const served = { descriptor: 21, sizeBytes: 2 ** 20, flags: 0x16d };
const name = { volume: "vol", token: "t1" };
const request = { served, name, device: null, sectorBytes: 4096, deadSeconds: 300 };

test("a kernel without the driver: says so, why, and what else there is", async () => {
  const { kernel } = machine(0);
  await assert.rejects(
    kernel.require(),
    (error) =>
      isTorusError(error, "unsupported") &&
      /no nbd driver \(modprobe: FATAL: Module nbd not found/.test(error.message) &&
      /nbdserve/.test(error.message) &&
      /nbdfuse/.test(error.message),
  );
});

test("takes the first device that is free, in the order of numbers, and tells the driver all of it", async () => {
  const { kernel, driver } = machine(12, [0, 1, 2]);
  await kernel.require();
  assert.equal(await kernel.connect(request), "/dev/nbd3");
  assert.deepEqual(driver.connected.at(-1), {
    index: 3,
    sizeBytes: 2 ** 20,
    blockSizeBytes: 4096,
    timeout: 15,
    deadConnTimeout: 300,
    serverFlags: 0x16d,
    backendIdentifier: "torus:vol:t1",
    socket: 21,
  });
  assert.deepEqual(kernel.waiting("vol"), [{ ...name, device: "/dev/nbd3" }]);
  assert.deepEqual(kernel.waiting("vo"), []);
  await kernel.disconnect("/dev/nbd3");
  assert.equal(kernel.isConnected("/dev/nbd3"), false);
  assert.deepEqual(kernel.waiting("vol"), []);
});

test("a device that somebody else took in the meantime is left to them", async () => {
  const { kernel, driver } = machine(3);
  driver.stolen.add(0);
  assert.equal(await kernel.connect(request), "/dev/nbd1");
});

test("a refusal is told, and not repeated on every device", async () => {
  const { kernel, driver } = machine(3);
  driver.refusal = 1;
  await assert.rejects(
    kernel.connect(request),
    (error) => isTorusError(error, "unsupported") && /\/dev\/nbd0: .*root/.test(error.message),
  );
  driver.refusal = 12;
  await assert.rejects(
    kernel.connect(request),
    (error) => isTorusError(error, "io") && /\/dev\/nbd0: .*errno 12/.test(error.message),
  );
  assert.equal(driver.asked, 2);
});

test("a driver that is not there by netlink is told as such", async () => {
  const { kernel, driver } = machine(1);
  driver.isAbsent = true;
  await assert.rejects(kernel.connect(request), (error) => isTorusError(error, "unsupported"));
  driver.isSilent = true;
  await assert.rejects(kernel.connect(request), (error) => isTorusError(error, "io"));
});

test("a kernel that keeps no names: nothing is attached", async () => {
  const { kernel, driver } = machine(1);
  driver.keepsNames = false;
  await assert.rejects(
    kernel.connect(request),
    (error) => isTorusError(error, "unsupported") && /Linux 5\.14/.test(error.message),
  );
  assert.equal(kernel.isConnected("/dev/nbd0"), false);
});

test("a device by name: must exist, be free, and be an nbd device", async () => {
  const { kernel } = machine(2, [1]);
  await assert.rejects(kernel.connect({ ...request, device: "/dev/nbd1" }), (error) =>
    isTorusError(error, "busy"),
  );
  await assert.rejects(kernel.connect({ ...request, device: "/dev/nbd7" }), (error) =>
    isTorusError(error, "not-found"),
  );
  await assert.rejects(kernel.connect({ ...request, device: "/dev/sda" }), (error) =>
    isTorusError(error, "invalid-argument"),
  );
  assert.equal(await kernel.connect({ ...request, device: "/dev/nbd0" }), "/dev/nbd0");
  await assert.rejects(
    kernel.connect(request),
    (error) => isTorusError(error, "busy") && /nbds_max/.test(error.message),
  );
});

test("detaching what is not attached is an error", async () => {
  const { kernel } = machine(1);
  await assert.rejects(kernel.disconnect("/dev/nbd0"), (error) => isTorusError(error, "not-found"));
});

test("a device that is still open is not connected again under whoever has it", async () => {
  const { kernel, state } = machine(2);
  state.open.add("/dev/nbd0");
  assert.equal(await kernel.connect(request), "/dev/nbd1");
  await assert.rejects(
    kernel.connect({ ...request, device: "/dev/nbd0" }),
    (error) => isTorusError(error, "timeout") && /\/dev\/nbd0 is still open in a program/.test(error.message),
  );
  state.open.clear();
  assert.equal(await kernel.connect({ ...request, device: "/dev/nbd0" }), "/dev/nbd0");
});

test("[C2] another socket is taken in the place of a dead one, from whom the device waits for, and from nobody else", async () => {
  const { kernel, driver, block } = machine(2);
  const device = await kernel.connect(request);
  const again = { ...served, descriptor: 22, sizeBytes: 2 ** 21 };
  assert.equal(await kernel.reconnect(device, name, again, 60), "served");
  driver.die(0);
  assert.equal(await kernel.reconnect(device, { ...name, token: "t2" }, again, 60), "gone");
  assert.equal(await kernel.reconnect(device, name, again, 60), "connected");
  assert.equal(driver.sizeOf(0), 2 ** 21);
  await kernel.resize(device, name, 2 ** 22);
  assert.equal(driver.sizeOf(0), 2 ** 22);
  await assert.rejects(kernel.resize(device, { ...name, token: "t2" }, 1), (error) =>
    isTorusError(error, "io"),
  );
  await kernel.disconnect(device);
  assert.equal(await kernel.reconnect(device, name, again, 60), "gone");
  assert.equal(existsSync(join(block("nbd0"), "backend")), false);
});

test("a device is in use while something has it open, and not for a moment's look of the system", async () => {
  const { kernel, state } = machine(1);
  state.open.add("/dev/nbd0");
  assert.equal(await kernel.isInUse("/dev/nbd0"), true);
  setImmediate(() => state.open.clear());
  assert.equal(await kernel.isInUse("/dev/nbd0"), false);
});
