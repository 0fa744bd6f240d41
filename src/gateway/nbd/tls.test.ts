// TLS by keys over a socket. Certificates are tested with openssl's and the clients that people have, among the system tests.

import assert from "node:assert/strict";
import { test } from "node:test";
import type { ConnectionOptions } from "node:tls";
import { rereading } from "#host/node";
import { isTorusError } from "#model";
import type { ListenAddress } from "./listener.ts";
import { command, option, reply } from "./nbd-codec.ts";
import { NbdServer } from "./server.ts";
import { goData, RawClient } from "./server-suite-client.ts";
import { GatedDevice, memory, sampleOf, until, withServer } from "./server-suite-setup.ts";
import type { NbdTls } from "./tls.ts";
import { requireUsable } from "./tls.ts";

const key = Buffer.alloc(32, 7);
const required: NbdTls = { isRequired: true, credentials: { kind: "psk", keys: new Map([["alice", key]]) } };

function client(identity: string, psk: Buffer, version: "TLSv1.2" | "TLSv1.3"): ConnectionOptions {
  return {
    pskCallback: () => ({ identity, psk }),
    ciphers: "DHE-PSK-AES256-GCM-SHA384:TLS_AES_128_GCM_SHA256",
    minVersion: version,
    maxVersion: version,
    checkServerIdentity: () => undefined,
  };
}

test("with the right key a client works, and what it sends and gets is encrypted", async () => {
  const device = memory();
  for (const version of ["TLSv1.2", "TLSv1.3"] as const) {
    await withServer(
      [device],
      async ({ address, metrics }) => {
        const raw = await RawClient.open(address);
        await raw.greet();
        const [early] = await raw.option(option.go, goData("vol"));
        assert.equal(early.type, reply.errorTlsRequired);
        await raw.secure(client("alice", key, version));
        await raw.option(option.go, goData("vol"));
        const data = Buffer.alloc(3 * 1024 * 1024, "secret ");
        raw.send({ type: command.write, offset: 512, cookieLow: 1 }, data);
        assert.deepEqual(await raw.simpleReply(), { errno: 0, cookie: 1 });
        raw.send({ type: command.read, offset: 512, length: data.length, cookieLow: 2 });
        assert.deepEqual(await raw.simpleReply(), { errno: 0, cookie: 2 });
        assert.ok((await raw.read(data.length)).equals(data));
        assert.equal(sampleOf(metrics, "torus_nbd_tls_total"), 1);
        raw.send({ type: command.disconnect });
        await raw.closed;
        raw.destroy();
      },
      { tls: required },
    );
  }
});

test("keys that are replaced count from then on, and connections that stand stay as they are", async () => {
  const other = Buffer.alloc(32, 9);
  const replaced: NbdTls = {
    isRequired: true,
    credentials: { kind: "psk", keys: new Map([["bob", other]]) },
  };
  const secured = async (address: ListenAddress, name: string, psk: Buffer): Promise<RawClient> => {
    const raw = await RawClient.open(address);
    await raw.greet();
    await raw.secure(client(name, psk, "TLSv1.3"));
    await raw.option(option.go, goData("vol"));
    return raw;
  };
  await withServer(
    [memory()],
    async ({ address, server }) => {
      const before = await secured(address, "alice", key);
      server.renewTls(replaced);
      const now = await secured(address, "bob", other);
      await assert.rejects(secured(address, "alice", key));
      for (const raw of [before, now]) {
        raw.send({ type: command.flush, cookieLow: 3 });
        assert.deepEqual(await raw.simpleReply(), { errno: 0, cookie: 3 });
        raw.destroy();
      }
      const useless = { kind: "certificates", authority: null, certificate: "no", key: "no" } as const;
      assert.throws(
        () => server.renewTls({ isRequired: true, credentials: useless }),
        (error) => isTorusError(error, "invalid-argument"),
      );
      (await secured(address, "bob", other)).destroy();
    },
    { tls: required },
  );
});

test("a wrong key, an unknown name and something that is not TLS cost their connection", async () => {
  await withServer(
    [memory()],
    async ({ address, metrics, server }) => {
      for (const [name, psk] of [
        ["alice", Buffer.alloc(32, 8)],
        ["mallory", key],
      ] as const) {
        for (const version of ["TLSv1.2", "TLSv1.3"] as const) {
          const raw = await RawClient.open(address);
          await raw.greet();
          await assert.rejects(raw.secure(client(name, psk, version)));
          raw.destroy();
        }
      }
      const plain = await RawClient.open(address);
      await plain.greet();
      await plain.option(option.startTls);
      plain.sendOption(option.list);
      await plain.closed;
      plain.destroy();
      await until(() => server.connectionCount === 0, "all are gone");
      assert.equal(sampleOf(metrics, "torus_nbd_tls_failures_total"), 5);
    },
    { tls: required },
  );
});

test("a server that stops, and a client that goes, in the middle of the handshake or of a request", async () => {
  const device = new GatedDevice({ name: "vol", sizeBytes: 1 << 20 });
  await withServer(
    [device],
    async ({ address, server, clock, exports }) => {
      const gone = await RawClient.open(address);
      await gone.greet();
      await gone.option(option.startTls);
      gone.destroy();
      const silent = await RawClient.open(address);
      await silent.greet();
      await silent.option(option.startTls);
      const busy = await RawClient.open(address);
      await busy.greet();
      await busy.secure(client("alice", key, "TLSv1.3"));
      await busy.option(option.go, goData("vol"));
      busy.send({ type: command.write, offset: 0, cookieLow: 5 }, Buffer.alloc(512));
      await until(() => device.waiting.length === 1, "the write is in flight");
      const closing = server.close();
      device.release();
      assert.deepEqual(await busy.simpleReply(), { errno: 0, cookie: 5 });
      await busy.closed;
      busy.destroy();
      clock.advance(60_000);
      await closing;
      assert.equal(exports.count(device), 0);
      silent.destroy();
    },
    { tls: required },
  );
});

test("without TLS a client may ask for it in vain; where it is offered, it may do without", async () => {
  await withServer([memory()], async ({ address }) => {
    const raw = await RawClient.open(address);
    await raw.greet();
    assert.equal((await raw.option(option.startTls))[0].type, reply.errorUnsupported);
    raw.destroy();
  });
  await withServer(
    [memory()],
    async ({ address }) => {
      const raw = await RawClient.enter(address, "vol");
      raw.send({ type: command.flush, cookieLow: 3 });
      assert.deepEqual(await raw.simpleReply(), { errno: 0, cookie: 3 });
      raw.destroy();
    },
    { tls: { ...required, isRequired: false } },
  );
});

test("certificates that cannot be used keep a server from opening", async () => {
  const credentials = { kind: "certificates", authority: null, certificate: "no", key: "no" } as const;
  const invalid = (error: unknown) => isTorusError(error, "invalid-argument");
  assert.throws(() => requireUsable(credentials), invalid);
  await withServer([memory()], async ({ exports, clock, metrics }) => {
    const log = { debug() {}, info() {}, warn() {}, error() {}, child: () => log };
    const server = new NbdServer(
      { listen: [{ kind: "tcp", host: "127.0.0.1", port: 0 }], tls: { isRequired: true, credentials } },
      { exports, clock, log, metrics, reread: rereading },
    );
    await assert.rejects(server.open(), invalid);
  });
});
