// Where a server listens: a TCP address or a unix socket. A unix socket is made out of reach, closed to others (0600)
// and only then put in its place, so there is no moment in which another user may connect. A file left over by
// a process that died is replaced; one that a live process listens on is refused.

import { chmodSync, linkSync, lstatSync, mkdtempSync, rmdirSync, unlinkSync } from "node:fs";
import type { Server } from "node:net";
import { connect } from "node:net";
import { dirname, join } from "node:path";
import { messageOf, TorusError } from "#model";

export type ListenAddress =
  | { readonly kind: "tcp"; readonly host: string; readonly port: number }
  | { readonly kind: "unix"; readonly path: string };

/** What `listen` gives: where clients find the server, and how the place is given back. */
export interface Listening {
  /** The address as it came to be: a port asked for as 0 is the one that was found. */
  readonly address: ListenAddress;
  /** Removes the socket's file, if it is still ours. The server itself is closed by its owner. */
  remove(): void;
}

/** The system allows 107; the place where it is made is up to eleven longer. */
const socketPathBytesMax = 96;

export function describeAddress(address: ListenAddress): string {
  if (address.kind === "unix") return address.path;
  return address.host.includes(":") ? `[${address.host}]:${address.port}` : `${address.host}:${address.port}`;
}

export async function listen(server: Server, address: ListenAddress): Promise<Listening> {
  if (address.kind === "unix") return listenUnix(server, address.path);
  await listenOn(server, { host: address.host, port: address.port }, describeAddress(address));
  const bound = server.address();
  const port = bound !== null && typeof bound === "object" ? bound.port : address.port;
  return { address: { ...address, port }, remove: () => {} };
}

async function listenUnix(server: Server, path: string): Promise<Listening> {
  if (Buffer.byteLength(path) > socketPathBytesMax) {
    throw new TorusError(
      "invalid-argument",
      `the path of a unix socket has at most ${socketPathBytesMax} bytes: ${path}`,
    );
  }
  await removeDeadSocket(path);
  let hidden: string;
  try {
    hidden = mkdtempSync(join(dirname(path), "."));
  } catch (error) {
    throw cannotListen(path, error);
  }
  const made = join(hidden, "s");
  try {
    await listenOn(server, { path: made }, path);
    chmodSync(made, 0o600);
    linkSync(made, path);
  } catch (error) {
    server.close();
    throw cannotListen(path, error);
  } finally {
    removeQuietly(() => unlinkSync(made));
    removeQuietly(() => rmdirSync(hidden));
  }
  const { ino, dev } = lstatSync(path);
  return {
    address: { kind: "unix", path },
    remove: () =>
      removeQuietly(() => {
        const now = lstatSync(path);
        if (now.ino === ino && now.dev === dev) unlinkSync(path);
      }),
  };
}

function listenOn(
  server: Server,
  where: { host: string; port: number } | { path: string },
  text: string,
): Promise<void> {
  return new Promise((resolve, reject) => {
    const failed = (error: Error) => reject(cannotListen(text, error));
    server.once("error", failed);
    server.listen(where, () => {
      server.removeListener("error", failed);
      resolve();
    });
  });
}

/** Makes room at `path`: nothing there, or a socket that nobody listens on. */
async function removeDeadSocket(path: string): Promise<void> {
  let isSocket: boolean;
  try {
    isSocket = lstatSync(path).isSocket();
  } catch (error) {
    if (codeOf(error) === "ENOENT") return;
    throw cannotListen(path, error);
  }
  if (!isSocket)
    throw new TorusError("invalid-argument", `${path} exists and is not a socket: choose another path`);
  if (await isListening(path)) {
    throw new TorusError("busy", `another process listens on ${path}: stop it first, or choose another path`);
  }
  removeQuietly(() => unlinkSync(path));
}

/** False only when the system says that nobody listens. */
function isListening(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const probe = connect(path);
    probe.on("connect", () => {
      probe.destroy();
      resolve(true);
    });
    probe.on("error", (error) => resolve(!["ECONNREFUSED", "ENOENT"].includes(codeOf(error))));
  });
}

function cannotListen(where: string, error: unknown): TorusError {
  if (error instanceof TorusError) return error;
  switch (codeOf(error)) {
    case "EADDRINUSE":
    case "EEXIST":
      return new TorusError(
        "busy",
        `${where} is in use by another process: stop it first, or choose another address`,
      );
    case "EADDRNOTAVAIL":
    case "ENOTFOUND":
    case "EAI_AGAIN":
      return new TorusError(
        "invalid-argument",
        `cannot listen on ${where}: this machine has no such address`,
      );
    case "EACCES":
    case "EPERM":
      return new TorusError("invalid-argument", `cannot listen on ${where}: permission denied`);
    case "ENOENT":
    case "ENOTDIR":
      return new TorusError("invalid-argument", `cannot listen on ${where}: its directory does not exist`);
    default:
      return new TorusError("io", `cannot listen on ${where}: ${messageOf(error)}`);
  }
}

function codeOf(error: unknown): string {
  return error instanceof Error && "code" in error ? String(error.code) : "";
}

function removeQuietly(remove: () => void): void {
  try {
    remove();
  } catch {
    // It is gone already, which is all that was wanted.
  }
}
