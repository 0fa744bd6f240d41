// Arguments as people type them, checked and explained.

import { Option } from "commander";
import { fileBytesMax } from "#client";
import { pageBytes, parseBytes, TorusError } from "#model";

/** A whole number in [minimum, maximum]; throws `invalid-argument` naming `what`. */
export function parseCount(what: string, minimum: number, maximum: number): (text: string) => number {
  return (text) => {
    const count = /^[0-9]{1,9}$/.test(text) ? Number(text) : Number.NaN;
    if (count >= minimum && count <= maximum) return count;
    throw new TorusError(
      "invalid-argument",
      `${what} "${text}" is not possible: use a whole number from ${minimum} to ${maximum}`,
    );
  };
}

/** Bytes a volume can have as far as its pages go; throws `invalid-argument` naming the nearest that it can. */
export function parseVolumeSize(text: string): number {
  const sizeBytes = parseBytes(text, "size");
  if (sizeBytes % pageBytes === 0) return sizeBytes;
  const near = Math.ceil(sizeBytes / pageBytes) * pageBytes;
  throw new TorusError(
    "invalid-argument",
    `size "${text}" is ${sizeBytes} bytes, not a multiple of ${pageBytes}: use ${near / 1024}KiB`,
  );
}

const timeoutSecondsMax = 3600;

/** Bytes a file can have, to the byte, from none; throws `invalid-argument`. */
export function parseFileLength(text: string): number {
  const lengthBytes = /^0+B?$/.test(text) ? 0 : parseBytes(text, "size");
  if (lengthBytes <= fileBytesMax) return lengthBytes;
  throw new TorusError(
    "invalid-argument",
    `size "${text}" is too large: a file has up to ${fileBytesMax} bytes`,
  );
}

/** `--timeout` of what a volume's writer is asked for. */
export function writerTimeout(): Option {
  return new Option("--timeout <seconds>", "how long the volume's writer may take")
    .default(60)
    .argParser(parseCount("--timeout", 1, timeoutSecondsMax));
}
