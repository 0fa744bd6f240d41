// Bundles the three programs and the library into dist/, each one file that Node 24 runs (the native checksum addon stays outside,
// and the programs work without it). A file named *-worker.ts is a thread's program: it becomes a file beside them,
// where the bundle that starts it looks for it.

import { chmodSync, globSync, readFileSync } from "node:fs";
import { basename, join } from "node:path";
import { build, type Plugin } from "esbuild";

const root = join(import.meta.dirname, "..");
const programs = ["torusd", "torusctl", "torusblk"];
const workers = globSync("src/cmd/*/*-worker.ts", { cwd: root });

/** Sources may start with one of their own; the banner has the only one that may stand in a bundle. */
const withoutShebang: Plugin = {
  name: "without-shebang",
  setup({ onLoad }) {
    onLoad({ filter: /\/main\.ts$/ }, ({ path }) => ({
      contents: readFileSync(path, "utf8").replace(/^#!.*/, ""),
      loader: "ts",
    }));
  },
};

await build({
  absWorkingDir: root,
  entryPoints: [
    ...programs.map((program) => ({ in: `src/cmd/${program}/main.ts`, out: program })),
    ...workers.map((file) => ({ in: file, out: basename(file, ".ts") })),
    { in: "src/client/index.ts", out: "torus" },
  ],
  outdir: "dist",
  bundle: true,
  platform: "node",
  format: "esm",
  target: "node24",
  external: ["@node-rs/crc32", "koffi"],
  // CommonJS packages in the bundle call `require` for what Node brings.
  banner: {
    js: '#!/usr/bin/env node\nimport { createRequire as bundleRequire } from "node:module";\nconst require = bundleRequire(import.meta.url);',
  },
  plugins: [withoutShebang],
  legalComments: "none",
  logLevel: "warning",
});
for (const program of programs) chmodSync(join(root, "dist", `${program}.js`), 0o755);
process.stdout.write(
  `Built ${[...programs, "torus", ...workers.map((file) => basename(file, ".ts"))].join(", ")} in dist/.\n`,
);
