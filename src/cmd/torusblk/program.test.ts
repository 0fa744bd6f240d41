// The command line of torusblk: what it makes of flags, and how it refuses them.

import assert from "node:assert/strict";
import { PassThrough } from "node:stream";
import { test } from "node:test";
import { TorusError } from "#model";
import type { ProgramIo } from "../shared/program-io.ts";
import { runProgram } from "../shared/run-program.ts";
import { isLoopback } from "./config.ts";
import type { NbdConfig } from "./nbd.ts";
import type { NbdserveConfig } from "./nbdserve.ts";
import { buildProgram } from "./program.ts";

interface Ran {
  readonly code: number;
  readonly out: string;
  readonly err: string;
  readonly served: NbdserveConfig[];
  readonly attached: NbdConfig[];
  readonly detached: string[];
}

async function torusblk(line: string, failure: TorusError | null = null): Promise<Ran> {
  const ran = {
    code: 0,
    out: "",
    err: "",
    served: [] as NbdserveConfig[],
    attached: [] as NbdConfig[],
    detached: [] as string[],
  };
  const io: ProgramIo = {
    out: (text) => (ran.out += text),
    err: (text) => (ran.err += text),
    outIsTerminal: false,
    errIsTerminal: false,
    stdin: () => new PassThrough(),
    stdout: () => new PassThrough(),
    onStop: () => () => {},
    env: { TORUS_METADATA: "sqlite:/var/lib/torus/metadata.db" },
    home: "/home/nobody",
    host: "here",
    pid: 1,
    ask: async () => null,
  };
  const actions = {
    nbdserve: async (config: NbdserveConfig) => {
      if (failure !== null) throw failure;
      ran.served.push(config);
    },
    nbd: async (config: NbdConfig) => void ran.attached.push(config),
    detach: async (device: string) => void ran.detached.push(device),
  };
  const args = line.split(" ").filter((word) => word !== "");
  ran.code = await runProgram(buildProgram(actions, io), args, io);
  return ran;
}

test("nbdserve: defaults", async () => {
  const { code, served } = await torusblk("nbdserve");
  assert.equal(code, 0);
  const [{ readTls, ...plain }] = served;
  assert.equal(readTls(), null);
  assert.deepEqual(plain, {
    metadataUrl: "sqlite:/var/lib/torus/metadata.db",
    http: null,
    logLevel: "info",
    exitWithParent: false,
    force: false,
    writeCacheBytes: 64 * 1024 * 1024,
    mapCacheBytes: 128 * 1024 * 1024,
    readCacheBytes: 64 * 1024 * 1024,
    memoryBytes: null,
    leaseTtlMs: 10_000,
    listen: { host: "127.0.0.1", port: 10809 },
    unixPath: null,
    volumes: [],
    tls: null,
  });
});

test("options may stand before and after the command", async () => {
  const line =
    "--metadata memory: --force nbdserve -l [::1]:99 --unix /run/t.sock --lease 30s --write-cache-size 1GiB --http :9090 a b a";
  const { served } = await torusblk(line);
  assert.equal(served[0].metadataUrl, "memory:");
  assert.equal(served[0].force, true);
  assert.deepEqual(served[0].listen, { host: "::1", port: 99 });
  assert.equal(served[0].unixPath, "/run/t.sock");
  assert.equal(served[0].leaseTtlMs, 30_000);
  assert.equal(served[0].writeCacheBytes, 2 ** 30);
  assert.deepEqual(served[0].http, { host: "::", port: 9090 });
  assert.deepEqual(served[0].volumes, ["a", "b"]);
});

test("with --unix alone nothing listens on the network", async () => {
  assert.equal((await torusblk("nbdserve --unix /run/t.sock")).served[0].listen, null);
});

test("nbd attaches and detaches", async () => {
  const { attached } = await torusblk("nbd vol");
  assert.deepEqual([attached[0].volume, attached[0].device, attached[0].sectorBytes], ["vol", null, 4096]);
  assert.equal((await torusblk("nbd vol /dev/nbd3 --sector-size 512")).attached[0].device, "/dev/nbd3");
  assert.equal(attached[0].reconnectSeconds, 300);
  assert.equal((await torusblk("nbd vol --reconnect-timeout 90s")).attached[0].reconnectSeconds, 90);
  assert.deepEqual((await torusblk("nbd -d /dev/nbd3")).detached, ["/dev/nbd3"]);
});

test("what is asked for wrongly: exit code 2, one line that names it", async () => {
  for (const [line, message] of [
    ["nbdserve --listen nowhere", /--listen "nowhere" is not an address/],
    ["nbdserve --listen 127.0.0.1:99999", /--listen/],
    ["nbdserve --lease soon", /--lease "soon"/],
    ["nbdserve --lease 100ms", /--lease/],
    ["nbdserve --write-cache-size many", /--write-cache-size "many"/],
    ["nbdserve --log-level loud", /--log-level "loud"/],
    ["nbdserve --tls maybe", /'maybe' is invalid/],
    ["nbdserve --tls require", /--tls require wants --tls-certificates DIRECTORY or --tls-psk FILE/],
    ["nbdserve --no-such-flag", /unknown option/],
    ["nbd", /missing required argument 'volume'/],
    ["nbd vol --sector-size 100", /--sector-size "100"/],
    ["nbd vol --reconnect-timeout 9s", /--reconnect-timeout "9s" is not a time from 10s/],
    ["nbd vol --reconnect-timeout never", /--reconnect-timeout "never"/],
    ["nbd vol -d /dev/nbd0", /takes a device and no volume/],
    ["fly", /unknown command/],
    ["completion csh", /csh/],
  ] as const) {
    const { code, err, served, attached } = await torusblk(line);
    assert.equal(code, 2, line);
    assert.match(err, message);
    assert.equal(err.trim().split("\n").length, 1, err);
    assert.deepEqual([...served, ...attached], []);
  }
});

test("what could not be done: exit code 1, one line", async () => {
  const { code, err } = await torusblk("nbdserve", new TorusError("busy", "127.0.0.1:10809 is in use"));
  assert.equal(code, 1);
  assert.equal(err, "torusblk: 127.0.0.1:10809 is in use\n");
});

test("version, help and completion", async () => {
  assert.match((await torusblk("version")).out, /^torusblk \d+\.\d+\.\d+/);
  assert.match((await torusblk("--help")).out, /nbdserve/);
  assert.match((await torusblk("nbdserve --help")).out, /--listen/);
  for (const shell of ["bash", "zsh", "fish"])
    assert.match((await torusblk(`completion ${shell}`)).out, /nbdserve/);
});

test("only what is certain to be loopback is taken for it", () => {
  const hosts = [
    "127.0.0.1",
    "127.8.9.10",
    "localhost",
    "::1",
    "0.0.0.0",
    "::",
    "127.example.com",
    "127.1",
    "10.0.0.1",
  ];
  assert.deepEqual(
    hosts.filter((host) => isLoopback({ host, port: 1 })),
    ["127.0.0.1", "127.8.9.10", "localhost", "::1"],
  );
});
