// Finds a member to talk to and keeps it: one connection at a time, made by whoever needs it first and shared by all. A round
// tries each endpoint once, starting at the current one.

import { readFileSync } from "node:fs";
import type { Clock, Log, Random, Timer } from "#host";
import { messageOf, TorusError } from "#model";
import { EndpointMachine } from "./endpoint-machine.ts";
import type { EtcdTarget } from "./etcd-url.ts";
import { formatEndpoint } from "./etcd-url.ts";
import type { TlsMaterial } from "./grpc-channel.ts";
import { grpcStatus } from "./grpc-codec.ts";
import { GrpcFailure, unsent } from "./grpc-failure.ts";
import { Member } from "./member.ts";
import type { StoreIdentity } from "./store-identity.ts";
import { judge, type Verdict } from "./verdict.ts";

export interface ConnectorOptions {
  readonly target: EtcdTarget;
  readonly password: string | null;
  readonly tryMs: number;
}

export interface ConnectorDeps {
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  readonly identity: StoreIdentity;
}

export class Connector {
  readonly #options: ConnectorOptions;
  readonly #deps: ConnectorDeps;
  readonly #endpoints: EndpointMachine;
  #member: Member | null = null;
  #round: Promise<Member> | null = null;
  #token: string | null = null;
  /** Of an endpoint, in words: what to say when time runs out within a round. */
  #lastFailure = "no member was reached in time";
  #closed = false;

  constructor(options: ConnectorOptions, deps: ConnectorDeps) {
    this.#options = options;
    this.#deps = deps;
    this.#endpoints = new EndpointMachine(options.target.endpoints.length, deps.random.uint32());
  }

  get current(): Member | null {
    return this.#member;
  }

  /** Rejects with a `GrpcFailure` that is `unsent` when a round found nobody or `deadlineMs` came first; with `TorusError` for what no other member can mend. */
  async member(deadlineMs: number): Promise<Member> {
    if (this.#member?.usable) return this.#member;
    this.#round ??= this.#connectRound().finally(() => {
      this.#round = null;
    });
    return this.#orLate(this.#round, deadlineMs);
  }

  /** What a failed call says of its member. */
  react(member: Member, { next }: Verdict, reason: string): void {
    if (next === "authenticate") {
      // Who failed on an older connection failed with an older token.
      if (member === this.#member) this.#token = null;
      this.#leave(member, reason, "debug");
    } else if (next === "elsewhere") {
      this.#endpoints.failed(member.at);
      this.#leave(member, reason, "warn");
    }
  }

  forgetToken(): void {
    this.#token = null;
    if (this.#member !== null) this.#leave(this.#member, "the token is not valid any more", "debug");
  }

  close(): void {
    this.#closed = true;
    this.#member?.close();
    this.#member = null;
  }

  #leave(member: Member, reason: string, level: "debug" | "warn"): void {
    if (member !== this.#member) return;
    this.#member = null;
    this.#deps.log[level]("Leaving an etcd member.", { member: member.name, reason });
    member.retire(reason);
  }

  async #connectRound(): Promise<Member> {
    const { endpoints } = this.#options.target;
    const failures: string[] = [];
    let lasting = true;
    for (let count = 0; count < endpoints.length; count++) {
      const at = this.#endpoints.current;
      try {
        return await this.#connect(at);
      } catch (error) {
        this.#endpoints.failed(at);
        if (!(error instanceof GrpcFailure)) throw error;
        const { next, code, advice } = judge(error);
        const text = `${formatEndpoint(endpoints[at])}: ${error.message}`;
        if (next === "never") throw new TorusError(code, `etcd at ${text} (${advice})`, {}, { cause: error });
        if (!error.lasting) lasting = false;
        failures.push(text);
        this.#lastFailure = text;
      }
    }
    this.#deps.identity.roundFailed(endpoints.length);
    throw new GrpcFailure(grpcStatus.unavailable, failures.join("; "), { unsent: true, lasting });
  }

  /** Within `tryMs`, whatever of it takes how long. */
  async #connect(at: number): Promise<Member> {
    const { target, tryMs } = this.#options;
    const { clock, identity, log } = this.#deps;
    const deadlineMs = clock.monotonicMs() + tryMs;
    const leftMs = (): number => Math.max(1, deadlineMs - clock.monotonicMs());
    const options = { at, endpoint: target.endpoints[at], tls: this.#loadTls(), prefix: target.prefix };
    const member = await Member.connect({ ...options, connectMs: tryMs }, this.#deps);
    try {
      const known = this.#token !== null;
      await this.#authenticate(member, leftMs());
      try {
        await member.prove(identity, leftMs());
      } catch (error) {
        if (!known || !(error instanceof GrpcFailure) || judge(error).next !== "authenticate") throw error;
        this.#token = null;
        await this.#authenticate(member, leftMs());
        await member.prove(identity, leftMs());
      }
      if (this.#closed) throw unsent("the metadata service was closed");
    } catch (error) {
      member.close();
      throw error;
    }
    log.debug("Connected to an etcd member.", { member: member.name });
    this.#member = member;
    member.onRetired(() => this.#lost(member));
    return member;
  }

  #lost(member: Member): void {
    if (member !== this.#member) return;
    this.#member = null;
    if (!this.#closed) this.#deps.log.debug("An etcd member closed the connection.", { member: member.name });
  }

  async #authenticate(member: Member, timeoutMs: number): Promise<void> {
    const { target, password } = this.#options;
    if (target.user === null) return;
    this.#token ??= await member.authenticate(target.user, this.#loadPassword(target, password), timeoutMs);
    member.useToken(this.#token);
  }

  /** Read at every connection: certificates are replaced while programs run. */
  #loadTls(): TlsMaterial | null {
    const { tls } = this.#options.target;
    if (tls === null) return null;
    const load = (path: string | null) => (path === null ? null : readNamed(path));
    return { ca: load(tls.ca), cert: load(tls.cert), key: load(tls.key) };
  }

  #loadPassword(target: EtcdTarget, password: string | null): string {
    if (target.passwordFile !== null)
      return readNamed(target.passwordFile)
        .toString("utf8")
        .replace(/\r?\n$/, "");
    if (password !== null) return password;
    throw new TorusError(
      "invalid-argument",
      `the metadata service ${target.url} has user ${target.user} and no password: set TORUS_ETCD_PASSWORD or add ?password-file=FILE`,
    );
  }

  #orLate(round: Promise<Member>, deadlineMs: number): Promise<Member> {
    const { clock } = this.#deps;
    return new Promise((resolve, reject) => {
      const late: Timer = clock.setTimer(Math.max(0, deadlineMs - clock.monotonicMs()), () =>
        reject(unsent(this.#lastFailure)),
      );
      round.then(resolve, reject).finally(() => late.cancel());
    });
  }
}

/** Throws a `GrpcFailure` that lasts. */
function readNamed(path: string): Buffer {
  try {
    return readFileSync(path);
  } catch (error) {
    throw new GrpcFailure(grpcStatus.unavailable, `cannot read ${path}: ${messageOf(error)}`, {
      unsent: true,
      lasting: true,
      cause: error,
    });
  }
}
