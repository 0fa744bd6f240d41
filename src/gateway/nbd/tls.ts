// TLS for connections that ask for it by STARTTLS: by certificates, or by keys that both sides know already (PSK).
//
// A key of PSK is never used without Diffie-Hellman, so that who learns it later cannot read what was recorded before.

import type { Socket } from "node:net";
import type { TLSSocket, TlsOptions } from "node:tls";
import { assert, messageOf, TorusError } from "#model";
import { negotiationMsMax } from "./limits.ts";

export interface CertificateCredentials {
  readonly kind: "certificates";
  /** PEM: who signs certificates of clients; null where clients need none. */
  readonly authority: string | null;
  /** PEM: the server's own, and those up to the authority. */
  readonly certificate: string;
  readonly key: string;
}

export interface PskCredentials {
  readonly kind: "psk";
  /** By the name that the client gives. */
  readonly keys: ReadonlyMap<string, Uint8Array>;
}

export type TlsCredentials = CertificateCredentials | PskCredentials;

export interface NbdTls {
  /** Nothing but STARTTLS is answered before it; else it is the client's choice. */
  readonly isRequired: boolean;
  readonly credentials: TlsCredentials;
}

/** All with forward secrecy. Those of TLS 1.3 stand by their names; it takes them for keys as well. */
const pskCiphers = [
  "TLS_AES_128_GCM_SHA256",
  "TLS_CHACHA20_POLY1305_SHA256",
  "ECDHE-PSK-CHACHA20-POLY1305",
  "DHE-PSK-CHACHA20-POLY1305",
  "DHE-PSK-AES256-GCM-SHA384",
  "DHE-PSK-AES128-GCM-SHA256",
].join(":");

type TlsModule = typeof import("node:tls");

let loaded: TlsModule | null = null;

/** To be waited for before anything else here: a server without TLS does without its 3 MiB of memory. */
export async function loadTls(): Promise<void> {
  loaded ??= await import("node:tls");
}

function tlsModule(): TlsModule {
  assert(loaded !== null, "TLS was loaded");
  return loaded;
}

/** Rejects credentials that cannot be used, with `invalid-argument`. */
export function requireUsable(credentials: TlsCredentials): void {
  try {
    tlsModule().createSecureContext(optionsOf(credentials));
  } catch (error) {
    throw new TorusError(
      "invalid-argument",
      `the certificates for TLS cannot be used: ${messageOf(error)}. Are they PEM, and does the key belong to the certificate?`,
    );
  }
}

/** Shakes hands as the server of `socket`, which is the result's from now on. Rejects when the client cannot be trusted, or broke off. */
export function startTls(socket: Socket, credentials: TlsCredentials): Promise<TLSSocket> {
  return new Promise((resolve, reject) => {
    // It listens nowhere: it is what checks certificates of clients.
    const server = tlsModule().createServer({
      ...optionsOf(credentials),
      handshakeTimeout: negotiationMsMax,
      allowHalfOpen: true,
    });
    server.once("secureConnection", resolve);
    server.once("tlsClientError", reject);
    server.emit("connection", socket);
  });
}

function optionsOf(credentials: TlsCredentials): TlsOptions {
  if (credentials.kind === "psk") {
    return {
      minVersion: "TLSv1.2",
      ciphers: pskCiphers,
      dhparam: "auto",
      pskCallback: (_socket: TLSSocket, identity: string) => credentials.keys.get(identity) ?? null,
    };
  }
  const { authority, certificate, key } = credentials;
  const own = { minVersion: "TLSv1.2", cert: certificate, key } as const;
  return authority === null ? own : { ...own, ca: authority, requestCert: true, rejectUnauthorized: true };
}
