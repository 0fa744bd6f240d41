// Runs the tests: `npm test` all of them, `npm run unit` those that stay within one process. Arguments are parts of
// file names to choose from. Files of unit tests run side by side; system tests, which start clusters and use the
// machine's disks, one after another when those are done. One line a file, failures in full, and a last line with
// the counts. A skipped test is a failed one: green means that everything ran.

import { globSync } from "node:fs";
import { availableParallelism } from "node:os";
import { join } from "node:path";
import { run } from "node:test";
import { inspect, parseArgs } from "node:util";
import { ensureSystemPackages } from "./system-packages.ts";

const root = join(import.meta.dirname, "..");
const unitMsMax = 5 * 60_000;
const systemMsMax = 15 * 60_000;

/** Of what a file prints, so many pieces are kept to be shown if it fails. */
const outputPiecesMax = 500;

interface Failure {
  readonly file: string;
  readonly name: string;
  readonly reason: string;
}

const total = { passed: 0 };
const failures: Failure[] = [];

const say = (line: string): void => void process.stdout.write(`${line}\n`);

function fail(file: string, name: string, reason: string): void {
  failures.push({ file, name, reason });
  say(`FAILED  ${file}: ${name}\n${reason.replace(/^/gm, "        ")}`);
}

/** The error of a test without the runner's wrapping; for a file that died, how. */
function reasonOf(error: Error & { cause?: unknown; exitCode?: number; signal?: string }): string {
  if (error.signal) return `The file's process was ended by ${error.signal}.`;
  if (error.exitCode) return `The file's process ended with exit code ${error.exitCode}.`;
  const cause = error.cause ?? error;
  return cause instanceof Error ? (cause.stack ?? cause.message) : inspect(cause, { depth: 4 });
}

/** Runs one file in a process of its own and adds to `total`. A file that does not end is killed. */
function runFile(file: string, timeoutMs: number): Promise<void> {
  const output: string[] = [];
  const started = performance.now();
  let passed = 0;
  let failed = 0;
  const signal = AbortSignal.timeout(timeoutMs);
  return new Promise((resolve, reject) => {
    const stream = run({ files: [join(root, file)], cwd: root, concurrency: 1, signal });
    stream.on("test:fail", ({ name, details }) => {
      const error = details.error as Error & { failureType?: string };
      // A parent that fails because of its children adds nothing.
      if (error.failureType === "subtestsFailed") return;
      failed += 1;
      const late = signal.aborted ? `The file did not end within ${timeoutMs / 1000} s. ` : "";
      fail(file, name.replace(join(root, file), "the file itself"), late + reasonOf(error));
    });
    stream.on("test:pass", ({ name, skip, todo, details }) => {
      if (details.type === "suite") return;
      if (skip === undefined && todo === undefined) {
        passed += 1;
        return;
      }
      failed += 1;
      fail(file, name, "The test is marked skip or todo: it must run or go.");
    });
    for (const event of ["test:stdout", "test:stderr"] as const) {
      stream.on(event, ({ message }) => void (output.length < outputPiecesMax && output.push(message)));
    }
    stream.on("error", reject);
    stream.on("end", () => {
      total.passed += passed;
      const seconds = `${((performance.now() - started) / 1000).toFixed(1)} s`.padStart(7);
      if (failed > 0 && output.length > 0) say(`        What ${file} printed:\n${output.join("")}`);
      say(`${failed === 0 ? "ok    " : "FAILED"} ${seconds}  ${file}  ${passed}/${passed + failed}`);
      resolve();
    });
    stream.resume();
  });
}

async function runFiles(files: readonly string[], concurrency: number, timeoutMs: number): Promise<void> {
  const waiting = [...files];
  const lane = async (): Promise<void> => {
    for (let file = waiting.shift(); file !== undefined; file = waiting.shift())
      await runFile(file, timeoutMs);
  };
  await Promise.all(Array.from({ length: concurrency }, lane));
}

/** Tells the counts and returns the exit code. */
function finish(): number {
  if (failures.length > 0)
    say(`\nFailed:\n${failures.map(({ file, name }) => `  ${file}: ${name}`).join("\n")}`);
  if (total.passed + failures.length === 0) fail("scripts/test.ts", "choice of files", "No test ran.");
  say(`\n${total.passed} passed, ${failures.length} failed`);
  return failures.length === 0 ? 0 : 1;
}

async function main(): Promise<number> {
  const { values, positionals } = parseArgs({
    options: { unit: { type: "boolean" } },
    allowPositionals: true,
  });
  const files = globSync(["src/**/*.test.ts", "tests/**/*.test.ts"], { cwd: root })
    .filter((file) => positionals.length === 0 || positionals.some((part) => file.includes(part)))
    .sort();
  const system = values.unit === true ? [] : files.filter((file) => file.startsWith("tests/system/"));
  const unit = files.filter((file) => !file.startsWith("tests/system/"));
  const problem = system.length === 0 ? null : ensureSystemPackages(say);
  if (unit.length > 0) await runFiles(unit, availableParallelism(), unitMsMax);
  if (problem !== null) fail("tests/system", "programs of the system tests", problem);
  else if (system.length > 0) await runFiles(system, 1, systemMsMax);
  return finish();
}

process.exitCode = await main();
