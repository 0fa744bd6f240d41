// Why a connection does not come to stand, or broke, in words that say what to do.

import { messageOf } from "#model";

export interface ConnectionError {
  readonly text: string;
  /** It will be no better soon. */
  readonly lasting: boolean;
}

/** `secure`: TLS was wanted. */
export function explainConnection(error: NodeJS.ErrnoException, secure: boolean): ConnectionError {
  const text = describe(error);
  const code = error.code ?? "";
  const because = (advice: string, lasting: boolean): ConnectionError => ({
    text: `${text} (${advice})`,
    lasting,
  });
  if (code === "ENOTFOUND") return because("no such host", false);
  if (code === "ECONNREFUSED")
    return because("etcd does not run there, or listens on other addresses", false);
  if (!secure) {
    return /^ERR_HTTP2|^EPROTO/.test(code)
      ? because("if it uses TLS, write etcds://", false)
      : { text, lasting: false };
  }
  if (/wrong version number|packet length too long|http request/i.test(text)) {
    return because("it does not speak TLS: write etcd:// or switch TLS on there", true);
  }
  if (/alert|certificate required|bad certificate/i.test(`${code} ${text}`)) {
    return because("it refuses our certificate: give one it trusts with ?cert=FILE&key=FILE", true);
  }
  if (/ALTNAME/.test(code)) return because("its certificate is for other names", true);
  if (/CERT|SELF_SIGNED|ISSUER|SIGNATURE/.test(code)) {
    return because("its certificate is not trusted: name its CA with ?ca=FILE", true);
  }
  return code === "ECONNRESET"
    ? because("if it does not use TLS, write etcd://", false)
    : { text, lasting: false };
}

/** It was closed before the other side said anything. */
export function unspoken(secure: boolean): ConnectionError {
  const advice = secure ? "is that etcd's client port?" : "if it uses TLS, write etcds://";
  return { text: `the connection was closed without a word of HTTP/2 (${advice})`, lasting: false };
}

function describe(error: NodeJS.ErrnoException): string {
  // OpenSSL's own: of "4C1:error:0A000412:SSL routines:ssl3_read_bytes:tls alert bad certificate:../a.c:9:" the reason.
  const openssl = /:SSL routines:[^:]*:([^:]+):/.exec(error.message);
  if (openssl !== null) return openssl[1];
  // Node joins the failures of several addresses of one name in an error without a message.
  const parts = error instanceof AggregateError ? error.errors.map(messageOf) : [];
  return error.message || parts.join("; ") || error.code || error.name;
}
