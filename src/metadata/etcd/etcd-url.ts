// etcd://HOST:PORT,HOST:PORT/PREFIX and etcds:// for TLS, with ?ca= &cert= &key= &password-file= and USER@.

import { TorusError } from "#model";

export interface EtcdEndpoint {
  readonly host: string;
  readonly port: number;
}

export interface TlsFiles {
  /** Certificates that are trusted; null: those that come with Node. */
  readonly ca: string | null;
  /** The client's own certificate and key: both or neither. */
  readonly cert: string | null;
  readonly key: string | null;
}

export interface EtcdTarget {
  readonly endpoints: readonly EtcdEndpoint[];
  /** null: no TLS. */
  readonly tls: TlsFiles | null;
  /** Starts and ends with a slash, such as "/torus/". */
  readonly prefix: string;
  readonly user: string | null;
  readonly passwordFile: string | null;
  /** For people: without user and files. */
  readonly url: string;
}

export const etcdUrlForm =
  "etcd://HOST:2379,HOST:2379/PREFIX, or etcds://[USER@]HOST:2379/PREFIX?ca=FILE&cert=FILE&key=FILE for TLS";

const endpointsMax = 16;
const prefixCharsMax = 128;
const portDefault = 2379;
const prefixDefault = "torus";
const parameters = ["ca", "cert", "key", "password-file"] as const;

/** Throws `invalid-argument`, with what is wrong. */
export function parseEtcdUrl(url: string): EtcdTarget {
  const match = /^(etcds?):\/\/(?:([^/?#@]*)@)?([^/?#@]*)(?:\/([^?#]*))?(?:\?([^#]*))?$/i.exec(url);
  if (match === null) throw wrong(url, "it is not of that form");
  const [, scheme, userText, hostText, pathText = "", queryText = ""] = match;
  const secure = scheme.toLowerCase() === "etcds";
  const files = parseQuery(url, queryText);
  if (!secure && (files.ca !== null || files.cert !== null || files.key !== null)) {
    throw wrong(url, "ca, cert and key are for TLS: write etcds://");
  }
  if ((files.cert === null) !== (files.key === null)) throw wrong(url, "cert and key belong together");
  const user = parseUser(url, userText);
  if (user === null && files["password-file"] !== null) throw wrong(url, "password-file= needs a USER@");
  const endpoints = hostText.split(",").map((text) => parseEndpoint(url, text));
  if (endpoints.length > endpointsMax)
    throw wrong(url, `${endpoints.length} endpoints; ${endpointsMax} at most`);
  const prefix = parsePrefix(url, pathText);
  return {
    endpoints,
    tls: secure ? { ca: files.ca, cert: files.cert, key: files.key } : null,
    prefix,
    user,
    passwordFile: files["password-file"],
    url: `${scheme.toLowerCase()}://${endpoints.map(formatEndpoint).join(",")}${prefix.slice(0, -1)}`,
  };
}

export function formatEndpoint({ host, port }: EtcdEndpoint): string {
  return host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`;
}

function parseEndpoint(url: string, text: string): EtcdEndpoint {
  const match = /^(?:\[([0-9a-f:.]+)\]|([a-z0-9_](?:[a-z0-9_.-]*[a-z0-9])?\.?))(?::(\d{1,5}))?$/i.exec(text);
  const port = match?.[3] === undefined ? portDefault : Number(match[3]);
  if (match === null || port < 1 || port > 65_535) {
    throw wrong(url, `"${text}" is not an endpoint such as 10.0.0.5:2379 or [fd00::5]:2379`);
  }
  return { host: match[1] ?? match[2], port };
}

function parseUser(url: string, text: string | undefined): string | null {
  if (text === undefined) return null;
  // The password is not repeated in the message: it ends in logs.
  if (text.includes(":")) {
    throw new TorusError(
      "invalid-argument",
      "a password does not belong in a metadata URL, where other users can see it: set TORUS_ETCD_PASSWORD, or use ?password-file=FILE",
    );
  }
  if (text === "") throw wrong(url, "there is no user before the @");
  return decode(url, text);
}

/** Slashes around it do not count; inside there is one at a time. */
function parsePrefix(url: string, text: string): string {
  const inner = text.replace(/^\/+|\/+$/g, "");
  if (/[^\x21-\x7e]|[%"<>\\^`{|}]/.test(inner) || inner.includes("//")) {
    throw wrong(url, `"${inner}" is not a prefix: letters, digits, . _ - and single slashes`);
  }
  if (inner.length > prefixCharsMax) {
    throw wrong(url, `the prefix has ${inner.length} characters; ${prefixCharsMax} at most`);
  }
  return `/${inner === "" ? prefixDefault : inner}/`;
}

function parseQuery(url: string, text: string): Record<(typeof parameters)[number], string | null> {
  const found = { ca: null, cert: null, key: null, "password-file": null } as Record<string, string | null>;
  for (const part of text.split("&").filter((each) => each !== "")) {
    const at = part.indexOf("=");
    const name = at < 0 ? part : part.slice(0, at);
    if (!Object.hasOwn(found, name)) {
      throw wrong(url, `"${name}" is not one of its parameters, which are ${parameters.join(", ")}`);
    }
    if (found[name] !== null) throw wrong(url, `${name}= is there twice`);
    const value = decode(url, at < 0 ? "" : part.slice(at + 1));
    if (value === "" || value.includes("\0")) throw wrong(url, `${name}= names no file`);
    found[name] = value;
  }
  return found as Record<(typeof parameters)[number], string | null>;
}

function decode(url: string, text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    throw wrong(url, `"${text}" is not percent-encoded text`);
  }
}

/** Who the user is, and what else stands before the @, is nobody's business in a log. */
function wrong(url: string, reason: string): TorusError {
  const shown = url.replace(/\/\/[^/?#]*@/, "//...@");
  return new TorusError(
    "invalid-argument",
    `metadata URL "${shown}" cannot be used: ${reason}; use ${etcdUrlForm}`,
  );
}
