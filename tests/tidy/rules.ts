// The rules a file of the repository must keep, as functions from a file to what is wrong with it. rules.test.ts
// shows that each can fail.

import { posix } from "node:path";
import type { SourceFile } from "./source-file.ts";
import { functionsOf } from "./source-file.ts";
import * as walls from "./walls.ts";

export interface Violation {
  readonly file: string;
  readonly rule: string;
  readonly problem: string;
}

export type Rule = (source: SourceFile) => string[];

export const isTest = (path: string): boolean =>
  path.startsWith("tests/") || /(?:\.test|\.fixture|-suite(?:-[a-z]+)*)\.ts$/.test(path);
const isScript = (path: string): boolean => path.startsWith("scripts/");

/** The room of a file under src/, the innermost where rooms nest; null elsewhere. */
export function roomOf(path: string): string | null {
  const names = Object.keys(walls.rooms).filter((room) => path.startsWith(`src/${room}/`));
  return names.sort((a, b) => b.length - a.length)[0] ?? null;
}

/** What tests of any room may import by path: suites and fixtures (no door shows them), and the simulator. */
const isTestSupport = (path: string): boolean => isTest(path) || path.startsWith("src/sim/");

/** A file imports only the rooms its own may, through their doors; tests may also import what is beside or outside. */
function wallsKept(source: SourceFile): string[] {
  const room = roomOf(source.path);
  if (room === null) return source.path.startsWith("src/") ? ["lies in no room of walls.ts"] : [];
  return source.imports.flatMap((specifier) => {
    if (specifier.startsWith(".")) {
      const target = posix.join(posix.dirname(source.path), specifier);
      return roomOf(target) === room || (isTest(source.path) && isTestSupport(target))
        ? []
        : [`imports ${specifier}, which leaves room ${room}; use the other room's door`];
    }
    if (!specifier.startsWith("#")) return [];
    const other = specifier.slice(1);
    if (walls.rooms[other] === undefined) return [`imports ${specifier}, which is not a door`];
    if (other === room) return [`imports its own door ${specifier}; use a path`];
    return walls.rooms[room].includes(other) || (isTest(source.path) && !above(other, room))
      ? []
      : [`room ${room} may not import ${specifier}`];
  });
}

/** Whether `room` is below `other`, so that importing `other` would go up. */
function above(other: string, room: string): boolean {
  return walls.rooms[other].includes(room) && other !== "host/node";
}

/** Machines decide, codecs translate: neither waits, times or touches anything. */
function kindsPure(source: SourceFile): string[] {
  if (!/-(?:machine|codec)\.ts$/.test(source.path)) return [];
  const impure: [RegExp, string][] = [
    [/\basync\b/, "is async"],
    [/\bawait\b/, "awaits"],
    [/\bPromise\b/, "uses promises"],
    [/\b(?:setTimeout|setInterval|setImmediate|setTimer|queueMicrotask|nextTick)\b/, "sets timers"],
  ];
  const problems = impure.filter(([pattern]) => pattern.test(source.code)).map(([, problem]) => problem);
  const builtin = source.imports.find((specifier) => specifier.startsWith("node:"));
  return builtin === undefined ? problems : [...problems, `imports ${builtin}`];
}

interface BannedWord {
  readonly pattern: RegExp;
  readonly instead: string;
  readonly allowed: (path: string) => boolean;
}

const outside = (path: string): boolean =>
  // The library is to others' programs what cmd is to those of this project.
  path.startsWith("src/host/node/") ||
  path.startsWith("src/client/") ||
  path.startsWith("src/cmd/") ||
  isTest(path) ||
  isScript(path);

