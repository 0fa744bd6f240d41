// One connection over a real socket: requests, replies, limits, and when the export is released.

import assert from "node:assert/strict";
import { test } from "node:test";
import { TorusError } from "#model";
import { errno } from "./errors.ts";
import { inFlightRequestsMax } from "./limits.ts";
import { command, commandFlag, option, reply } from "./nbd-codec.ts";
import { goData, RawClient } from "./server-suite-client.ts";
import { GatedDevice, memory, sampleOf, until, withServer } from "./server-suite-setup.ts";

test("an old client: EXPORT_NAME, zeroes, simple replies", async () => {
  await withServer([memory()], async ({ address }) => {
    const client = await RawClient.open(address);
    await client.greet(0);
    client.sendOption(option.exportName, Buffer.from("vol"));
    const answer = await client.read(134);
    assert.equal(answer.readUInt32BE(4), 8 * 1024 * 1024);
    assert.ok(answer.subarray(10).every((byte) => byte === 0));
    client.send({ type: command.write, offset: 4095, cookieLow: 7 }, Buffer.from("hello"));
    assert.deepEqual(await client.simpleReply(), { errno: 0, cookie: 7 });
    client.send({ type: command.read, offset: 4094, length: 7, cookieLow: 8 });
    assert.deepEqual(await client.simpleReply(), { errno: 0, cookie: 8 });
    assert.equal((await client.read(7)).toString("latin1"), "\0hello\0");
    client.send({ type: command.disconnect });
    await client.closed;
    client.destroy();
  });
});

test("an old client that asks for an unknown export is closed", async () => {
  await withServer([memory()], async ({ address }) => {
    const client = await RawClient.open(address);
    await client.greet(1);
    client.sendOption(option.exportName, Buffer.from("nope"));
    await client.closed;
    client.destroy();
  });
});

test("structured replies carry data, and errors with words", async () => {
  const device = memory();
  await withServer([device], async ({ address, metrics }) => {
    const client = await RawClient.enter(address, "vol", true);
    client.send(
      { type: command.write, offset: 0, cookieLow: 1, flags: commandFlag.fua },
      Buffer.from("data"),
    );
    assert.deepEqual(await client.simpleReply(), { errno: 0, cookie: 1 });
    assert.equal(device.calls.fua, 1);
    client.send({ type: command.read, offset: 0, length: 4, cookieLow: 2, flags: commandFlag.df });
    const { type, cookie, body } = await client.chunk();
    assert.deepEqual([type, cookie, body.toString("utf8", 8)], [1, 2, "data"]);
    device.failure = new TorusError("attachment-lost", "the lease is gone: attach anew");
    client.send({ type: command.flush, cookieLow: 3 });
    const failed = await client.chunk();
    assert.deepEqual([failed.type, failed.cookie, failed.body.readUInt32BE(0)], [0x8001, 3, errno.io]);
    assert.equal(failed.body.toString("utf8", 6), "the lease is gone: attach anew");
    client.send({ type: command.read, offset: 2 ** 40, length: 1, cookieLow: 4 });
    assert.equal((await client.chunk()).body.readUInt32BE(0), errno.invalid);
    assert.equal(sampleOf(metrics, "torus_nbd_request_errors_total"), 2);
    client.destroy();
  });
});

test("every command reaches the device; CACHE reads, unknown ones are refused", async () => {
  const device = memory();
  await withServer([device], async ({ address }) => {
    const client = await RawClient.enter(address, "vol");
    const expectReply = async (type: number, code: number, flags = 0) => {
      client.send(
        { type, offset: 0, length: 8192, flags },
        type === command.write ? Buffer.alloc(8192, 1) : undefined,
      );
      assert.equal((await client.simpleReply()).errno, code, `command ${type}`);
    };
    await expectReply(command.write, 0);
    await expectReply(command.trim, 0);
    await expectReply(command.writeZeroes, 0, commandFlag.noHole);
    await expectReply(command.cache, 0);
    await expectReply(command.flush, 0);
    await expectReply(7, errno.invalid);
    await expectReply(command.trim, errno.invalid, 1 << 4);
    await expectReply(command.write, errno.invalid, 1 << 9);
    assert.deepEqual(device.calls, {
      read: 1,
      write: 1,
      trim: 1,
      writeZeroes: 1,
      flush: 1,
      fua: 0,
      extents: 0,
    });
    client.destroy();
  });
});

