// What the options --tls, --tls-certificates, --tls-psk and --tls-verify-peer say, with the files they name read: certificates under the
// names that qemu and libnbd give them, keys in the format of GnuTLS's psktool.

import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { NbdTls, TlsCredentials } from "#gateway/nbd";
import { messageOf, TorusError } from "#model";

export interface TlsFlags {
  readonly tls?: string;
  readonly tlsCertificates?: string;
  readonly tlsPsk?: string;
  readonly tlsVerifyPeer?: boolean;
}

export const tlsModes = ["off", "on", "require"] as const;

/** Shorter keys can be found by trying. */
const keyBytesMin = 16;
/** What OpenSSL takes. */
const keyBytesMax = 256;
const nameBytesMax = 128;

/** Null: no TLS. Credentials alone mean that it is required. */
export function tlsOptions(flags: TlsFlags): NbdTls | null {
  const { tlsCertificates: directory, tlsPsk: file, tlsVerifyPeer: verifyPeer = false } = flags;
  const hasCredentials = directory !== undefined || file !== undefined;
  const mode = flags.tls ?? (hasCredentials ? "require" : "off");
  if (!tlsModes.some((known) => known === mode))
    throw invalid(`--tls "${mode}" is none of ${tlsModes.join(", ")}`);
  if (mode === "off") {
    if (hasCredentials || verifyPeer)
      throw invalid("--tls off contradicts the other options of TLS: leave these out");
    return null;
  }
  if (directory !== undefined && file !== undefined)
    throw invalid("--tls-certificates and --tls-psk exclude each other: choose one");
  if (verifyPeer && directory === undefined)
    throw invalid("--tls-verify-peer wants --tls-certificates: keys of --tls-psk are proof in themselves");
  if (directory === undefined && file === undefined)
    throw invalid(`--tls ${mode} wants --tls-certificates DIRECTORY or --tls-psk FILE`);
  const credentials = file === undefined ? certificates(directory as string, verifyPeer) : keys(file);
  return { isRequired: mode === "require", credentials };
}

function certificates(directory: string, verifyPeer: boolean): TlsCredentials {
  const read = (name: string): string => readText(join(directory, name), "--tls-certificates");
  return {
    kind: "certificates",
    authority: verifyPeer ? read("ca-cert.pem") : null,
    certificate: read("server-cert.pem"),
    key: read("server-key.pem"),
  };
}

function keys(path: string): TlsCredentials {
  const found = new Map<string, Uint8Array>();
  for (const [index, line] of readText(path, "--tls-psk").split("\n").entries()) {
    const text = line.trim();
    if (text === "") continue;
    const where = `line ${index + 1} of ${path}`;
    const match = /^([^:]+):((?:[0-9a-f]{2})+)$/i.exec(text);
    if (match === null)
      throw invalid(`${where} is not NAME:KEY with a key in hexadecimal: make it with psktool`);
    const [, name, hex] = match;
    const key = Buffer.from(hex, "hex");
    if (key.length < keyBytesMin || key.length > keyBytesMax)
      throw invalid(
        `${where}: the key has ${key.length} bytes; it should have ${keyBytesMin} to ${keyBytesMax}`,
      );
    if (Buffer.byteLength(name) > nameBytesMax)
      throw invalid(`${where}: a name has at most ${nameBytesMax} bytes`);
    if (found.has(name)) throw invalid(`${where}: there is another key of "${name}"`);
    found.set(name, key);
  }
  if (found.size === 0) throw invalid(`${path} has no keys: make one with psktool -u NAME -p ${path}`);
  return { kind: "psk", keys: found };
}

function readText(path: string, option: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch (error) {
    throw invalid(`${option}: ${path} cannot be read: ${messageOf(error)}`);
  }
}

function invalid(message: string): TorusError {
  return new TorusError("invalid-argument", message);
}
