// `npm run build`: the bundles run away from the repository, with nothing beside them but themselves.

import assert from "node:assert/strict";
import { cpSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { Program, root, run, scratchDirectory, waitFor } from "./programs.ts";

test("the bundled programs print their version and serve a store from any directory", async (t) => {
  await run(process.execPath, [join(root, "scripts/build.ts")]);
  const directory = scratchDirectory(t);
  cpSync(join(root, "dist"), join(directory, "bin"), { recursive: true });
  const { version } = JSON.parse(readFileSync(join(root, "package.json"), "utf8"));
  const program = (name: string): string => join(directory, "bin", `${name}.js`);

  assert.match(await run(program("torusctl"), ["version"]), new RegExp(`^torusctl ${version}\\b`));
  for (const name of ["torusd", "torusblk", "torusctl"]) {
    assert.match(await run(program(name), ["--help"]), new RegExp(`Usage: ${name}`));
  }

  const library = `import(${JSON.stringify(join(directory, "bin", "torus.js"))}).then((torus) => console.log(typeof torus.connect))`;
  assert.equal(await run(process.execPath, ["-e", library]), "function\n");

  const metadata = ["--metadata", `sqlite:${join(directory, "metadata.db")}`];
  await run(program("torusctl"), [...metadata, "init"]);
  const store = ["--data-dir", join(directory, "peer"), "--peer-address", "127.0.0.1:0", "--auto-join"];
  const peer = new Program(program("torusd"), [...metadata, ...store]);
  t.after(() => peer.killGroup());
  await waitFor("torusd to be ready", () => /^torusd: peer \S+ ready at /m.test(peer.output));
  peer.child.kill("SIGTERM");
  assert.equal((await peer.end()).code, 0, peer.output);
});
