// BLOCK_STATUS and extended headers over a socket: what a client gets, byte by byte.

import assert from "node:assert/strict";
import { test } from "node:test";
import { TorusError } from "#model";
import { errno } from "./errors.ts";
import type { ListenAddress } from "./listener.ts";
import { command, commandFlag, option, reply } from "./nbd-codec.ts";
import { contextData, goData, RawClient } from "./server-suite-client.ts";
import { memory, withServer } from "./server-suite-setup.ts";

const { blockStatus, read, write, flush } = command;

async function enter(address: ListenAddress, style: number): Promise<RawClient> {
  const client = await RawClient.open(address);
  await client.greet();
  await client.option(style);
  const [context] = await client.option(option.setMetaContext, contextData("vol", ["base:allocation"]));
  assert.equal(context.type, reply.metaContext);
  assert.equal(context.data.readUInt32BE(0), 1);
  await client.option(option.go, goData("vol"));
  return client;
}

/** Lengths and flags after a context's id. */
function extents(body: Buffer): [number, number][] {
  assert.equal(body.readUInt32BE(0), 1);
  const found: [number, number][] = [];
  for (let at = 4; at < body.length; at += 8) found.push([body.readUInt32BE(at), body.readUInt32BE(at + 4)]);
  return found;
}

test("block status: extents from the offset on, one only when one is wanted, errors as they are", async () => {
  const device = memory();
  await device.write(8192, new Uint8Array(4096).fill(1), false);
  await withServer([device], async ({ address }) => {
    const client = await enter(address, option.structuredReply);
    const ask = async (request: object) => {
      client.send({ type: blockStatus, cookieLow: 9, ...request });
      const { type, cookie, body } = await client.chunk();
      assert.equal(cookie, 9);
      return { type, body };
    };
    const all = await ask({ offset: 0, length: device.info.sizeBytes });
    assert.equal(all.type, 5);
    assert.deepEqual(extents(all.body), [
      [8192, 3],
      [4096, 0],
      [device.info.sizeBytes - 12288, 3],
    ]);
    const one = await ask({ offset: 8193, length: 8192, flags: commandFlag.requestOne });
    assert.deepEqual(extents(one.body), [[4095, 0]]);
    assert.equal((await ask({ offset: 0, length: 0 })).body.readUInt32BE(0), errno.invalid);
    assert.equal(
      (await ask({ offset: 1, length: device.info.sizeBytes })).body.readUInt32BE(0),
      errno.invalid,
    );
    device.failure = new TorusError("corrupt", "the map is damaged");
    const failed = await ask({ offset: 0, length: 4096 });
    assert.deepEqual([failed.type, failed.body.readUInt32BE(0)], [0x8001, errno.io]);
    client.destroy();
  });
});

test("changes since a snapshot are dirty, the rest is not; a snapshot that is gone is an error", async () => {
  const device = memory();
  await device.write(0, new Uint8Array(8192).fill(1), false);
  device.takeSnapshot("s1");
  await device.write(4096, new Uint8Array(4096).fill(2), false);
  await withServer([device], async ({ address, exports }) => {
    exports.taken.push("s1", "gone");
    const client = await RawClient.open(address);
    await client.greet();
    await client.option(option.structuredReply);
    const listed = await client.option(option.listMetaContext, contextData("vol", ["qemu:"]));
    assert.deepEqual(
      listed.slice(0, -1).map(({ data }) => data.toString("utf8", 4)),
      ["qemu:dirty-bitmap:s1", "qemu:dirty-bitmap:gone"],
    );
    const both = ["base:allocation", "qemu:dirty-bitmap:s1"];
    assert.equal((await client.option(option.setMetaContext, contextData("vol", both))).length, 3);
    await client.option(option.go, goData("vol"));
    client.send({ type: blockStatus, offset: 0, length: 16384 });
    assert.deepEqual(extents((await client.chunk()).body), [
      [8192, 0],
      [8192, 3],
    ]);
    const { body } = await client.chunk();
    assert.equal(body.readUInt32BE(0), 2);
    assert.equal(body.toString("hex", 4), "0000100000000000" + "0000100000000001" + "0000200000000000");
    client.destroy();
    const other = await RawClient.open(address);
    await other.greet();
    await other.option(option.structuredReply);
    await other.option(option.setMetaContext, contextData("vol", ["qemu:dirty-bitmap:gone"]));
    await other.option(option.go, goData("vol"));
    other.send({ type: blockStatus, offset: 0, length: 16384 });
    const failed = await other.chunk();
    assert.deepEqual([failed.type, failed.body.readUInt32BE(0)], [0x8001, errno.io]);
    assert.match(failed.body.toString(), /no snapshot "gone"/);
    other.destroy();
  });
});

