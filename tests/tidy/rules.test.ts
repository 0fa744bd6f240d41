// Each rule can fail: a bad snippet is caught, and a good one that looks like it is not.

import assert from "node:assert/strict";
import { test } from "node:test";
import { documentsNamed, linksOfDocument, unreachable } from "./reach.ts";
import { rules } from "./rules.ts";
import { functionsOf, parseSource } from "./source-file.ts";

function problems(rule: string, path: string, text: string): string[] {
  return rules[rule](parseSource(path, text));
}

interface Example {
  readonly rule: string;
  readonly path: string;
  readonly bad: readonly string[];
  readonly good: readonly string[];
}

const body = (lines: number): string => Array.from({ length: lines }, (_, i) => `  work(${i});\n`).join("");
const unfinishedWord = `TO${"DO"}`;

const examples: readonly Example[] = [
  {
    rule: "walls-kept",
    path: "src/ring/mod.ts",
    bad: [
      'import { x } from "#volume";',
      'import type { x } from "#metadata";',
      'export * from "#volume";',
      'const x = await import("#cmd");',
      'import { x } from "../model/limits.ts";',
      'import { x } from "#ring";',
      'import { x } from "#model/limits";',
      'import { systemClock } from "#host/node";',
      'import {\n  x,\n  y,\n} from "#storage";',
    ],
    good: [
      'import { x } from "#model";',
      'import { x } from "./hash.ts";',
      '// import { x } from "#volume";',
    ],
  },
  { rule: "walls-kept", path: "src/peer/client.ts", bad: ['import { x } from "#storage";'], good: [] },
  {
    rule: "walls-kept",
    path: "src/storage/store.test.ts",
    bad: ['import { x } from "#volume";', 'import { x } from "../peer/client.ts";'],
    good: [
      'import { x } from "../peer/link-suite.ts";',
      'import { x } from "../sim/clock.ts";',
      'import { x } from "#host/node";',
      'import { x } from "#peer";',
    ],
  },
  { rule: "walls-kept", path: "src/elsewhere/x.ts", bad: ["const x = 1;"], good: [] },
  {
    rule: "kinds-pure",
    path: "src/distributor/write-machine.ts",
    bad: [
      "async function f() {}",
      "const x: Promise<void> = f();",
      'import { open } from "node:fs";',
      "clock.setTimer(1, f);",
    ],
    good: ["// A Promise to await.\nexport function step() {}", 'const text = "async";'],
  },
  {
    rule: "kinds-pure",
    path: "src/volume/record-codec.ts",
    bad: ["await f();", "setTimeout(f, 1);"],
    good: ["f();"],
  },
  {
    rule: "words-allowed",
    path: "src/volume/log.ts",
    bad: [
      "const t = Date.now();",
      "const t = new Date();",
      "const r = Math.random();",
      "setTimeout(f, 1);",
      "const t = performance.now();",
      "process.exit(1);",
      'console.log("x");',
      "const id = randomUUID();",
      // biome-ignore lint/suspicious/noTemplateCurlyInString: the snippet has a template in it
      "const s = `${Date.now()}`;",
      `// ${unfinishedWord}: later`,
    ],
    good: [
      "// Date.now is not used here.",
      'const s = "Math.random";',
      "this.process.x();",
      "const re = /process\\.exit/;",
      // biome-ignore lint/suspicious/noTemplateCurlyInString: the snippet has a template in it
      "const s = `${a} process.exit ${{ b: 1 }.b} Date.now()`;",
    ],
  },
  {
    rule: "words-allowed",
    path: "src/host/node/clock.ts",
    bad: ['console.log("x");'],
    good: ["Date.now();"],
  },
  { rule: "words-allowed", path: "src/cmd/up/main.ts", bad: [`// FIX${"ME"}`], good: ['console.log("x");'] },
  {
    rule: "packages-owned",
    path: "src/volume/volume.ts",
    bad: [
      'import { pino } from "pino";',
      'import x from "left-pad";',
      'import { readFileSync } from "node:fs";',
      'import { test } from "fast-check";',
      'createRequire(import.meta.url)("@node-rs/crc32");',
    ],
    good: ['import { x } from "#model";', 'import { EventEmitter } from "node:events";'],
  },
  {
    rule: "packages-owned",
    path: "src/host/node/log.ts",
    bad: ['import { Command } from "commander";'],
    good: ['import { pino } from "pino";', 'import { openSync } from "node:fs";'],
  },
  { rule: "opens-with-comment", path: "src/ring/x.ts", bad: ["const x = 1;\n", ""], good: ["// x: one.\n"] },
  { rule: "file-short", path: "src/ring/x.ts", bad: ["x;\n".repeat(401)], good: ["x;\n".repeat(400)] },
  {
    rule: "functions-short",
    path: "src/ring/x.ts",
    bad: [
      `export async function f(a: string): Promise<void> {\n${body(59)}}\n`,
      `function f(\n  a: string,\n): void {\n${body(57)}}\n`,
      `class X {\n  async #f(a: string): Promise<void> {\n${body(59).replaceAll("  ", "    ")}  }\n}\n`,
      `const f = (a: string) => {\n${body(59)}};\n`,
      `test("x", () => {\n${body(59)}});\n`,
    ],
    good: [
      `function f(): void {\n${body(58)}}\n`,
      `const table = {\n${body(80)}};\n`,
      `class X {\n  a = 1;\n${body(80)}}\n`,
    ],
  },
  {
    rule: "doors-export-only",
    path: "src/ring/index.ts",
    bad: ["export const x = 1;", 'import { x } from "./x.ts";', 'export { x } from "./x.ts";\nx();'],
    good: ['// ring.\nexport { x } from "./x.ts";\nexport type * from "./y.ts";\nexport * from "./z.ts";'],
  },
  { rule: "well-named", path: "src/ring/RingBuilder.ts", bad: ["// x"], good: [] },
  { rule: "well-named", path: "src/ring/utils.ts", bad: ["// x"], good: [] },
  { rule: "well-named", path: "src/ring/ring-suite.ts", bad: [], good: ["// x"] },
];