test("a read-only export says so and refuses writes", async () => {
  await withServer([memory("fixed", true)], async ({ address }) => {
    const client = await RawClient.enter(address, "fixed");
    client.send({ type: command.write, offset: 0 }, Buffer.alloc(512));
    assert.equal((await client.simpleReply()).errno, errno.permission);
    client.destroy();
  });
});

test("replies of one turn leave together, whatever their order", async () => {
  const device = new GatedDevice({ name: "vol", sizeBytes: 1 << 20 });
  await withServer([device], async ({ address }) => {
    const client = await RawClient.enter(address, "vol");
    for (let cookie = 0; cookie < 20; cookie += 1) {
      client.send(
        { type: command.write, offset: cookie * 4096, cookieLow: cookie },
        Buffer.alloc(4096, cookie),
      );
    }
    await until(() => device.waiting.length === 20, "all are in flight");
    device.waiting.reverse();
    const before = client.socket.bytesRead;
    let chunks = 0;
    client.socket.on("data", () => {
      chunks += 1;
    });
    device.release();
    for (let cookie = 19; cookie >= 0; cookie -= 1) assert.equal((await client.simpleReply()).cookie, cookie);
    assert.equal(client.socket.bytesRead - before, 20 * 16);
    assert.equal(chunks, 1);
    client.destroy();
  });
});

test("requests in flight are bounded: the socket is not read beyond, and goes on afterwards", async () => {
  const device = new GatedDevice({ name: "vol", sizeBytes: 1 << 20 });
  await withServer([device], async ({ address }) => {
    const client = await RawClient.enter(address, "vol");
    const count = inFlightRequestsMax * 4;
    for (let cookie = 0; cookie < count; cookie += 1) {
      client.send({ type: command.write, offset: 4096, cookieLow: cookie }, Buffer.alloc(4096));
    }
    await until(() => device.waiting.length === inFlightRequestsMax, "the limit is reached");
    for (let turns = 0; turns < 50; turns += 1) await new Promise((resolve) => setImmediate(resolve));
    assert.equal(device.waiting.length, inFlightRequestsMax);
    device.gated = false;
    device.release();
    for (let cookie = 0; cookie < count; cookie += 1) await client.simpleReply();
    client.destroy();
  });
});

test("a client that does not take its replies is not read any further, and costs bounded memory", async () => {
  const device = memory();
  await withServer([device], async ({ address, server }) => {
    const client = await RawClient.enter(address, "vol");
    client.socket.pause();
    for (let cookie = 0; cookie < 100; cookie += 1) {
      client.send({ type: command.read, offset: 0, length: 4 * 1024 * 1024, cookieLow: cookie });
    }
    await until(() => device.calls.read >= 16, "some were read");
    for (let turns = 0; turns < 200; turns += 1) await new Promise((resolve) => setImmediate(resolve));
    assert.ok(
      device.calls.read < 40,
      `${device.calls.read} of 100 were read for a client that takes nothing`,
    );
    client.destroy();
    await until(() => server.connectionCount === 0, "the connection ended");
  });
});

test("DISC answers what is in flight, then closes", async () => {
  const device = new GatedDevice({ name: "vol", sizeBytes: 1 << 20 });
  await withServer([device], async ({ address }) => {
    const client = await RawClient.enter(address, "vol");
    client.send({ type: command.write, offset: 0, cookieLow: 5 }, Buffer.alloc(512));
    client.send({ type: command.disconnect });
    client.send({ type: command.write, offset: 0, cookieLow: 6 }, Buffer.alloc(512));
    await until(() => device.waiting.length === 1, "the write is in flight");
    device.release();
    assert.deepEqual(await client.simpleReply(), { errno: 0, cookie: 5 });
    await client.closed;
    assert.equal(device.calls.write, 1, "nothing after DISC is done");
    client.destroy();
  });
});

