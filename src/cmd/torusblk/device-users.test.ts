// Who has a device open: this process, seen through the real /proc.

import assert from "node:assert/strict";
import { closeSync, mkdtempSync, openSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { isDeviceOpen } from "./device-users.ts";

test("a device is open while a program has it, or a part of it, open", async () => {
  const folder = mkdtempSync(join(tmpdir(), "torusblk-users-"));
  const device = join(folder, "nbd0");
  writeFileSync(device, "");
  assert.equal(await isDeviceOpen(device, "/proc"), false);
  const file = openSync(device, "r");
  assert.equal(await isDeviceOpen(device, "/proc"), true);
  closeSync(file);
  writeFileSync(`${device}p1`, "");
  writeFileSync(`${device}1`, "");
  const part = openSync(`${device}p1`, "r");
  assert.equal(await isDeviceOpen(device, "/proc"), true);
  closeSync(part);
  const other = openSync(`${device}1`, "r");
  assert.equal(await isDeviceOpen(device, "/proc"), false);
  closeSync(other);
  assert.equal(await isDeviceOpen(join(folder, "nbd1"), "/proc"), false, "one that is not there");
  rmSync(folder, { recursive: true });
});
