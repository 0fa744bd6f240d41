// Completion: what bash offers, and that every shell hears of every command.

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { it } from "node:test";
import { completionScript, shells } from "../shared/completion.ts";
import { processIo } from "../shared/program-io.ts";
import { buildTorusctl } from "./program.ts";

const program = buildTorusctl(processIo());

/** What bash offers for a line; the cursor stands at its end. */
function complete(line: string): string[] {
  const words = line.split(" ");
  const script = `${completionScript(program, "bash")}
COMP_WORDS=(${words.map((word) => `'${word}'`).join(" ")})
COMP_CWORD=${words.length - 1}
_torusctl
printf '%s\\n' "\${COMPREPLY[@]}"`;
  const { stdout, stderr, status } = spawnSync("bash", ["--norc", "-c", script], { encoding: "utf8" });
  assert.deepEqual([status, stderr], [0, ""]);
  return stdout.split("\n").filter(Boolean);
}

it("torusctl completion: bash: commands, commands below them, options, choices", () => {
  assert.deepEqual(complete("torusctl vo"), ["volume"]);
  assert.ok(complete("torusctl volume ").includes("create-block"));
  assert.ok(!complete("torusctl volume ").includes("init"));
  assert.deepEqual(complete("torusctl volume snapshot re"), ["restore"]);
  assert.ok(complete("torusctl block snapshot create --").includes("--label"));
  assert.deepEqual(complete("torusctl file t"), ["truncate"]);
  assert.ok(complete("torusctl file put --").includes("--overwrite"));
  assert.deepEqual(complete("torusctl backup re"), ["restore"]);
  assert.ok(complete("torusctl block dump --").includes("--progress"));
  assert.deepEqual(complete("torusctl peer a"), ["add"]);
  assert.ok(complete("torusctl peer scrub --").includes("--wait"));
  assert.ok(complete("torusctl peer add --").includes("--all-peers"));
  assert.ok(complete("torusctl peer add --").includes("--metadata"), "global options too");
  assert.deepEqual(complete("torusctl ring manual-change --type r"), ["rendezvous"]);
  assert.deepEqual(complete("torusctl -o "), ["table", "json"]);
  assert.deepEqual(complete("torusctl --profile volume pe"), ["peer"], "a value is no command");
  assert.deepEqual(complete("torusctl completion f"), ["fish"]);
});

it("torusctl completion: every shell's script names every command", () => {
  for (const shell of shells) {
    const script = completionScript(program, shell);
    for (const name of ["init", "create-block", "set-replication", "wipe", "list-peers"])
      assert.ok(script.includes(name), `${shell} ${name}`);
  }
  assert.throws(() => completionScript(program, "tcsh"), /bash, zsh, fish/);
});
