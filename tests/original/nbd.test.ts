// The defects of the original Torus in how it spoke NBD, each as the test it never had. The names are those of the list in
// docs/original.md.

import assert from "node:assert/strict";
import { test } from "node:test";
import { TorusError } from "#model";
import { MemoryDevice } from "#volume";
import { errno } from "../../src/gateway/nbd/errors.ts";
import { command } from "../../src/gateway/nbd/nbd-codec.ts";
import { goData, RawClient } from "../../src/gateway/nbd/server-suite-client.ts";
import { memory, withServer } from "../../src/gateway/nbd/server-suite-setup.ts";

/** What a volume is when another client has taken it over. */
class TakenOver extends MemoryDevice {
  override flush(): Promise<void> {
    return Promise.reject(new TorusError("fenced", "another writer has the volume"));
  }
  override trim(): Promise<void> {
    return this.flush();
  }
}

test("D6: a client that was fenced out is told so by FLUSH and TRIM", async () => {
  const device = new TakenOver({ name: "vol", sizeBytes: 2 ** 20, readOnly: false, description: "" });
  await withServer([device], async ({ address }) => {
    const client = await RawClient.enter(address, "vol");
    client.send({ type: command.flush, cookieLow: 1 });
    assert.deepEqual(await client.simpleReply(), { errno: errno.io, cookie: 1 });
    client.send({ type: command.trim, cookieLow: 2, length: 4096 });
    assert.deepEqual(await client.simpleReply(), { errno: errno.io, cookie: 2 });
    client.destroy();
  });
});

test("D14: an option nobody knows is answered as unsupported, and the handshake goes on", async () => {
  await withServer([memory()], async ({ address }) => {
    const client = await RawClient.open(address);
    await client.greet();
    const unsupported = 2 ** 31 + 1;
    for (const unknown of [99, 0x7fffffff]) {
      const replies = await client.option(unknown, Buffer.alloc(300, 7));
      assert.deepEqual(
        replies.map(({ type }) => type),
        [unsupported],
      );
    }
    const replies = await client.option(7, goData("vol"));
    assert.equal(replies.at(-1)?.type, 1);
    client.send({ type: command.flush, cookieLow: 3 });
    assert.deepEqual(await client.simpleReply(), { errno: 0, cookie: 3 });
    client.destroy();
  });
});
