// ~/.torus/config.json: named profiles, each with the metadata service of a cluster. Read by all three programs, written
// by `torusctl config`. Mode 0600: a URL may one day carry a secret.
//
//   {"format": 1, "profiles": {"default": {"metadata": "sqlite:/var/lib/torus/metadata.db"}}}

import {
  chmodSync,
  closeSync,
  fsyncSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  writeSync,
} from "node:fs";
import { dirname, join } from "node:path";
import { makeDirectory } from "#host/node";
import { messageOf, TorusError } from "#model";

export interface Profile {
  readonly metadata: string;
}

export type Profiles = Readonly<Record<string, Profile>>;

export const defaultProfile = "default";

const format = 1;
const configBytesMax = 1024 * 1024;

export function defaultConfigFile(home: string): string {
  return join(home, ".torus", "config.json");
}

/** No profiles when there is no file. Throws `invalid-argument` naming the file for anything else that is not right. */
export function readProfiles(file: string): Profiles {
  let encoded: string;
  try {
    encoded = readFileSync(file, "utf8");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return {};
    throw new TorusError(
      "invalid-argument",
      `cannot read ${file}: ${messageOf(error)}`,
      {},
      { cause: error },
    );
  }
  try {
    if (encoded.length > configBytesMax) throw new SyntaxError("it is too long");
    return decodeProfiles(JSON.parse(encoded));
  } catch (error) {
    throw new TorusError(
      "invalid-argument",
      `${file} is not a torus configuration (${messageOf(error)}): correct it, or remove it and run torusctl config`,
      {},
      { cause: error },
    );
  }
}

function decodeProfiles(value: unknown): Profiles {
  const { format: version, profiles } = requireObject(value, "it");
  if (version !== format) throw new TypeError(`"format" must be ${format}`);
  const entries = Object.entries(requireObject(profiles, '"profiles"')).map(([name, profile]) => {
    const { metadata } = requireObject(profile, `profile "${name}"`);
    if (typeof metadata !== "string") throw new TypeError(`profile "${name}" has no "metadata"`);
    return [requireProfileName(name), { metadata }] as const;
  });
  return Object.fromEntries(entries);
}

function requireObject(value: unknown, what: string): Record<string, unknown> {
  if (typeof value !== "object" || value === null || Array.isArray(value))
    throw new TypeError(`${what} is not an object`);
  return value as Record<string, unknown>;
}

export function requireProfileName(name: string): string {
  if (!/^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/.test(name)) {
    throw new TorusError("invalid-argument", `"${name}" is not a profile name: use letters, digits, . _ -`);
  }
  return name;
}

/** All or nothing: a crash leaves the old file or the new one. */
export function writeProfiles(file: string, profiles: Profiles): void {
  const temporary = `${file}.new`;
  try {
    makeDirectory(dirname(file));
    rmSync(temporary, { force: true });
    const descriptor = openSync(temporary, "wx", 0o600);
    writeSync(descriptor, `${JSON.stringify({ format, profiles }, null, 2)}\n`);
    fsyncSync(descriptor);
    closeSync(descriptor);
    chmodSync(temporary, 0o600);
    renameSync(temporary, file);
  } catch (error) {
    throw new TorusError("io", `cannot write ${file}: ${messageOf(error)}`, {}, { cause: error });
  }
}
