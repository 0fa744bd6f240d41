// Bundles the three programs into dist/, each one file that Node 24 runs (its native checksum addon stays outside,
// and the programs work without it). Source that starts a worker names its file as
// `new URL("./name.ts", import.meta.url)`: each such file becomes an entry of its own beside the programs.

import { chmodSync, globSync, readFileSync } from "node:fs";
import { basename, join } from "node:path";
import { build, type Plugin } from "esbuild";

const root = join(import.meta.dirname, "..");
const programs = ["torusd", "torusctl", "torusblk"];
const workerUrl = /new URL\(\s*"\.\/([a-z0-9-]+)\.ts",\s*import\.meta\.url,?\s*\)/g;

/** Files that sources start as workers. */
function workerFiles(): string[] {
  return globSync("src/**/*.ts", { cwd: root })
    .filter((file) => !file.endsWith(".test.ts"))
    .flatMap((file) => {
      const text = readFileSync(join(root, file), "utf8");
      return [...text.matchAll(workerUrl)].map((match) => join(root, file, "..", `${match[1]}.ts`));
    });
}

/** Points worker URLs at the bundles. */
const workerUrls: Plugin = {
  name: "worker-urls",
  setup({ onLoad }) {
    onLoad({ filter: /\/src\/.*\.ts$/ }, ({ path }) => ({
      contents: readFileSync(path, "utf8").replace(workerUrl, 'new URL("./$1.js", import.meta.url)'),
      loader: "ts",
    }));
  },
};

const workers = [...new Set(workerFiles())];
await build({
  absWorkingDir: root,
  entryPoints: [
    ...programs.map((program) => ({ in: `src/cmd/${program}/main.ts`, out: program })),
    ...workers.map((file) => ({ in: file, out: basename(file, ".ts") })),
  ],
  outdir: "dist",
  bundle: true,
  platform: "node",
  format: "esm",
  target: "node24",
  external: ["@node-rs/crc32"],
  // CommonJS packages in the bundle call `require` for what Node brings.
  banner: {
    js: '#!/usr/bin/env node\nimport { createRequire as bundleRequire } from "node:module";\nconst require = bundleRequire(import.meta.url);',
  },
  plugins: [workerUrls],
  legalComments: "none",
  logLevel: "warning",
});
for (const program of programs) chmodSync(join(root, "dist", `${program}.js`), 0o755);
process.stdout.write(
  `Built ${[...programs, ...workers.map((file) => basename(file, ".ts"))].join(", ")} in dist/.\n`,
);
