// TLS of the NBD server with the clients people have, libnbd's and qemu's: certificates that openssl made, keys that psktool made.
// The device is in memory: what is wrong here is the gateway.

import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { copyFileSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { join } from "node:path";
import type { TestContext } from "node:test";
import { test } from "node:test";
import { DeviceExports, NbdServer } from "#gateway/nbd";
import { Metrics } from "#host";
import { createLog, rereading, systemClock } from "#host/node";
import { MemoryDevice } from "#volume";
import type { TlsFlags } from "../../src/cmd/torusblk/tls-options.ts";
import { tlsOptions } from "../../src/cmd/torusblk/tls-options.ts";
import { Authority } from "./certificates.ts";
import type { Outcome } from "./programs.ts";
import { run, scratchDirectory, tryRun } from "./programs.ts";

const mebibyte = 1024 * 1024;

class TlsServer {
  readonly device = new MemoryDevice({ name: "vol", sizeBytes: 8 * mebibyte });
  readonly #server: NbdServer;

  static async open(t: TestContext, flags: TlsFlags): Promise<TlsServer> {
    const server = new TlsServer(flags);
    await server.#server.open();
    t.after(() => server.#server.close());
    return server;
  }

  private constructor(flags: TlsFlags) {
    this.#server = new NbdServer(
      { listen: [{ kind: "tcp", host: "127.0.0.1", port: 0 }], tls: tlsOptions(flags) },
      {
        exports: new DeviceExports([this.device]),
        clock: systemClock,
        log: createLog({ level: "silent", name: "test" }),
        metrics: new Metrics(),
        reread: rereading,
      },
    );
  }

  get port(): number {
    const [address] = this.#server.addresses;
    assert.ok(address.kind === "tcp");
    return address.port;
  }
}

/** Directories of a server and of a client, under the names that qemu and libnbd look for. */
async function certificates(directory: string, authority: Authority, name: string): Promise<string> {
  const { cert, key } = await authority.issue(name, "IP:127.0.0.1");
  const path = join(directory, name);
  mkdirSync(path);
  copyFileSync(authority.cert, join(path, "ca-cert.pem"));
  for (const side of ["server", "client"]) {
    copyFileSync(cert, join(path, `${side}-cert.pem`));
    copyFileSync(key, join(path, `${side}-key.pem`));
  }
  return path;
}

function qemuInfo(port: number, object: string): Promise<Outcome> {
  const image = `driver=nbd,host=127.0.0.1,port=${port},export=vol,tls-creds=tls0`;
  return tryRun("qemu-img", ["info", "--object", object, "--image-opts", image]);
}

/** In by qemu, out by nbdcopy: what comes out is what went in. */
async function copyThrough(directory: string, port: number, uri: string, object: string): Promise<void> {
  const [source, back] = [join(directory, "in.img"), join(directory, "out.img")];
  writeFileSync(source, randomBytes(8 * mebibyte));
  const target = `driver=nbd,host=127.0.0.1,port=${port},export=vol,tls-creds=tls0`;
  await run("qemu-img", [
    "convert",
    "--object",
    object,
    "-n",
    "-f",
    "raw",
    source,
    "--target-image-opts",
    target,
  ]);
  await run("nbdcopy", ["--connections=4", uri, back]);
  assert.ok(readFileSync(back).equals(readFileSync(source)));
}

test("certificates: required, verified on both sides, and refused when they are not of the authority", async (t) => {
  const directory = scratchDirectory(t);
  const authority = await Authority.make(directory, "authority");
  const stranger = await Authority.make(directory, "stranger");
  const own = await certificates(directory, authority, "own");
  const foreign = await certificates(directory, stranger, "foreign");
  const { port } = await TlsServer.open(t, { tlsCertificates: own, tlsVerifyPeer: true });
  const uri = (of: string) => `nbds://127.0.0.1:${port}/vol?tls-certificates=${of}`;
  const object = (of: string) => `tls-creds-x509,id=tls0,dir=${of},endpoint=client`;

  assert.match(await run("nbdinfo", [uri(own)]), /protocol: newstyle-fixed with TLS/);
  await copyThrough(directory, port, uri(own), object(own));
  const plain = await tryRun("nbdinfo", [`nbd://127.0.0.1:${port}/vol`]);
  assert.ok(plain.code !== 0, "nothing without TLS");
  assert.notEqual((await tryRun("nbdinfo", [uri(foreign)])).code, 0, "the server's is not of this authority");
  assert.notEqual((await qemuInfo(port, object(foreign))).code, 0);
  // A client that trusts the server, whom the server does not trust.
  copyFileSync(authority.cert, join(foreign, "ca-cert.pem"));
  assert.notEqual((await tryRun("nbdinfo", [uri(foreign)])).code, 0, "the client's is not of this authority");
  assert.notEqual((await qemuInfo(port, object(foreign))).code, 0);
});

test("certificates of the server alone: clients need none, and may do without TLS where it is not required", async (t) => {
  const directory = scratchDirectory(t);
  const own = await certificates(directory, await Authority.make(directory, "authority"), "own");
  const client = join(directory, "client");
  mkdirSync(client);
  copyFileSync(join(own, "ca-cert.pem"), join(client, "ca-cert.pem"));
  const { port } = await TlsServer.open(t, { tls: "on", tlsCertificates: own });
  const secure = await run("nbdinfo", [`nbds://127.0.0.1:${port}/vol?tls-certificates=${client}`]);
  assert.match(secure, /with TLS/);
  const plain = await run("nbdinfo", [`nbd://127.0.0.1:${port}/vol`]);
  assert.match(plain, /without TLS/);
});

test("keys: psktool's file serves both sides; another key and another name are refused", async (t) => {
  const directory = scratchDirectory(t);
  const file = join(directory, "keys.psk");
  await run("psktool", ["-u", "alice", "-p", file]);
  await run("psktool", ["-u", "bob", "-p", file]);
  const { port } = await TlsServer.open(t, { tlsPsk: file });
  const wrong = join(directory, "wrong");
  mkdirSync(wrong);
  await run("psktool", ["-u", "alice", "-p", join(wrong, "keys.psk")]);
  await run("psktool", ["-u", "mallory", "-p", join(wrong, "keys.psk")]);
  const uri = (name: string, keys: string) => `nbds://${name}@127.0.0.1:${port}/vol?tls-psk-file=${keys}`;
  const object = (of: string, name: string) =>
    `tls-creds-psk,id=tls0,dir=${of},username=${name},endpoint=client`;

  for (const name of ["alice", "bob"]) assert.match(await run("nbdinfo", [uri(name, file)]), /with TLS/);
  await copyThrough(directory, port, uri("alice", file), object(directory, "bob"));
  for (const name of ["alice", "mallory"]) {
    assert.notEqual((await tryRun("nbdinfo", [uri(name, join(wrong, "keys.psk"))])).code, 0);
    assert.notEqual((await qemuInfo(port, object(wrong, name))).code, 0);
  }
});

test("an option slipped in behind STARTTLS before the handshake ends the connection", async (t) => {
  const directory = scratchDirectory(t);
  const file = join(directory, "keys.psk");
  await run("psktool", ["-u", "alice", "-p", file]);
  const { port } = await TlsServer.open(t, { tlsPsk: file });
  const option = (number: number) => {
    const bytes = Buffer.from("49484156454f50540000000000000000", "hex");
    bytes.writeUInt32BE(number, 8);
    return bytes;
  };
  const answer = await new Promise<Buffer>((resolve, reject) => {
    const parts: Buffer[] = [];
    const socket = connect(port, "127.0.0.1", () => {
      socket.write(Buffer.concat([Buffer.from([0, 0, 0, 3]), option(5), option(8)]));
    });
    socket.on("data", (part) => parts.push(part));
    socket.on("error", reject);
    socket.on("end", () => {
      socket.end();
      resolve(Buffer.concat(parts));
    });
  });
  assert.equal(answer.length, 18, "the greeting, and no answer to STARTTLS");
});
