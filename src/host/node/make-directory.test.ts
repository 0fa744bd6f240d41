// makeDirectory: parents too, what exists stays, and /proc does not hold it up.

import assert from "node:assert/strict";
import { mkdtempSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { makeDirectory } from "./make-directory.ts";

test("a directory is made with its parents, and found again", (t) => {
  const top = mkdtempSync(join(tmpdir(), "torus-directory-"));
  t.after(() => rmSync(top, { recursive: true }));
  const path = join(top, "a", "b", "c");
  makeDirectory(path);
  makeDirectory(path);
  assert.equal(statSync(path).mode & 0o777, 0o700);
  writeFileSync(join(top, "file"), "");
  assert.throws(() => makeDirectory(join(top, "file")), { code: "EEXIST" });
  assert.throws(() => makeDirectory(join(top, "file", "below")), { code: "ENOTDIR" });
});

test("where nothing can be made it says so at once", () => {
  assert.throws(() => makeDirectory("/proc/torus-none/a/b"), { code: "ENOENT" });
});
