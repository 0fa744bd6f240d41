// The walls of the house, as data: which room may import which, who owns which npm package, who may touch the
// outside, and every exception with its reason. repository.test.ts enforces it; ARCHITECTURE.md draws it.

/**
 * A room is a folder under src/ with a door (index.ts), named in package.json `imports` (cmd has no door: nobody imports it).
 * Each may import the doors listed, and nothing else of src/. Imports go down only; storage, peer, distributor and
 * metadata do not know each other.
 */
export const rooms: Readonly<Record<string, readonly string[]>> = {
  model: [],
  host: ["model"],
  "host/node": ["model", "host"],
  ring: ["model", "host"],
  metadata: ["model", "host", "ring"],
  storage: ["model", "host", "ring"],
  peer: ["model", "host", "ring"],
  distributor: ["model", "host", "ring"],
  layer: ["model", "host", "ring"],
  volume: ["model", "host", "ring", "metadata", "layer", "distributor", "peer", "storage"],
  upkeep: ["model", "host", "ring", "metadata", "layer", "distributor", "peer", "storage", "volume"],
  backup: ["model", "host", "volume"],
  client: ["model", "host", "host/node", "ring", "metadata", "peer", "volume"],
  "gateway/nbd": ["model", "host", "volume", "upkeep"],
  "gateway/kernel": ["model", "host"],
  "gateway/http": ["model", "host", "metadata", "volume", "upkeep"],
  sim: ["model", "host", "ring", "metadata", "storage", "peer", "distributor", "layer", "volume", "upkeep"],
  // biome-ignore format: one room, one line
  cmd: ["model", "host", "host/node", "ring", "metadata", "storage", "peer", "distributor", "layer", "volume", "upkeep", "backup", "client", "gateway/nbd", "gateway/kernel", "gateway/http"],
};

/** Which room owns an npm package: the only one to import it, so that it can be replaced in one place. */
export const packageOwners: Readonly<Record<string, string>> = {
  "@node-rs/crc32": "model",
  koffi: "host/node",
  pino: "host/node",
  commander: "cmd",
};

/** npm packages for tests and scripts; this one is used as others use it. */
export const testPackages: readonly string[] = ["fast-check", "torus"];
export const scriptPackages: readonly string[] = ["esbuild"];

/** Built-in modules that reach outside the process, and the folders (or files) that may import them. Tests may, too. */
export const outsideModules: Readonly<Record<string, readonly string[]>> = {
  "node:fs": [
    "src/metadata/etcd/",
    "src/host/node/",
    "src/metadata/embedded/",
    "src/gateway/nbd/",
    "src/gateway/kernel/",
    "src/cmd/",
  ],
  "node:fs/promises": ["src/host/node/", "src/backup/", "src/cmd/"],
  "node:os": ["src/host/node/", "src/cmd/"],
  "node:net": ["src/metadata/etcd/", "src/host/node/", "src/gateway/nbd/", "src/cmd/"],
  "node:tls": ["src/metadata/etcd/", "src/host/node/", "src/gateway/nbd/", "src/cmd/"],
  "node:dgram": [],
  "node:http": ["src/gateway/http/", "src/cmd/"],
  "node:https": [],
  "node:http2": ["src/metadata/etcd/"],
  "node:child_process": ["src/cmd/"],
  "node:cluster": [],
  "node:worker_threads": ["src/cmd/", "src/host/node/"],
  "node:timers": [],
  "node:timers/promises": ["src/cmd/"],
  "node:perf_hooks": ["src/host/node/", "src/cmd/"],
  "node:process": ["src/host/node/", "src/cmd/"],
  "node:sqlite": ["src/metadata/embedded/", "src/host/node/"],
};

export const fileLinesMax = 400;
export const functionLinesMax = 60;

export interface Exception {
  /** File, from the root of the repository. */
  readonly file: string;
  /** Name of the rule in rules.ts. */
  readonly rule: string;
  readonly reason: string;
}

/** Each entry must still be needed: an exception that excuses nothing fails the tests. */
export const exceptions: readonly Exception[] = [];