test("without a context, or of another export, there is no block status", async () => {
  await withServer([memory(), memory("other")], async ({ address }) => {
    const client = await RawClient.open(address);
    await client.greet();
    const [early] = await client.option(option.setMetaContext, contextData("vol", ["base:allocation"]));
    assert.equal(early.type, reply.errorInvalid);
    await client.option(option.structuredReply);
    const [unknown] = await client.option(option.setMetaContext, contextData("nope", ["base:allocation"]));
    assert.equal(unknown.type, reply.errorUnknown);
    await client.option(option.setMetaContext, contextData("other", ["base:allocation"]));
    await client.option(option.go, goData("vol"));
    client.send({ type: blockStatus, offset: 0, length: 1 });
    assert.equal((await client.chunk()).body.readUInt32BE(0), errno.invalid);
    client.destroy();
  });
});

test("a READ of zeroes and data comes as holes and data; with DF in one chunk", async () => {
  const device = memory();
  await device.write(65536, new Uint8Array(4096).fill(7), false);
  await withServer([device], async ({ address }) => {
    const client = await enter(address, option.structuredReply);
    client.send({ type: read, offset: 0, length: 131072 });
    const chunks = [await client.chunk(), await client.chunk(), await client.chunk()];
    assert.deepEqual(
      chunks.map(({ type, body }) => [type, Number(body.readBigUInt64BE(0)), body.length]),
      [
        [2, 0, 12],
        [1, 65536, 4104],
        [2, 69632, 12],
      ],
    );
    client.send({ type: read, offset: 0, length: 131072, flags: commandFlag.df });
    assert.equal((await client.chunk()).body.length, 131072 + 8);
    client.send({ type: read, offset: 0, length: 65536, flags: commandFlag.df });
    assert.equal((await client.chunk()).type, 2);
    client.destroy();
  });
});

test("extended headers: every reply is a chunk, with the offset of its request", async () => {
  const device = memory();
  await withServer([device], async ({ address }) => {
    const client = await enter(address, option.extendedHeaders);
    client.sendExtended({ type: write, offset: 4096, cookieLow: 1 }, Buffer.alloc(4096, 5));
    assert.deepEqual(await client.extendedChunk(), {
      type: 0,
      cookie: 1,
      isDone: true,
      body: Buffer.alloc(0),
    });
    client.sendExtended({ type: write, offset: 0, length: 512 });
    assert.equal((await client.extendedChunk()).body.readUInt32BE(0), errno.invalid);
    client.sendExtended({ type: flush }, Buffer.from("nobody wants this"));
    assert.equal((await client.extendedChunk()).body.readUInt32BE(0), errno.invalid);
    client.sendExtended({ type: command.trim, offset: 4096, length: 2 ** 33 });
    assert.equal((await client.extendedChunk()).body.readUInt32BE(0), errno.invalid);
    client.sendExtended({ type: blockStatus, offset: 0, length: device.info.sizeBytes });
    const { type, body } = await client.extendedChunk();
    assert.equal(type, 6);
    assert.deepEqual([body.readUInt32BE(0), body.readUInt32BE(4), body.length], [1, 3, 8 + 3 * 16]);
    assert.deepEqual([Number(body.readBigUInt64BE(8)), Number(body.readBigUInt64BE(16))], [4096, 3]);
    assert.deepEqual([Number(body.readBigUInt64BE(24)), Number(body.readBigUInt64BE(32))], [4096, 0]);
    client.destroy();
  });
});

test("extended headers: a payload of BLOCK_STATUS has the length and names contexts", async () => {
  const device = memory();
  await withServer([device], async ({ address }) => {
    const client = await enter(address, option.extendedHeaders);
    const filter = (length: number, ...ids: number[]) => {
      const payload = Buffer.alloc(8 + ids.length * 4);
      payload.writeUInt32BE(length, 4);
      for (const [index, id] of ids.entries()) payload.writeUInt32BE(id, 8 + index * 4);
      return payload;
    };
    client.sendExtended({ type: blockStatus }, filter(8192, 1));
    const { type, body } = await client.extendedChunk();
    assert.deepEqual([type, Number(body.readBigUInt64BE(8))], [6, 8192]);
    const wrong = [
      filter(8192),
      filter(8192, 2),
      filter(8192, 1, 1),
      filter(0, 1),
      filter(2 ** 31, 1),
      Buffer.alloc(7),
    ];
    for (const payload of wrong) {
      client.sendExtended({ type: blockStatus }, payload);
      const refused = await client.extendedChunk();
      assert.deepEqual([refused.type, refused.body.readUInt32BE(0)], [0x8001, errno.invalid]);
    }
    client.destroy();
  });
});
