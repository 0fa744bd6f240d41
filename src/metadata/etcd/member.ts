// A connection to one etcd member that has proved itself: it authenticated us if it had to, and answered a linearizable
// read, so it has a quorum behind it and is of the cluster known so far.

import type { Clock } from "#host";
import { type EtcdEndpoint, formatEndpoint } from "./etcd-url.ts";
import { GrpcChannel, type GrpcStream, type StreamHandlers, type TlsMaterial } from "./grpc-channel.ts";
import { grpcStatus } from "./grpc-codec.ts";
import { GrpcFailure } from "./grpc-failure.ts";
import { encodeAuthenticate, encodeRange } from "./request-codec.ts";
import { decodeAuthenticate, decodeRange } from "./response-codec.ts";
import type { StoreIdentity } from "./store-identity.ts";

export interface MemberOptions {
  /** Its place in the list of endpoints. */
  readonly at: number;
  readonly endpoint: EtcdEndpoint;
  readonly tls: TlsMaterial | null;
  /** Any key under it may be asked for. */
  readonly prefix: string;
  /** For all of connecting. */
  readonly connectMs: number;
}

export class Member {
  readonly at: number;
  readonly name: string;
  readonly #channel: GrpcChannel;
  readonly #prefix: string;
  #token: string | null = null;

  static async connect(options: MemberOptions, deps: { readonly clock: Clock }): Promise<Member> {
    const { endpoint, tls, connectMs } = options;
    return new Member(options, await GrpcChannel.connect({ ...endpoint, tls, connectMs }, deps));
  }

  private constructor(options: MemberOptions, channel: GrpcChannel) {
    this.at = options.at;
    this.name = formatEndpoint(options.endpoint);
    this.#channel = channel;
    this.#prefix = options.prefix;
  }

  get usable(): boolean {
    return this.#channel.usable;
  }

  get hasStreams(): boolean {
    return this.#channel.hasStreams;
  }

  onRetired(callback: () => void): void {
    this.#channel.onRetired(callback);
  }

  /** `null`: without a token. */
  useToken(token: string | null): void {
    this.#token = token;
  }

  /** A fresh token; null when the server does not ask who we are. */
  async authenticate(user: string, password: string, timeoutMs: number): Promise<string | null> {
    this.#token = null;
    try {
      const message = encodeAuthenticate(user, password);
      return decodeAuthenticate(await this.call("/etcdserverpb.Auth/Authenticate", message, timeoutMs)).token;
    } catch (error) {
      if (error instanceof GrpcFailure && /authentication is not enabled$/.test(error.message)) return null;
      throw error;
    }
  }

  /** Rejects with `GrpcFailure` when it is of another cluster or has no quorum, with `metadata-behind` when the store went back. */
  async prove(identity: StoreIdentity, timeoutMs: number): Promise<void> {
    const since = identity.revision;
    const message = encodeRange({ key: `${this.#prefix}cluster`, countOnly: true });
    const { header } = decodeRange(await this.call("/etcdserverpb.KV/Range", message, timeoutMs));
    const stranger = identity.introduce(header, this.name);
    if (stranger !== null)
      throw new GrpcFailure(grpcStatus.unavailable, stranger, { unsent: true, lasting: true });
    identity.check(header, since, this.name);
  }

  call(path: string, message: Uint8Array, timeoutMs: number): Promise<Uint8Array> {
    return this.#channel.unary({ path, message, headers: this.#headers(), timeoutMs });
  }

  open(path: string, handlers: StreamHandlers): GrpcStream {
    return this.#channel.open(path, this.#headers(), handlers);
  }

  /** No more calls; those under way may finish. */
  retire(reason: string): void {
    this.#channel.retire(`${this.name}: ${reason}`);
  }

  close(): void {
    this.#channel.close();
  }

  /** A member without a leader must say so at once, and end streams, rather than keep us waiting. */
  #headers(): Record<string, string> {
    return this.#token === null ? { hasleader: "true" } : { hasleader: "true", token: this.#token };
  }
}
