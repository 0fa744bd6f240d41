// What a command answers: a table for people, JSON or CSV for programs. JSON shapes are stable and described in docs/operate/.

import { formatBytes } from "#model";
import type { ProgramIo } from "./program-io.ts";
import { hasColour } from "./run-program.ts";
import { type Column, formatCsv, formatTable, plain } from "./table.ts";

export type OutputFormat = "table" | "json" | "csv";

export interface OutputOptions {
  readonly format: OutputFormat;
  /** Powers of 1000 instead of 1024. */
  readonly si: boolean;
}

export interface Answer {
  /** What `-o json` prints. */
  readonly json: unknown;
  /** One line for people, when there is nothing to list. */
  readonly message?: string;
  readonly columns?: readonly Column[];
  readonly rows?: readonly (readonly string[])[];
  /** Lines above and below the table; people only. */
  readonly header?: readonly string[];
  readonly footer?: readonly string[];
}

export class Output {
  readonly format: OutputFormat;
  readonly #si: boolean;
  readonly #io: ProgramIo;

  constructor(options: OutputOptions, io: ProgramIo) {
    this.format = options.format;
    this.#si = options.si;
    this.#io = io;
  }

  /** 20.0 GiB for people, plain bytes for programs. */
  size(bytes: number): string {
    return this.format === "csv" ? `${bytes}` : formatBytes(bytes, this.#si);
  }

  /** "4s ago" for people, ISO 8601 for programs. */
  time(atMs: number, nowMs: number): string {
    if (this.format === "csv") return new Date(atMs).toISOString();
    const seconds = Math.max(0, Math.round((nowMs - atMs) / 1000));
    if (seconds < 120) return `${seconds}s ago`;
    if (seconds < 7200) return `${Math.round(seconds / 60)}m ago`;
    if (seconds < 172_800) return `${Math.round(seconds / 3600)}h ago`;
    return `${Math.round(seconds / 86_400)}d ago`;
  }

  print(answer: Answer): void {
    const { out } = this.#io;
    if (this.format === "json") {
      out(`${JSON.stringify(answer.json, null, 2)}\n`);
      return;
    }
    const { columns, rows = [], header = [], footer = [], message } = answer;
    if (this.format === "csv") {
      if (columns !== undefined) out(formatCsv(columns, rows));
      return;
    }
    for (const line of header) out(`${plain(line)}\n`);
    if (columns !== undefined) out(formatTable(columns, rows, hasColour(this.#io)));
    for (const line of footer) out(`${plain(line)}\n`);
    if (message !== undefined) out(`${plain(message)}\n`);
  }

  /** For people, on standard error: results on standard output stay clean. */
  warn(message: string): void {
    this.#io.err(`warning: ${plain(message)}\n`);
  }
}
