// What a program touches of its process: its outputs, its environment, the person at the terminal. Tests pass their own.

import { homedir, hostname } from "node:os";
import { createInterface } from "node:readline/promises";

export interface ProgramIo {
  readonly out: (text: string) => void;
  readonly err: (text: string) => void;
  /** Colour and relative times only go to people. */
  readonly outIsTerminal: boolean;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly home: string;
  readonly host: string;
  readonly pid: number;
  /** One line typed by a person; null when nobody is there to ask. */
  readonly ask: (question: string) => Promise<string | null>;
}

async function ask(question: string): Promise<string | null> {
  if (!process.stdin.isTTY || !process.stderr.isTTY) return null;
  const lines = createInterface({ input: process.stdin, output: process.stderr });
  try {
    return await lines.question(question);
  } finally {
    lines.close();
  }
}

export function processIo(): ProgramIo {
  return {
    out: (text) => void process.stdout.write(text),
    err: (text) => void process.stderr.write(text),
    outIsTerminal: process.stdout.isTTY === true,
    env: process.env,
    home: homedir(),
    host: hostname(),
    pid: process.pid,
    ask,
  };
}
