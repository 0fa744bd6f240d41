// Into an export by the short way, and then out of the hands of who went in: what the server says next must stay in the socket.

import assert from "node:assert/strict";
import { readSync } from "node:fs";
import { createServer } from "node:net";
import { describe, test } from "node:test";
import { descriptorOf } from "#host/node";
import { isTorusError } from "#model";
import { enterExport } from "./entrance.ts";
import { command, encodeRequest, transmissionFlag } from "./nbd-codec.ts";
import { freshPath, memory, sampleOf, until, withServer } from "./server-suite-setup.ts";

/** What the socket has now; null when that is nothing. */
function take(descriptor: number, room: Buffer): number | null {
  try {
    return readSync(descriptor, room);
  } catch (error) {
    assert.equal((error as NodeJS.ErrnoException).code, "EAGAIN");
    return null;
  }
}

describe("entering an export", () => {
  test("says how large it is and what it can do, and reads nothing behind the handshake", async () => {
    await withServer([memory()], async ({ address, metrics }) => {
      assert.ok(address.kind === "unix");
      const { socket, sizeBytes, flags } = await enterExport(address.path, "vol");
      assert.equal(sizeBytes, 8 * 1024 * 1024);
      const wanted = transmissionFlag.hasFlags | transmissionFlag.sendFlush | transmissionFlag.sendFua;
      assert.equal(flags & (wanted | transmissionFlag.readOnly), wanted);
      const read = { type: command.read, flags: 0, cookieHigh: 0, cookieLow: 7, offset: 0, length: 4096 };
      socket.write(encodeRequest(read));
      await until(() => sampleOf(metrics, "torus_nbd_reads_total") === 1, "the request arrives");
      const room = Buffer.alloc(8192);
      let held = 0;
      await until(() => {
        held += take(descriptorOf(socket), room.subarray(held)) ?? 0;
        return held >= 16 + 4096;
      }, "the answer is in the socket");
      assert.equal(room.readUInt32BE(12), 7, "the reply to it");
      socket.destroy();
    });
  });

  test("an export that is not there, and a server that is not there, are errors", async () => {
    await withServer([memory()], async ({ address }) => {
      assert.ok(address.kind === "unix");
      const refused = (error: unknown) => isTorusError(error, "io") && /"nope"/.test(error.message);
      await assert.rejects(enterExport(address.path, "nope"), refused);
      await assert.rejects(enterExport(`${address.path}x`, "nope"), refused);
    });
  });

  test("who does not speak NBD is not believed", async () => {
    const { path } = freshPath();
    const server = createServer((socket) => socket.end(Buffer.alloc(28, 65))).listen(path);
    await assert.rejects(
      enterExport(path, "vol"),
      (error) => isTorusError(error, "io") && /does not speak NBD/.test(error.message),
    );
    server.close();
  });
});
