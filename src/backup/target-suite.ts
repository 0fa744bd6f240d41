// What every target of backups must do.

import assert from "node:assert/strict";
import { it } from "node:test";
import { isTorusError } from "#model";
import type { BackupTarget } from "./target.ts";
import { forEachPage } from "./target.ts";

/** `open` gives an empty target. */
export function targetSuite(name: string, open: () => Promise<BackupTarget>): void {
  const bytes = (text: string): Uint8Array => Buffer.from(text);

  it(`${name}: what was put is there, whole, until it is put again or removed`, async () => {
    const target = await open();
    assert.equal(await target.get("a/b"), null);
    assert.equal(await target.has("a/b"), false);
    await target.remove("a/b");
    await target.put("a/b", bytes("one"));
    assert.deepEqual(Buffer.from((await target.get("a/b")) ?? []), bytes("one"));
    assert.equal(await target.has("a/b"), true);
    await target.put("a/b", bytes("another"));
    assert.deepEqual(Buffer.from((await target.get("a/b")) ?? []), bytes("another"));
    const large = Buffer.alloc(3 * 2 ** 20, 7);
    await target.put("a/large", large);
    assert.ok(large.equals((await target.get("a/large")) ?? Buffer.alloc(0)));
    await target.put("a/none", new Uint8Array(0));
    assert.equal((await target.get("a/none"))?.length, 0);
    await target.remove("a/b");
    assert.deepEqual([await target.get("a/b"), await target.has("a/b")], [null, false]);
    assert.equal(await target.has("a"), false, "a folder is no object");
  });

  it(`${name}: a list has the keys below a folder in order, also those further down, behind any key`, async () => {
    const target = await open();
    const keys = ["f/a", "f/a-b", "f/a.b", "f/a/x", "f/ab/1", "f/ab/2", "f/b", "fo", "g/a"].filter(
      (key) => key !== "f/a",
    );
    for (const key of keys) await target.put(key, bytes(key));
    const expected = keys.filter((key) => key.startsWith("f/")).sort();
    assert.deepEqual(await target.list("f/", null), { keys: expected, isMore: false });
    for (const [i, key] of expected.entries())
      assert.deepEqual((await target.list("f/", key)).keys, expected.slice(i + 1), `behind ${key}`);
    assert.deepEqual(
      (await target.list("f/", "f/aa")).keys,
      expected.filter((key) => key > "f/aa"),
    );
    assert.deepEqual((await target.list("f/ab/", null)).keys, ["f/ab/1", "f/ab/2"]);
    assert.deepEqual(await target.list("none/", null), { keys: [], isMore: false });
  });

  it(`${name}: a long list comes page by page, each key once`, async () => {
    const target = await open();
    const keys = Array.from({ length: 1003 }, (_, i) => `l/${i % 7}/${`${i}`.padStart(5, "0")}`).sort();
    for (let i = 0; i < keys.length; i += 50)
      await Promise.all(keys.slice(i, i + 50).map((key) => target.put(key, bytes("x"))));
    const found: string[] = [];
    await forEachPage(target, "l/", async (page) => void found.push(...page));
    assert.deepEqual(found, keys);
  });

  it(`${name}: a key that leads out of the target, or is none, is refused`, async () => {
    const target = await open();
    for (const key of ["../a", "a/../b", "/a", "a//b", "a/", "", ".a", "a b", "ä", "x".repeat(300)])
      await assert.rejects(target.put(key, bytes("x")), (error) => isTorusError(error), key);
  });
}
