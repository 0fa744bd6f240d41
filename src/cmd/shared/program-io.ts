// What a program touches of its process: its outputs, its environment, the person at the terminal. Tests pass their own.

import { homedir, hostname } from "node:os";
import { createInterface } from "node:readline/promises";
import type { Readable, Writable } from "node:stream";

export interface ProgramIo {
  readonly out: (text: string) => void;
  readonly err: (text: string) => void;
  /** Colour and relative times only go to people. */
  readonly outIsTerminal: boolean;
  /** Progress by itself too. */
  readonly errIsTerminal: boolean;
  /** For bytes, not text. */
  readonly stdin: () => Readable;
  readonly stdout: () => Writable;
  /** Calls back at the first signal that asks the program to end, which it does not by itself then, until the returned function is called. */
  readonly onStop: (listener: (signal: string) => void) => () => void;
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

const stopSignals = ["SIGINT", "SIGTERM", "SIGHUP"] as const;

function onStop(listener: (signal: string) => void): () => void {
  let isAsked = false;
  const onSignal = (signal: NodeJS.Signals): void => {
    // Who asks twice does not want to wait for what is being put in order.
    if (isAsked) process.exit(1);
    isAsked = true;
    listener(signal);
  };
  for (const signal of stopSignals) process.on(signal, onSignal);
  return () => {
    for (const signal of stopSignals) process.off(signal, onSignal);
  };
}

export function processIo(): ProgramIo {
  return {
    out: (text) => void process.stdout.write(text),
    err: (text) => void process.stderr.write(text),
    outIsTerminal: process.stdout.isTTY === true,
    errIsTerminal: process.stderr.isTTY === true,
    stdin: () => process.stdin,
    stdout: () => process.stdout,
    onStop,
    env: process.env,
    home: homedir(),
    host: hostname(),
    pid: process.pid,
    ask,
  };
}