for (const { rule, path, bad, good } of examples) {
  test(`${rule} catches what it should in ${path}`, () => {
    for (const text of bad)
      assert.notDeepEqual(problems(rule, path, text), [], `not caught: ${text.slice(0, 200)}`);
    for (const text of good)
      assert.deepEqual(problems(rule, path, text), [], `caught: ${text.slice(0, 200)}`);
  });
}

test("every rule has an example that fails", () => {
  for (const rule of Object.keys(rules)) {
    assert.ok(
      examples.some((example) => example.rule === rule && example.bad.length > 0),
      rule,
    );
  }
});

test("functions are found with their lengths", () => {
  const source = parseSource(
    "src/x.ts",
    `// x\nfunction a(): void {\n  if (x) {\n    y();\n  }\n}\n\nconst b = () => {\n};\n`,
  );
  assert.deepEqual(
    functionsOf(source).map(({ line, lines }) => [line, lines]),
    [
      [2, 5],
      [8, 2],
    ],
  );
});

test("dead files are found: through paths, doors and worker URLs", () => {
  const files = {
    "src/cmd/a/main.ts": 'import { x } from "#ring";\nnew Worker(new URL("./worker.ts", import.meta.url));',
    "src/cmd/a/worker.ts": "",
    "src/ring/index.ts": 'export { x } from "./x.ts";',
    "src/ring/x.ts": "",
    "src/ring/dead.ts": 'import "./x.ts";',
  };
  const sources = Object.entries(files).map(([path, text]) => parseSource(path, text));
  const dead = unreachable(sources, (path) => path.endsWith("main.ts"), { "#ring": "./src/ring/index.ts" });
  assert.deepEqual(dead, ["src/ring/dead.ts"]);
});

test("links are found in documents and in comments", () => {
  const text =
    "See [a](b.md#part), [c](../c.md), [w](https://x.y) and `[no](code.md)`.\n```\n[n](n.md)\n```\n";
  assert.deepEqual(linksOfDocument("docs/x.md", text), ["docs/b.md", "c.md"]);
  assert.deepEqual(documentsNamed("// docs/formats/record.md is the page."), ["docs/formats/record.md"]);
});
