// The repository keeps its own rules: every file against rules.ts, nothing dead, no link broken, the compiler and
// the linter content.

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { existsSync, globSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { documentsNamed, linksOfDocument, unreachable } from "./reach.ts";
import { isTest, rules, violationsOf } from "./rules.ts";
import { parseSource } from "./source-file.ts";
import { exceptions, packageOwners, rooms, scriptPackages, testPackages } from "./walls.ts";

const root = join(import.meta.dirname, "../..");
const read = (path: string): string => readFileSync(join(root, path), "utf8");
const sources = globSync("{src,tests,scripts}/**/*.ts", { cwd: root })
  .sort()
  .map((path) => parseSource(path, read(path)));
const documents = globSync(["*.md", "docs/**/*.md", "bench/**/*.md", "deploy/**/*.md"], { cwd: root }).sort();
const violations = sources.flatMap(violationsOf);
const manifest = JSON.parse(read("package.json")) as {
  imports: Record<string, string>;
  dependencies: Record<string, string>;
};

for (const rule of Object.keys(rules)) {
  test(`every file keeps the rule ${rule}`, () => {
    const excused = new Set(exceptions.filter((entry) => entry.rule === rule).map(({ file }) => file));
    const found = violations.filter((violation) => violation.rule === rule && !excused.has(violation.file));
    assert.deepEqual(found.map(({ file, problem }) => `${file} ${problem}`).join("\n"), "");
  });
}

test("every exception is still needed and gives its reason", () => {
  for (const { file, rule, reason } of exceptions) {
    assert.ok(reason.length > 20, `${file}: say why`);
    assert.ok(
      violations.some((violation) => violation.file === file && violation.rule === rule),
      `${file} keeps the rule ${rule}: remove the exception`,
    );
  }
});

test("every file is reached from a program, a test or a script", () => {
  const isRoot = (path: string) =>
    isTest(path) || path.startsWith("scripts/") || /^src\/cmd\/[a-z]+\/main\.ts$/.test(path);
  assert.deepEqual(unreachable(sources, isRoot, manifest.imports), []);
});

test("package.json names a door for every room, and every dependency has an owner", () => {
  // No room may import the simulator, so it has no name to be imported by: scripts and tests use its path.
  const doors = Object.fromEntries(
    Object.keys(rooms)
      .filter((room) => room !== "sim" && existsSync(join(root, "src", room, "index.ts")))
      .map((room) => [`#${room}`, `./src/${room}/index.ts`]),
  );
  for (const [name, file] of Object.entries(doors)) assert.equal(manifest.imports[name], file);
  for (const name of Object.keys(manifest.imports)) assert.ok(rooms[name.slice(1)], `${name} is in walls.ts`);
  for (const name of Object.keys(manifest.dependencies))
    assert.ok(packageOwners[name], `${name} has an owner`);
  for (const name of [...testPackages, ...scriptPackages])
    assert.equal(manifest.dependencies[name], undefined);
});

test("links in documents, and documents named in code, exist", () => {
  const missing = [
    ...documents.flatMap((path) =>
      [path].flatMap((from) => linksOfDocument(from, read(from)).map((to) => [from, to])),
    ),
    ...sources
      .filter(({ path }) => !path.startsWith("tests/tidy/"))
      .flatMap(({ path, text }) => documentsNamed(text).map((to) => [path, to])),
  ].filter(([, to]) => !existsSync(join(root, to)));
  assert.deepEqual(
    missing.map(([from, to]) => `${from}: ${to}`),
    [],
  );
});

for (const [tool, ...args] of [["tsc"], ["biome", "check", "--colors=off"]]) {
  test(`${tool} finds nothing`, () => {
    const run = spawnSync(join(root, "node_modules/.bin", tool), args, {
      cwd: root,
      encoding: "utf8",
      timeout: 120_000,
    });
    assert.equal(run.status, 0, `${run.stdout}\n${run.stderr}\n${run.error ?? ""}`);
  });
}
