// A backup target in a bucket of S3, or of what speaks like it, addressed as ENDPOINT/BUCKET/KEY. Every request is signed, has a deadline and is tried
// again a bounded number of times where that may help; all of them may be repeated without harm. It is taken for granted that a bucket is
// strongly consistent, as S3 itself, Ceph and MinIO are.

import type { Clock, Random } from "#host";
import { sleep } from "#host";
import { messageOf, TorusError } from "#model";
import type { S3Credentials } from "./s3-signature.ts";
import { amzDate, authorizationOf, encodePath, encodeQuery, sha256 } from "./s3-signature.ts";
import { decodeError, decodeListing } from "./s3-xml-codec.ts";
import type { BackupTarget, TargetPage } from "./target.ts";
import { listKeysMax, requireKey } from "./target.ts";

export interface S3TargetOptions {
  /** Such as https://s3.eu-central-1.amazonaws.com. */
  readonly endpoint: string;
  readonly region: string;
  readonly bucket: string;
  /** Before every key: "" or names with "/" between and behind them. */
  readonly prefix: string;
  readonly credentials: S3Credentials;
  readonly deadlineMs?: number;
  readonly attemptsMax?: number;
}

export interface S3TargetDeps {
  readonly fetch: typeof fetch;
  readonly clock: Clock;
  readonly random: Random;
}

const deadlineMsDefault = 60_000;
const attemptsMaxDefault = 7;
const backoffMs = 100;
const backoffMsMax = 10_000;
/** An answer longer than any object that backups put. */
const answerBytesMax = 256 * 2 ** 20;

interface Ask {
  readonly method: "GET" | "HEAD" | "PUT" | "DELETE";
  /** "" for the bucket. */
  readonly key: string;
  readonly query?: Readonly<Record<string, string>>;
  readonly body?: Uint8Array;
}

interface Answer {
  readonly status: number;
  readonly body: Uint8Array;
}

export class S3Target implements BackupTarget {
  readonly place: string;
  readonly #options: S3TargetOptions;
  readonly #deps: S3TargetDeps;

  constructor(options: S3TargetOptions, deps: S3TargetDeps) {
    this.#options = options;
    this.#deps = deps;
    this.place = `s3://${options.bucket}/${options.prefix}`.replace(/\/$/, "");
  }

  async get(key: string): Promise<Uint8Array | null> {
    const answer = await this.#object({ method: "GET", key });
    if (answer.status === 200) return answer.body;
    if (answer.status === 404 && errorOf(answer).code !== "NoSuchBucket") return null;
    throw this.#refusal(`read ${key}`, answer);
  }

  async has(key: string): Promise<boolean> {
    const answer = await this.#object({ method: "HEAD", key });
    if (answer.status === 200) return true;
    if (answer.status === 404) return false;
    throw this.#refusal(`look for ${key}`, answer);
  }

  async put(key: string, bytes: Uint8Array): Promise<void> {
    const answer = await this.#object({ method: "PUT", key, body: bytes });
    if (answer.status !== 200) throw this.#refusal(`write ${key}`, answer);
  }

  async remove(key: string): Promise<void> {
    const answer = await this.#object({ method: "DELETE", key });
    const isGone = answer.status === 404 && errorOf(answer).code !== "NoSuchBucket";
    if (answer.status !== 200 && answer.status !== 204 && !isGone)
      throw this.#refusal(`delete ${key}`, answer);
  }

  async list(folder: string, after: string | null): Promise<TargetPage> {
    const { prefix } = this.#options;
    const query: Record<"list-type" | "max-keys" | "prefix", string> & { "start-after"?: string } = {
      "list-type": "2",
      "max-keys": `${listKeysMax}`,
      prefix: `${prefix}${folder}`,
      ...(after === null ? {} : { "start-after": `${prefix}${after}` }),
    };
    const answer = await this.#call({ method: "GET", key: "", query });
    if (answer.status !== 200) throw this.#refusal(`list ${folder}`, answer);
    const { keys, isTruncated } = decodeListing(Buffer.from(answer.body).toString("utf8"));
    // Pages follow each other by key: out of order, keys would be missed, and what they name be taken for needless.
    for (const [i, key] of keys.entries())
      if (!key.startsWith(query.prefix) || key <= (keys[i - 1] ?? query["start-after"] ?? ""))
        throw new TorusError(
          "protocol",
          `${this.place} lists "${key}" out of order: backups cannot be kept there`,
        );
    return { keys: keys.map((key) => key.slice(prefix.length)), isMore: isTruncated };
  }

