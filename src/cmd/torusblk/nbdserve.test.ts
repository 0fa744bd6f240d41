// `torusblk nbdserve`, whole, over volumes in memory: what it attaches, what it says, how it ends.

import assert from "node:assert/strict";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import type { KernelNbd } from "#gateway/kernel";
import type { Log } from "#host";
import { isTorusError, TorusError } from "#model";
import { probeNbd } from "../up/nbd-probe.ts";
import type { NbdserveConfig } from "./nbdserve.ts";
import { nbdserve } from "./nbdserve.ts";
import { globalConfig, silent, testSurroundings } from "./surroundings-suite.ts";

const folder = mkdtempSync(join(tmpdir(), "torusblk-"));
after(() => rmSync(folder, { recursive: true, force: true }));
const unixPath = join(folder, "nbd.sock");
const noKernel = {} as KernelNbd;

const config: NbdserveConfig = {
  ...globalConfig,
  listen: null,
  unixPath,
  volumes: [],
  tls: null,
  readTls: () => null,
};

/** What a client that opens `name` is told: the size, or why not. */
function open(name: string): Promise<number> {
  return probeNbd({ path: unixPath }, name, 10_000);
}

test("volumes are attached for their first client, kept for the next, detached at the end", async () => {
  const outside = testSurroundings(noKernel);
  const ended = nbdserve({ ...config, http: { host: "127.0.0.1", port: 0 } }, outside);
  assert.equal(await outside.spoken, `serving nbd+unix:///VOLUME?socket=${unixPath}`);
  assert.equal(outside.catalog.attached.length, 0);
  assert.equal(await open("a"), 1 << 20);
  assert.equal(await open("a"), 1 << 20);
  assert.equal(outside.catalog.attached.length, 1);
  assert.deepEqual([...outside.open], ["http", "catalog"]);
  outside.askToStop("SIGTERM");
  await ended;
  assert.equal(outside.catalog.attached[0].closed, 1);
  assert.deepEqual([...outside.open], []);
  assert.equal(existsSync(unixPath), false);
});

test("a volume held elsewhere: the client is told by whom", async () => {
  const outside = testSurroundings(noKernel);
  outside.catalog.failure = new TorusError("busy", 'volume "a" is attached by torusblk 77 on host-7');
  const ended = nbdserve(config, outside);
  await outside.spoken;
  await assert.rejects(open("a"), /attached by torusblk 77 on host-7/);
  outside.askToStop("SIGTERM");
  await ended;
});

test("named volumes are attached before it says that it serves; failing that ends it", async () => {
  const outside = testSurroundings(noKernel);
  const ended = nbdserve({ ...config, volumes: ["a", "b"], force: true }, outside);
  await outside.spoken;
  assert.equal(outside.catalog.attached.length, 2);
  assert.equal(outside.catalog.forced, 2);
  outside.askToStop("SIGTERM");
  await ended;
  assert.deepEqual(
    outside.catalog.attached.map(({ closed }) => closed),
    [1, 1],
  );

  const failing = testSurroundings(noKernel);
  failing.catalog.failure = new TorusError("not-found", 'there is no volume "zzz"');
  await assert.rejects(nbdserve({ ...config, volumes: ["zzz"] }, failing), (error) =>
    isTorusError(error, "not-found"),
  );
  assert.deepEqual(failing.said, []);
  assert.deepEqual([...failing.open], []);
  assert.equal(existsSync(unixPath), false);
});

test("a port in use ends it before anything is attached", async () => {
  const taken = createServer();
  await new Promise<void>((resolve) => taken.listen(0, "127.0.0.1", resolve));
  const { port } = taken.address() as { port: number };
  const outside = testSurroundings(noKernel);
  const serving = nbdserve({ ...config, listen: { host: "127.0.0.1", port }, volumes: ["a"] }, outside);
  await assert.rejects(serving, (error) => isTorusError(error, "busy") && error.message.includes(`:${port}`));
  assert.equal(outside.catalog.attached.length, 0);
  await new Promise((resolve) => taken.close(resolve));
});

test("asked to stop while it attaches, it does not wait for the attachment", async () => {
  const outside = testSurroundings(noKernel);
  outside.catalog.attach = () => new Promise(() => {});
  const ended = nbdserve({ ...config, volumes: ["a"] }, outside);
  outside.askToStop("SIGINT");
  await ended;
  assert.deepEqual([...outside.open], []);
});

test("a volume that cannot be detached cleanly makes it fail, after all else is closed", async () => {
  const outside = testSurroundings(noKernel);
  const ended = nbdserve({ ...config, volumes: ["a"] }, outside);
  await outside.spoken;
  outside.catalog.attached[0].closeFailure = new TorusError("unavailable", "peer 3 does not answer");
  outside.askToStop("SIGTERM");
  await assert.rejects(
    ended,
    (error) => isTorusError(error, "io") && /peer 3 does not answer/.test(error.message),
  );
  assert.deepEqual([...outside.open], []);
});

test("[C2] a volume whose clients were cut off: whoever comes is told what happened and what to type", async () => {
  const outside = testSurroundings(noKernel);
  outside.catalog.cutOff = { epoch: 3, atMs: 0, previousHolder: "torusblk 77 on host-7" };
  const ended = nbdserve({ ...config, volumes: ["a"] }, outside);
  await outside.spoken;
  for (let round = 0; round < 2; round += 1) {
    const refusal = /after torusblk 77 on host-7 had served it.* torusctl volume accept-loss a$/;
    await assert.rejects(open("a"), refusal);
  }
  outside.catalog.attached[0].cutOff = null;
  assert.equal(await open("a"), 1 << 20);
  assert.equal(outside.catalog.attached.length, 1);
  outside.askToStop("SIGTERM");
  await ended;
});

test("clients are of this machine when nobody else can connect", async () => {
  for (const [listen, clients] of [
    [null, "here"],
    [{ host: "127.0.0.1", port: 0 }, "here"],
    [{ host: "0.0.0.0", port: 0 }, "anywhere"],
  ] as const) {
    const outside = testSurroundings(noKernel);
    const ended = nbdserve({ ...config, listen }, outside);
    await outside.spoken;
    outside.askToStop("SIGTERM");
    await ended;
    assert.equal(outside.catalogOptions[0].clients, clients);
    assert.deepEqual(outside.catalogOptions[0].here, { machine: config.metadataUrl, id: "boot" });
  }
});

test("with TLS it names the addresses that clients can use, serves nothing without where it is required, and warns of what lets strangers in", async () => {
  const credentials = { kind: "psk", keys: new Map([["alice", Buffer.alloc(32, 1)]]) } as const;
  const path = (scheme: string) => `serving ${scheme}+unix:///VOLUME?socket=${unixPath}`;
  for (const [tls, said, warnings] of [
    [null, [path("nbd")], 1],
    [{ isRequired: false, credentials }, [path("nbd"), path("nbds")], 1],
    [{ isRequired: true, credentials }, [path("nbds")], 0],
  ] as const) {
    const outside = testSurroundings(noKernel);
    const warned: string[] = [];
    const log: Log = { ...silent, warn: (message) => void warned.push(message), child: () => log };
    const listen = { host: "0.0.0.0", port: 0 };
    const ended = nbdserve({ ...config, listen, tls }, { ...outside, log });
    await outside.spoken;
    assert.deepEqual(outside.said.slice(said.length), said);
    assert.equal(warned.length, warnings);
    if (tls?.isRequired) await assert.rejects(open("a"));
    else assert.equal(await open("a"), 1 << 20);
    outside.askToStop("SIGTERM");
    await ended;
  }
});
