// Keys and certificates that are replaced in their files while a server runs.

import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import type { NbdTls } from "#gateway/nbd";
import type { Log } from "#host";
import { TorusError } from "#model";
import { ManualClock, silent } from "./surroundings-suite.ts";
import { tlsOptions } from "./tls-options.ts";
import { TlsRenewal } from "./tls-renewal.ts";

const folder = mkdtempSync(join(tmpdir(), "torusblk-renewal-"));
after(() => rmSync(folder, { recursive: true, force: true }));
const lookMs = 10_000;

function setUp() {
  const tlsPsk = join(folder, "keys.psk");
  const write = (byte: string) => writeFileSync(tlsPsk, `alice:${byte.repeat(16)}\n`);
  write("01");
  const clock = new ManualClock();
  const renewed: NbdTls[] = [];
  const warnings: string[] = [];
  const state = { refusal: null as TorusError | null };
  const server = {
    renewTls: (tls: NbdTls) => {
      if (state.refusal !== null) throw state.refusal;
      renewed.push(tls);
    },
  };
  const log: Log = { ...silent, warn: (_, fields) => void warnings.push(String(fields?.["error"])) };
  const read = () => tlsOptions({ tlsPsk });
  const renewal = new TlsRenewal({ tls: read() as NbdTls, read }, { server, clock, log });
  return { tlsPsk, write, clock, renewed, warnings, state, renewal };
}

test("what the files have now is in force, and only when it is something else", () => {
  const { tlsPsk, write, clock, renewed, renewal } = setUp();
  clock.advance(lookMs);
  write("01");
  clock.advance(lookMs);
  assert.equal(renewed.length, 0);
  write("02");
  for (let i = 0; i < 3; i++) clock.advance(lookMs);
  assert.deepEqual(renewed, [tlsOptions({ tlsPsk })]);
  renewal.close();
  write("03");
  clock.advance(lookMs);
  assert.equal(renewed.length, 1);
});

test("files that cannot be used change nothing, are told of once, and are looked at again", () => {
  const { tlsPsk, write, clock, renewed, warnings, state } = setUp();
  rmSync(tlsPsk);
  for (let i = 0; i < 3; i++) clock.advance(lookMs);
  assert.equal(warnings.length, 1);
  assert.match(warnings[0], /keys\.psk cannot be read/);
  state.refusal = new TorusError("invalid-argument", "the key is of another certificate");
  write("02");
  for (let i = 0; i < 3; i++) clock.advance(lookMs);
  assert.deepEqual([warnings.length, renewed.length], [2, 0]);
  state.refusal = null;
  clock.advance(lookMs);
  assert.equal(renewed.length, 1);
});
