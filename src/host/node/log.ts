// The log of a process, on stderr: one readable line a message on a terminal, JSON lines elsewhere (for journald,
// files and collectors). Writes are synchronous, so that the last words of a dying process are not lost.

import { isatty } from "node:tty";
import { type Logger, pino } from "pino";
import type { Log, LogFields } from "#host";
import { TorusError } from "#model";

export const logLevels = ["debug", "info", "warn", "error", "silent"] as const;
export type LogLevel = (typeof logLevels)[number];

export interface LogOptions {
  /** Messages below it are dropped. */
  readonly level: LogLevel;
  /** The program, such as `torusd`. */
  readonly name: string;
  /** Lines for people or for machines; by default what stderr is. */
  readonly format?: "readable" | "json";
}

/** Where lines go; the default is the process's stderr. */
export interface LogTarget {
  write(line: string): void;
}

/** Errors as data: JSON would show `{}`. */
function loggable(value: unknown): unknown {
  if (value instanceof TorusError) {
    return { code: value.code, message: value.message, ...value.details, cause: loggable(value.cause) };
  }
  if (value instanceof Error) return { message: value.message, stack: value.stack };
  return typeof value === "bigint" ? value.toString() : value;
}

/** Keys every line has; a field of that name gets an underscore in front. */
const reservedKeys = new Set(["time", "level", "program", "msg"]);

function loggableFields(fields: object): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(fields).map(([key, value]) => [reservedKeys.has(key) ? `_${key}` : key, loggable(value)]),
  );
}

/** `value` after `key=`: bare when it is one plain word, as JSON otherwise; the message for an error. */
function readableValue(value: unknown): string {
  const shown = value instanceof Object && "message" in value ? value.message : value;
  if (typeof shown === "string" && /^[^\s"=]+$/.test(shown)) return shown;
  return JSON.stringify(shown) ?? "";
}

/** One line for a terminal from one JSON line: `12:34:56.789 warn torusd: message key=value`. */
export function readableLine(json: string): string {
  const { time, level, program, msg, ...fields } = JSON.parse(json) as Record<string, unknown>;
  const clock = String(time).slice(11, 23);
  const pairs = Object.entries(fields).map(([key, value]) => ` ${key}=${readableValue(value)}`);
  const line = `${clock} ${String(level).padEnd(5)} ${program}: ${msg}${pairs.join("")}`;
  // What comes from the network may be in it: no control characters reach the terminal.
  return `${line.replace(/\p{Cc}+/gu, " ")}\n`;
}

class PinoLog implements Log {
  readonly #logger: Logger;

  constructor(logger: Logger) {
    this.#logger = logger;
  }

  debug(message: string, fields: LogFields = {}): void {
    this.#logger.debug(fields, message);
  }

  info(message: string, fields: LogFields = {}): void {
    this.#logger.info(fields, message);
  }

  warn(message: string, fields: LogFields = {}): void {
    this.#logger.warn(fields, message);
  }

  error(message: string, fields: LogFields = {}): void {
    this.#logger.error(fields, message);
  }

  child(fields: LogFields): Log {
    return new PinoLog(this.#logger.child(loggableFields(fields)));
  }
}

export function createLog(options: LogOptions, target?: LogTarget): Log {
  const output: LogTarget = target ?? pino.destination({ fd: 2, sync: true });
  const readable = (options.format ?? (isatty(2) ? "readable" : "json")) === "readable";
  const stream = readable ? { write: (line: string) => output.write(readableLine(line)) } : output;
  const logger = pino(
    {
      level: options.level,
      base: { program: options.name },
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }), log: loggableFields },
    },
    stream,
  );
  return new PinoLog(logger);
}
