// What the options of TLS mean, and which are refused.

import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { isTorusError } from "#model";
import type { TlsFlags } from "./tls-options.ts";
import { tlsOptions } from "./tls-options.ts";

const folder = mkdtempSync(join(tmpdir(), "torusblk-tls-"));
after(() => rmSync(folder, { recursive: true, force: true }));

function file(name: string, content: string): string {
  const path = join(folder, name);
  writeFileSync(path, content);
  return path;
}

function refused(flags: TlsFlags, message: RegExp): void {
  assert.throws(
    () => tlsOptions(flags),
    (error) => isTorusError(error, "invalid-argument") && message.test(error.message),
  );
}

const aliceHex = "000102030405060708090a0b0c0d0e0f";

test("without options there is no TLS; credentials alone require it", () => {
  assert.equal(tlsOptions({}), null);
  assert.equal(tlsOptions({ tls: "off" }), null);
  const tlsPsk = file("keys.psk", `alice:${aliceHex}\n\nbob:${"AB".repeat(32)}\n`);
  const keys = new Map([
    ["alice", Buffer.from(aliceHex, "hex")],
    ["bob", Buffer.alloc(32, 0xab)],
  ]);
  assert.deepEqual(tlsOptions({ tlsPsk }), { isRequired: true, credentials: { kind: "psk", keys } });
  assert.equal(tlsOptions({ tlsPsk, tls: "on" })?.isRequired, false);
});

test("certificates have the names that qemu and libnbd give them; those of clients are wanted on demand", () => {
  file("server-cert.pem", "certificate");
  file("server-key.pem", "key");
  const credentials = { kind: "certificates", authority: null, certificate: "certificate", key: "key" };
  assert.deepEqual(tlsOptions({ tlsCertificates: folder }), { isRequired: true, credentials });
  refused({ tlsCertificates: folder, tlsVerifyPeer: true }, /ca-cert\.pem cannot be read/);
  file("ca-cert.pem", "authority");
  const verified = tlsOptions({ tlsCertificates: folder, tlsVerifyPeer: true, tls: "require" });
  assert.deepEqual(verified, { isRequired: true, credentials: { ...credentials, authority: "authority" } });
});

test("what contradicts itself or is missing is refused with what to do", () => {
  const tlsPsk = file("good.psk", `alice:${aliceHex}\n`);
  refused({ tls: "maybe" }, /none of off, on, require/);
  refused({ tls: "require" }, /wants --tls-certificates DIRECTORY or --tls-psk FILE/);
  refused({ tls: "off", tlsPsk }, /contradicts/);
  refused({ tlsPsk, tlsCertificates: folder }, /exclude each other/);
  refused({ tlsPsk, tlsVerifyPeer: true }, /wants --tls-certificates/);
  refused({ tlsPsk: join(folder, "none") }, /cannot be read/);
  refused({ tlsCertificates: join(folder, "none") }, /server-cert\.pem cannot be read/);
});

test("files of keys are refused by the line", () => {
  const keys = (content: string) => ({ tlsPsk: file("bad.psk", content) });
  refused(keys(""), /has no keys/);
  refused(keys("alice\n"), /line 1 of .* is not NAME:KEY/);
  refused(keys(`alice:${aliceHex}\nbob:xyz\n`), /line 2/);
  refused(keys("alice:0011\n"), /the key has 2 bytes/);
  refused(keys(`alice:${"00".repeat(257)}\n`), /the key has 257 bytes/);
  refused(keys(`${"a".repeat(129)}:${aliceHex}\n`), /at most 128 bytes/);
  refused(keys(`alice:${aliceHex}\nalice:${aliceHex}\n`), /another key of "alice"/);
});
