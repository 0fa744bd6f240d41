// A small S3 server in this process for tests: objects in memory, every signature verified anew from what came over the wire (by the specification, with
// nothing of the signer's code), and faults as a test wants them.

import { createHash, createHmac } from "node:crypto";
import type { IncomingMessage, Server, ServerResponse } from "node:http";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";

export const testCredentials = {
  accessKeyId: "AKIDEXAMPLE",
  secretAccessKey: "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY",
  sessionToken: null,
} as const;

export type Fault = "unavailable" | "slow-down" | "drop" | "silence";

const keysOfPageMax = 1000;

export class S3Server {
  readonly objects = new Map<string, Buffer>();
  /** For the next requests, one each; null: none. */
  readonly faults: (Fault | null)[] = [];
  requests = 0;
  /** Lists as no S3 may. */
  isUnordered = false;
  readonly #bucket: string;
  readonly #server: Server;

  private constructor(bucket: string) {
    this.#bucket = bucket;
    this.#server = createServer((request, response) => {
      void this.#answer(request, response);
    });
  }

  static async start(bucket: string): Promise<S3Server> {
    const started = new S3Server(bucket);
    await new Promise<void>((resolve) => started.#server.listen(0, "127.0.0.1", resolve));
    return started;
  }

  get endpoint(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  async close(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    this.requests += 1;
    const parts: Buffer[] = [];
    for await (const part of request) parts.push(part);
    const body = Buffer.concat(parts);
    const fault = this.faults.shift();
    if (fault === "silence") return;
    if (fault === "drop") {
      request.socket.destroy();
      return;
    }
    if (fault !== undefined && fault !== null) {
      refuse(response, fault === "slow-down" ? 429 : 503, "SlowDown", "Please reduce your request rate.");
      return;
    }
    const problem = signatureProblem(request, body);
    if (problem !== null) refuse(response, 403, "SignatureDoesNotMatch", problem);
    else this.#serve(request, body, response);
  }

  #serve(request: IncomingMessage, body: Buffer, response: ServerResponse): void {
    const url = new URL(request.url ?? "", "http://s3");
    const [, bucket, ...rest] = url.pathname.split("/").map(decodeURIComponent);
    const key = rest.join("/");
    const found = this.objects.get(key);
    if (bucket !== this.#bucket) refuse(response, 404, "NoSuchBucket", "The bucket does not exist.");
    else if (key === "") this.#list(url.searchParams, response);
    else if (request.method === "PUT") {
      this.objects.set(key, body);
      response.writeHead(200).end();
    } else if (request.method === "DELETE") {
      this.objects.delete(key);
      response.writeHead(204).end();
    } else if (found === undefined) refuse(response, 404, "NoSuchKey", "The key does not exist.");
    else
      response
        .writeHead(200, { "content-length": found.length })
        .end(request.method === "HEAD" ? undefined : found);
  }

  #list(query: URLSearchParams, response: ServerResponse): void {
    const prefix = query.get("prefix") ?? "";
    const after = query.get("start-after") ?? "";
    const most = Math.min(Number(query.get("max-keys") ?? keysOfPageMax), keysOfPageMax);
    const keys = [...this.objects.keys()].filter((key) => key.startsWith(prefix) && key > after).sort();
    if (this.isUnordered) keys.reverse();
    const contents = keys
      .slice(0, most)
      .map((key) => `<Contents><Key>${key}</Key><Size>${this.objects.get(key)?.length}</Size></Contents>`);
    const truncated = `<IsTruncated>${keys.length > most}</IsTruncated>`;
    const namespace = 'xmlns="http://s3.amazonaws.com/doc/2006-03-01/"';
    response.writeHead(200, { "content-type": "application/xml" });
    response.end(
      `<?xml version="1.0"?>\n<ListBucketResult ${namespace}>${truncated}${contents.join("")}</ListBucketResult>`,
    );
  }
}

function refuse(response: ServerResponse, status: number, code: string, message: string): void {
  response.writeHead(status, { "content-type": "application/xml" });
  response.end(`<?xml version="1.0"?><Error><Code>${code}</Code><Message>${message}</Message></Error>`);
}

/** Null when the request is signed with the test's credentials, and its body is what was signed. */
function signatureProblem(request: IncomingMessage, body: Buffer): string | null {
  const match =
    /^AWS4-HMAC-SHA256 Credential=([^/]+)\/(\d{8})\/([^/]+)\/s3\/aws4_request, SignedHeaders=([^,]+), Signature=([0-9a-f]{64})$/.exec(
      request.headers.authorization ?? "",
    );
  if (match === null) return "no signature";
  const [, accessKey, day, region, names, signature] = match;
  if (accessKey !== testCredentials.accessKeyId) return "unknown key";
  const bodyHash = createHash("sha256").update(body).digest("hex");
  if (request.headers["x-amz-content-sha256"] !== bodyHash) return "the body is another";
  const date = String(request.headers["x-amz-date"]);
  if (!date.startsWith(day)) return "the scope is of another day";
  for (const wanted of ["host", "x-amz-date", "x-amz-content-sha256"])
    if (!names.split(";").includes(wanted)) return `${wanted} is not signed`;
  const [path, query = ""] = (request.url ?? "").split("?");
  const sortedQuery = query.split("&").sort().join("&");
  const headerLines = names.split(";").map((name) => `${name}:${String(request.headers[name]).trim()}\n`);
  const canonical = `${request.method}\n${path}\n${sortedQuery}\n${headerLines.join("")}\n${names}\n${bodyHash}`;
  const hash = createHash("sha256").update(canonical).digest("hex");
  const text = `AWS4-HMAC-SHA256\n${date}\n${day}/${region}/s3/aws4_request\n${hash}`;
  const sign = (key: string | Buffer, data: string): Buffer =>
    createHmac("sha256", key).update(data).digest();
  const key = sign(
    sign(sign(sign(`AWS4${testCredentials.secretAccessKey}`, day), region), "s3"),
    "aws4_request",
  );
  return sign(key, text).toString("hex") === signature ? null : "the signature is another";
}
