// Runs another program to its end and keeps what it said.

import { spawn } from "node:child_process";
import type { Outcome } from "#gateway/kernel";

const programMsMax = 60_000;
const leftOverMsMax = 250;
const outputCharsMax = 64 * 1024;

/** Null when there is no such program. Programs of administrators are found though they are not on a user's path. */
export function runChildProgram(program: string, args: readonly string[]): Promise<Outcome | null> {
  const path = `${process.env["PATH"] ?? ""}:/usr/local/sbin:/usr/sbin:/sbin`;
  return new Promise((resolve) => {
    const child = spawn(program, args, {
      env: { ...process.env, PATH: path },
      stdio: ["ignore", "pipe", "pipe"],
      timeout: programMsMax,
      killSignal: "SIGKILL",
    });
    let output = "";
    const keep = (part: Buffer) => {
      output = (output + part.toString()).slice(-outputCharsMax);
    };
    child.stdout.on("data", keep);
    child.stderr.on("data", keep);
    child.on("error", () => resolve(null));
    child.on("close", (status) => resolve({ status, output }));
    // A program that leaves a child behind keeps its pipes open.
    child.on("exit", (status) => setTimeout(() => resolve({ status, output }), leftOverMsMax).unref());
  });
}