const bannedWords: readonly BannedWord[] = [
  { pattern: /\bDate\.now\b|\bnew Date\(\)/, instead: "take Clock from #host", allowed: outside },
  { pattern: /\bperformance\.now\b/, instead: "take Clock from #host", allowed: outside },
  {
    pattern: /(?<!\.)\bset(?:Timeout|Interval)\b/,
    instead: "take Clock from #host",
    allowed: outside,
  },
  { pattern: /\bMath\.random\b/, instead: "take Random from #host", allowed: outside },
  { pattern: /\brandom(?:UUID|Bytes|Int)\b/, instead: "take Random from #host", allowed: outside },
  { pattern: /(?<![.\w#])process\./, instead: "leave the process to cmd", allowed: outside },
  {
    pattern: /\bconsole\./,
    instead: "take Log from #host",
    allowed: (path) => path.startsWith("src/cmd/") || path.startsWith("tests/") || isScript(path),
  },
  { pattern: /(?<![\w.])eval\(|\bnew Function\(/, instead: "write the code", allowed: () => false },
];

function wordsAllowed(source: SourceFile): string[] {
  const problems = bannedWords
    .filter(({ pattern, allowed }) => pattern.test(source.code) && !allowed(source.path))
    .map(({ pattern, instead }) => `uses ${pattern.exec(source.code)![0]}; ${instead}`);
  // Spelt in two halves, so that this file passes.
  const unfinished = new RegExp(`\\b(?:TO${"DO"}|FIX${"ME"}|X${"XX"})\\b`).exec(source.text);
  return unfinished === null
    ? problems
    : [...problems, `says ${unfinished[0]}: finish it or write it down in docs/`];
}

/** Each npm package has one room that imports it; built-in modules that reach outside have theirs. */
function packagesOwned(source: SourceFile): string[] {
  const room = roomOf(source.path);
  return source.imports.flatMap((specifier) => {
    if (/^[.#]/.test(specifier)) return [];
    if (specifier.startsWith("node:")) {
      const folders = walls.outsideModules[specifier];
      if (folders === undefined || isTest(source.path) || isScript(source.path)) return [];
      return folders.some((folder) => source.path.startsWith(folder))
        ? []
        : [
            `imports ${specifier}, which ${folders.length === 0 ? "nobody may" : `only ${folders.join(", ")} may`}`,
          ];
    }
    const name = specifier.split("/", specifier.startsWith("@") ? 2 : 1).join("/");
    if (isTest(source.path) && walls.testPackages.includes(name)) return [];
    if (isScript(source.path) && walls.scriptPackages.includes(name)) return [];
    const owner = walls.packageOwners[name];
    if (owner === undefined) return [`imports ${name}, which has no owner in walls.ts`];
    return owner === room ? [] : [`imports ${name}, which belongs to room ${owner}`];
  });
}

function opensWithComment(source: SourceFile): string[] {
  return /^(?:#!.*\n)?\/[/*]/.test(source.text) ? [] : ["does not open with a comment that says what it is"];
}

function fileShort(source: SourceFile): string[] {
  const lines = source.text.split("\n").length - 1;
  return lines <= walls.fileLinesMax ? [] : [`has ${lines} lines; ${walls.fileLinesMax} at most`];
}

function functionsShort(source: SourceFile): string[] {
  return functionsOf(source)
    .filter(({ lines }) => lines > walls.functionLinesMax)
    .map(
      ({ name, line, lines }) => `line ${line}: ${name} is ${lines} lines; ${walls.functionLinesMax} at most`,
    );
}

/** index.ts of a room: re-exports only. */
function doorsExportOnly(source: SourceFile): string[] {
  const room = roomOf(source.path);
  if (room === null || source.path !== `src/${room}/index.ts`) return [];
  const rest = source.uncommented.replace(/\bexport\s[^"';]*?\sfrom\s+"\.{1,2}\/[^"]+";/g, "").trim();
  return rest === "" ? [] : [`does more than re-export: ${rest.split("\n")[0]}`];
}

function wellNamed(source: SourceFile): string[] {
  const base = posix.basename(source.path);
  if (!/^[a-z0-9]+(?:-[a-z0-9]+)*(?:\.test|\.fixture)?\.ts$/.test(base))
    return ["is not named in kebab-case"];
  return /^(?:utils?|helpers?|common|types|misc|shared|manager)\.ts$/.test(base)
    ? ["has a name that says nothing; name the noun it holds"]
    : [];
}

export const rules: Readonly<Record<string, Rule>> = {
  "walls-kept": wallsKept,
  "kinds-pure": kindsPure,
  "words-allowed": wordsAllowed,
  "packages-owned": packagesOwned,
  "opens-with-comment": opensWithComment,
  "file-short": fileShort,
  "functions-short": functionsShort,
  "doors-export-only": doorsExportOnly,
  "well-named": wellNamed,
};

export function violationsOf(source: SourceFile): Violation[] {
  return Object.entries(rules).flatMap(([rule, check]) =>
    check(source).map((problem) => ({ file: source.path, rule, problem })),
  );
}
