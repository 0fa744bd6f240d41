// What scripts have in common about their flags: numbers in bounds, help, and one line for what is wrong.

/** `text` as a number from `min` to `max`, or an error that names the flag. */
export function numberOf(
  flag: string,
  text: string,
  { min, max, whole = true }: { readonly min: number; readonly max: number; readonly whole?: boolean },
): number {
  const value = Number(text);
  if (text.trim() !== "" && value >= min && value <= max && (!whole || Number.isInteger(value))) return value;
  throw new Error(`${flag} "${text}" is not a ${whole ? "whole " : ""}number from ${min} to ${max}`);
}

/** What `read` makes of the command line; null, and the exit code is set, when it was wrong or `--help` was asked for. */
export function readFlags<T>(name: string, usage: string, read: () => T): T | null {
  if (process.argv.includes("--help") || process.argv.includes("-h")) {
    process.stdout.write(`${usage.trim()}\n`);
    return null;
  }
  try {
    return read();
  } catch (error) {
    process.stderr.write(`${name}: ${(error as Error).message}. See --help.\n`);
    process.exitCode = 2;
    return null;
  }
}