  async #object(ask: Ask): Promise<Answer> {
    requireKey(ask.key);
    return this.#call(ask);
  }

  async #call(ask: Ask): Promise<Answer> {
    const { attemptsMax = attemptsMaxDefault } = this.#options;
    for (let attempt = 1; ; attempt++) {
      const outcome = await this.#try(ask);
      if (!(outcome instanceof TorusError) && !isPassing(outcome.status)) return outcome;
      if (attempt === attemptsMax) {
        if (outcome instanceof TorusError) throw outcome;
        throw this.#refusal(`${ask.method} ${ask.key} (${attempt} attempts)`, outcome);
      }
      const longestMs = Math.min(backoffMsMax, backoffMs * 2 ** attempt);
      // Jitter, so that those that failed together do not come back together.
      await sleep(this.#deps.clock, longestMs * (0.5 + (this.#deps.random.uint32() / 2 ** 32) * 0.5));
    }
  }

  /** One request; the error when it was not answered. */
  async #try(ask: Ask): Promise<Answer | TorusError> {
    const { deadlineMs = deadlineMsDefault } = this.#options;
    const late = new AbortController();
    const timer = this.#deps.clock.setTimer(deadlineMs, () => late.abort());
    try {
      const { url, init } = this.#request(ask);
      const response = await this.#deps.fetch(url, { ...init, signal: late.signal, redirect: "manual" });
      if (Number(response.headers.get("content-length") ?? 0) > answerBytesMax) {
        late.abort();
        throw new TorusError("protocol", "an answer of S3 is longer than any object of a backup");
      }
      return { status: response.status, body: new Uint8Array(await response.arrayBuffer()) };
    } catch (error) {
      const { place } = this;
      if (late.signal.aborted)
        return new TorusError(
          "timeout",
          `${place}: ${ask.method} ${ask.key} was not answered in ${deadlineMs} ms`,
        );
      const reason =
        error instanceof Error && error.cause !== undefined ? messageOf(error.cause) : messageOf(error);
      return new TorusError(
        "unavailable",
        `${place}: ${ask.method} ${ask.key}: ${reason}`,
        {},
        { cause: error },
      );
    } finally {
      timer.cancel();
    }
  }

  #request({ method, key, query = {}, body }: Ask): { readonly url: string; readonly init: RequestInit } {
    const { endpoint, bucket, prefix, region, credentials } = this.#options;
    const base = new URL(endpoint);
    const place = key === "" ? bucket : `${bucket}/${prefix}${key}`;
    const path = `${base.pathname.replace(/\/$/, "")}/${encodePath(place)}`;
    const bodyDigest = sha256(body ?? "");
    const headers: Record<string, string> = {
      host: base.host,
      "x-amz-content-sha256": bodyDigest,
      "x-amz-date": amzDate(this.#deps.clock.wallMs()),
      ...(credentials.sessionToken === null ? {} : { "x-amz-security-token": credentials.sessionToken }),
    };
    const signable = { method, path, query, headers, bodyDigest };
    const authorization = authorizationOf(signable, { credentials, region, service: "s3" });
    const encoded = encodeQuery(query);
    const { host: _, ...sent } = headers;
    const init: RequestInit = { method, headers: { ...sent, authorization } };
    if (body !== undefined) init.body = body as Uint8Array<ArrayBuffer>;
    return { url: `${base.origin}${path}${encoded === "" ? "" : `?${encoded}`}`, init };
  }

  #refusal(what: string, answer: Answer): TorusError {
    const { code, message } = errorOf(answer);
    const said = code === "" ? `status ${answer.status}` : `${code}: ${message || `status ${answer.status}`}`;
    const kind = isPassing(answer.status) ? "unavailable" : code === "NoSuchBucket" ? "not-found" : "io";
    return new TorusError(kind, `${this.place} does not ${what}: ${said}`);
  }
}

function errorOf({ body }: Answer): ReturnType<typeof decodeError> {
  return decodeError(Buffer.from(body.subarray(0, 8192)).toString("utf8"));
}

/** Another attempt may be answered otherwise. */
function isPassing(status: number): boolean {
  return status === 408 || status === 429 || status >= 500;
}
