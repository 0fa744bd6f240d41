// Attaching to the kernel, against a sysfs of plain files and an nbd-client that changes them.

import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import type { Clock } from "#host";
import { isTorusError } from "#model";
import type { Outcome } from "./child-program.ts";
import { KernelNbd } from "./kernel-nbd.ts";

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

/** A machine with `devices` nbd devices, those in `used` connected. */
function machine(devices: number, used: number[] = []) {
  machines += 1;
  const sysRoot = join(folder, `m${machines}`);
  mkdirSync(join(sysRoot, "block"), { recursive: true });
  mkdirSync(join(sysRoot, "module"));
  const calls: string[][] = [];
  const state = {
    client: true,
    /** Answers instead of connecting, per device. */
    refuse: new Map<string, Outcome>(),
    /** What a faster process takes between our look and our try. */
    stolen: new Set<string>(),
    /** Mounted from before, or open in a program. */
    open: new Set<string>(),
  };
  const block = (name: string) => join(sysRoot, "block", name);
  const addDevices = () => {
    for (let index = 0; index < devices; index += 1) {
      mkdirSync(block(`nbd${index}`));
      writeFileSync(join(block(`nbd${index}`), "size"), "0\n");
    }
  };
  const connect = (name: string) => {
    writeFileSync(join(block(name), "pid"), "77\n");
    writeFileSync(join(block(name), "size"), "2048\n");
  };
  const run = async (program: string, args: readonly string[]): Promise<Outcome | null> => {
    calls.push([program, ...args]);
    if (program === "modprobe") return noModule;
    if (!state.client) return null;
    if (args[0] === "--version") return { status: 0, output: "nbd-client version 3.24" };
    const name = (args[0] === "-d" ? args[1] : args[2]).split("/").at(-1) as string;
    if (args[0] === "-d") {
      rmSync(join(block(name), "pid"));
      writeFileSync(join(block(name), "size"), "0\n");
      return { status: 0, output: "" };
    }
    if (state.stolen.has(name)) {
      connect(name);
      return { status: 1, output: "Error: Failed to setup device, check dmesg\n" };
    }
    const refused = state.refuse.get(name);
    if (refused !== undefined) return refused;
    connect(name);
    return { status: 0, output: "Negotiation: ..size = 1MB\n" };
  };
  if (devices > 0) {
    mkdirSync(join(sysRoot, "module", "nbd"));
    addDevices();
    for (const index of used) connect(`nbd${index}`);
  }
  const deps = { clock: hurriedClock(), run, isOpen: (device: string) => state.open.has(device) };
  return { kernel: new KernelNbd({ sysRoot, devRoot: "/dev" }, deps), calls, state };
}

const request = { socketPath: "/run/x.sock", exportName: "vol", device: null, sectorBytes: 4096 };

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

test("without nbd-client: names the package", async () => {
  const { kernel, state } = machine(2);
  state.client = false;
  await assert.rejects(
    kernel.require(),
    (error) => isTorusError(error, "unsupported") && /install the package nbd-client/.test(error.message),
  );
});

test("takes the first device that is free, in the order of numbers", async () => {
  const { kernel, calls } = machine(12, [0, 1, 2]);
  await kernel.require();
  assert.equal(await kernel.connect(request), "/dev/nbd3");
  assert.deepEqual(calls.at(-1), [
    "nbd-client",
    "-unix",
    "/run/x.sock",
    "/dev/nbd3",
    "-name",
    "vol",
    "-block-size",
    "4096",
  ]);
  assert.equal(kernel.isConnected("/dev/nbd3"), true);
  await kernel.disconnect("/dev/nbd3");
  assert.equal(kernel.isConnected("/dev/nbd3"), false);
});

test("a device that somebody else took in the meantime is left to them", async () => {
  const { kernel, state } = machine(3);
  state.stolen.add("nbd0");
  assert.equal(await kernel.connect(request), "/dev/nbd1");
});

test("a refusal is told as nbd-client tells it, and not repeated on every device", async () => {
  const { kernel, calls, state } = machine(3);
  state.refuse.set("nbd0", { status: 1, output: "Warning: x\nError: Cannot open NBD: Permission denied\n" });
  await assert.rejects(
    kernel.connect(request),
    (error) =>
      isTorusError(error, "io") &&
      /\/dev\/nbd0: Error: Cannot open NBD: Permission denied/.test(error.message),
  );
  assert.equal(calls.length, 1);
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
