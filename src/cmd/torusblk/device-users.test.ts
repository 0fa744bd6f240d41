// Who has a device open: this process, seen through the real /proc.

import assert from "node:assert/strict";
import { closeSync, mkdtempSync, openSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { isDeviceOpen } from "./device-users.ts";

test("a device is open while a program has it open", () => {
  const folder = mkdtempSync(join(tmpdir(), "torusblk-users-"));
  const device = join(folder, "nbd0");
  writeFileSync(device, "");
  assert.equal(isDeviceOpen(device, "/proc"), false);
  const file = openSync(device, "r");
  assert.equal(isDeviceOpen(device, "/proc"), true);
  closeSync(file);
  assert.equal(isDeviceOpen(device, "/proc"), false);
  assert.equal(isDeviceOpen(join(folder, "nbd1"), "/proc"), false, "one that is not there");
  rmSync(folder, { recursive: true });
});
