// AWS Signature Version 4, as S3 and what speaks like it want every request signed
// (https://docs.aws.amazon.com/IAM/latest/UserGuide/create-signed-request.html). Pure: time is an argument.

import { createHash, createHmac } from "node:crypto";

export interface S3Credentials {
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
  /** Of temporary credentials. */
  readonly sessionToken: string | null;
}

export interface SigningScope {
  readonly credentials: S3Credentials;
  readonly region: string;
  /** "s3". */
  readonly service: string;
}

export interface SignableRequest {
  readonly method: string;
  /** Encoded, as it is sent: see `encodePath`. */
  readonly path: string;
  /** Not encoded. */
  readonly query: Readonly<Record<string, string>>;
  /** Names in lower case; `host` and `x-amz-date` must be among them. All are signed. */
  readonly headers: Readonly<Record<string, string>>;
  /** SHA-256 of the body, hex. */
  readonly bodyDigest: string;
}

const algorithm = "AWS4-HMAC-SHA256";

export function sha256(bytes: Uint8Array | string): string {
  return createHash("sha256").update(bytes).digest("hex");
}

/** `20150830T123600Z`. */
export function amzDate(wallMs: number): string {
  return `${new Date(wallMs).toISOString().replaceAll(/[-:]/g, "").slice(0, 15)}Z`;
}

/** Every byte but A-Z a-z 0-9 - . _ ~ as %XX (RFC 3986). */
export function encodePart(text: string): string {
  return encodeURIComponent(text).replaceAll(
    /[!'()*]/g,
    (sign) => `%${sign.charCodeAt(0).toString(16).toUpperCase()}`,
  );
}

export function encodePath(path: string): string {
  return path.split("/").map(encodePart).join("/");
}

/** The query as it is sent, and as it is signed. */
export function encodeQuery(query: Readonly<Record<string, string>>): string {
  return Object.entries(query)
    .map(([name, value]) => [encodePart(name), encodePart(value)] as const)
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([name, value]) => `${name}=${value}`)
    .join("&");
}

/** The value of the `authorization` header. */
export function authorizationOf(request: SignableRequest, scope: SigningScope): string {
  const { credentials, region, service } = scope;
  const time = request.headers["x-amz-date"];
  const day = time.slice(0, 8);
  const names = Object.keys(request.headers).sort();
  const signedNames = names.join(";");
  const canonical = [
    request.method,
    request.path,
    encodeQuery(request.query),
    ...names.map((name) => `${name}:${request.headers[name].trim().replaceAll(/ +/g, " ")}`),
    "",
    signedNames,
    request.bodyDigest,
  ].join("\n");
  const place = `${day}/${region}/${service}/aws4_request`;
  const toSign = [algorithm, time, place, sha256(canonical)].join("\n");
  let key: Uint8Array = Buffer.from(`AWS4${credentials.secretAccessKey}`);
  for (const part of [day, region, service, "aws4_request"]) key = hmac(key, part);
  const signature = Buffer.from(hmac(key, toSign)).toString("hex");
  return `${algorithm} Credential=${credentials.accessKeyId}/${place}, SignedHeaders=${signedNames}, Signature=${signature}`;
}

function hmac(key: Uint8Array, text: string): Uint8Array {
  return createHmac("sha256", key).update(text).digest();
}
