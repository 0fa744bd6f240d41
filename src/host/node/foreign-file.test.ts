// Files of other processes: read where they are there and ours to read, and no further than they go.

import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { isTorusError } from "#model";
import { openForeignFile } from "./foreign-file.ts";

test("a file is read, one that is not there is none, and its end is an error", (context) => {
  const directory = mkdtempSync(join(tmpdir(), "torus-foreign-"));
  context.after(() => rmSync(directory, { recursive: true }));
  const path = join(directory, "blocks");
  assert.equal(openForeignFile(path), null);
  writeFileSync(path, "0123456789");
  const file = openForeignFile(path)!;
  const target = Buffer.alloc(4);
  file.readSync(target, 3);
  assert.equal(target.toString(), "3456");
  assert.throws(
    () => file.readSync(target, 8),
    (error) => isTorusError(error, "io") && error.message.includes(path),
  );
  file.close();
});
