// URLs of metadata services.

import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { it } from "node:test";
import { type ErrorCode, isTorusError } from "#model";
import { ManualClock } from "./manual-clock.fixture.ts";
import { openMetadata } from "./open.ts";
import { quietLog } from "./quiet-log.fixture.ts";

const clock = new ManualClock();
const random = { uint32: () => 0, bytes: (count: number) => new Uint8Array(count), uuid: () => "" };
const deps = { clock, log: quietLog, boot: clock, random, etcdPassword: null };

it("openMetadata: opens a database by path or by URL, and memory", async () => {
  const directory = mkdtempSync(join(tmpdir(), "torus-open-"));
  try {
    const path = join(directory, "m.db");
    for (const url of [`sqlite:${path}`, `sqlite://${path}`, `SQLITE:${path}`]) {
      const service = await openMetadata(url, deps);
      assert.equal(service.url, `sqlite:${path}`);
      await service.close();
    }
    const memory = await openMetadata("memory:", deps);
    assert.equal((await memory.read([])).revision, 0);
    await memory.close();
  } finally {
    rmSync(directory, { recursive: true });
  }
});

it("openMetadata: says what is wrong with other URLs and what is supported", async () => {
  const wrong: [string, ErrorCode, RegExp][] = [
    ["etcd://n1:2379,n2:x", "invalid-argument", /"n2:x" is not an endpoint/],
    ["http://n1:2379", "invalid-argument", /for etcd write etcd:\/\//],
    ["https://n1:2379", "invalid-argument", /for etcd write etcds:\/\//],
    ["zookeeper://x", "invalid-argument", /scheme "zookeeper" is unknown/],
    ["/var/lib/torus/metadata.db", "invalid-argument", /no scheme/],
    ["", "invalid-argument", /no scheme/],
    ["sqlite:", "invalid-argument", /names no file/],
    ["sqlite:/tmp/", "invalid-argument", /names no file/],
    ["sqlite://host/path", "invalid-argument", /without a host/],
    ["memory:x", "invalid-argument", /nothing after the colon/],
    ["sqlite:/nowhere/at/all.db", "not-found", /no metadata database/],
  ];
  for (const [url, code, message] of wrong) {
    await assert.rejects(
      openMetadata(url, deps, { create: false }),
      (error) => {
        return isTorusError(error, code) && message.test(error.message);
      },
      url,
    );
  }
});