test("a client that only closes its sending side still gets its answers", async () => {
  const device = new GatedDevice({ name: "vol", sizeBytes: 1 << 20 });
  await withServer([device], async ({ address }) => {
    const client = await RawClient.enter(address, "vol");
    client.send({ type: command.write, offset: 0, cookieLow: 5 }, Buffer.alloc(512));
    client.socket.end();
    await until(() => device.waiting.length === 1, "the write is in flight");
    device.release();
    assert.equal((await client.simpleReply()).cookie, 5);
    await client.closed;
  });
});

test("an export is released only when nothing of the connection is in flight", async () => {
  const device = new GatedDevice({ name: "vol", sizeBytes: 1 << 20 });
  await withServer([device], async ({ address, exports, server }) => {
    const client = await RawClient.enter(address, "vol");
    client.send({ type: command.write, offset: 0 }, Buffer.alloc(512));
    await until(() => device.waiting.length === 1, "the write is in flight");
    client.destroy();
    for (let turns = 0; turns < 50; turns += 1) await new Promise((resolve) => setImmediate(resolve));
    assert.equal(exports.count(device), 1);
    device.release();
    await until(() => exports.count(device) === 0, "released");
    await until(() => server.connectionCount === 0, "gone");
  });
});

test("when an export is lost, what is in flight gets its answer, nothing more is taken, and the connections end", async () => {
  const device = new GatedDevice({ name: "vol", sizeBytes: 1 << 20 });
  await withServer([device], async ({ address, exports, server }) => {
    const busy = await RawClient.enter(address, "vol");
    const idle = await RawClient.enter(address, "vol");
    busy.send({ type: command.write, offset: 0, cookieLow: 5 }, Buffer.alloc(512));
    await until(() => device.waiting.length === 1, "the write is in flight");
    for (const onLost of exports.onLost) onLost();
    await idle.closed;
    idle.destroy();
    busy.send({ type: command.write, offset: 0, cookieLow: 6 }, Buffer.alloc(512));
    await until(() => exports.count(device) === 1, "the idle one is gone");
    device.release();
    assert.equal((await busy.simpleReply()).cookie, 5);
    await busy.closed;
    assert.equal(device.calls.write, 1, "what came later is for the client to send again");
    busy.destroy();
    await until(() => server.connectionCount === 0 && exports.onLost.size === 0, "gone");
  });
});

test("INFO opens nothing, GO does; several connections share a device", async () => {
  const device = memory();
  await withServer([device], async ({ address, exports }) => {
    const client = await RawClient.open(address);
    await client.greet();
    await client.option(option.info, goData("vol", [3]));
    assert.equal(exports.count(device), 0);
    await client.option(option.go, goData("vol"));
    const second = await RawClient.enter(address, "vol");
    assert.equal(exports.count(device), 2);
    client.send({ type: command.write, offset: 0 }, Buffer.from("shared"));
    await client.simpleReply();
    second.send({ type: command.flush });
    await second.simpleReply();
    second.send({ type: command.read, offset: 0, length: 6 });
    await second.simpleReply();
    assert.equal((await second.read(6)).toString(), "shared");
    client.destroy();
    second.destroy();
  });
});

test("what keeps an export from being opened is told to the client, who may go on", async () => {
  const device = memory();
  await withServer([device], async ({ address, exports }) => {
    exports.failure = new TorusError("busy", 'volume "vol" is attached by torusblk on host-7 since 12:00');
    const client = await RawClient.open(address);
    await client.greet();
    const [refused] = await client.option(option.go, goData("vol"));
    assert.equal(refused.type, reply.errorPolicy);
    assert.match(refused.data.toString(), /host-7/);
    exports.failure = null;
    const replies = await client.option(option.go, goData(""));
    assert.equal(replies[replies.length - 1].type, reply.ack);
    client.destroy();
  });
});
