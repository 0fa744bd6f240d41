// SimNetwork: machines in memory and the connections between them, from a seed: delays, pieces, partitions, resets, crashes.
// What is sent between parted machines waits and arrives when they are joined again, as TCP would have it.

import type { Address, Clock, Connection, ConnectionHandlers, Listener, Network } from "#host";
import { formatAddress } from "#host";
import { TorusError } from "#model";
import type { PipeNetwork } from "./connection.ts";
import { Pipe, SimConnection } from "./connection.ts";
import type { SeededRandom } from "./random.ts";

export interface SimNetworkOptions {
  readonly latencyMsMin: number;
  readonly latencyMsMax: number;
  /** Bytes arrive in pieces of random size up to this. */
  readonly pieceBytesMax: number;
}

export interface SimNetworkDeps {
  readonly clock: Clock;
  readonly random: SeededRandom;
}

export const simNetworkDefaults: SimNetworkOptions = {
  latencyMsMin: 0.05,
  latencyMsMax: 2,
  pieceBytesMax: 64 * 1024,
};

interface SimLink {
  readonly source: string;
  readonly target: string;
  readonly pipes: readonly Pipe[];
  readonly ends: SimConnection[];
}

type Accept = (connection: Connection) => ConnectionHandlers;

export class SimNetwork implements PipeNetwork {
  readonly clock: Clock;
  readonly #options: SimNetworkOptions;
  readonly #random: SeededRandom;
  readonly #listeners = new Map<string, Accept>();
  readonly #links = new Set<SimLink>();
  readonly #parted = new Set<string>();
  readonly #paused = new Set<string>();
  readonly #slowMs = new Map<string, number>();
  #lastPort = 20_000;

  constructor(options: SimNetworkOptions, deps: SimNetworkDeps) {
    this.#options = options;
    this.clock = deps.clock;
    this.#random = deps.random;
  }

  /** The network as machine `name` sees it; its host name is `name`. */
  machine(name: string): Network {
    return {
      connect: (address, handlers) => this.#connect(name, address, handlers),
      listen: async (address, accept) => this.#listen(address, accept),
    };
  }

  /** Nothing passes between `a` and `b` (one way only with `oneWay`: from `a` to `b`). */
  part(a: string, b: string, options: { readonly oneWay?: boolean } = {}): void {
    this.#parted.add(`${a}>${b}`);
    if (!options.oneWay) this.#parted.add(`${b}>${a}`);
  }

  heal(a: string, b: string): void {
    this.#parted.delete(`${a}>${b}`);
    this.#parted.delete(`${b}>${a}`);
    this.#pump();
  }

  /** No machine is parted from another, slow or paused any more. */
  healAll(): void {
    this.#parted.clear();
    this.#paused.clear();
    this.#slowMs.clear();
    this.#pump();
  }

  /** Machine `name` does not read: what is sent to it waits, as in the buffers of a stopped process. */
  pause(name: string): void {
    this.#paused.add(name);
  }

  resume(name: string): void {
    this.#paused.delete(name);
    this.#pump();
  }

  /** What passes between `a` and `b` takes up to `extraMs` longer; 0 ends it. */
  slow(a: string, b: string, extraMs: number): void {
    for (const key of [`${a}>${b}`, `${b}>${a}`]) {
      if (extraMs === 0) this.#slowMs.delete(key);
      else this.#slowMs.set(key, extraMs);
    }
  }

  #pump(): void {
    for (const link of this.#links) for (const pipe of link.pipes) pipe.pump();
  }

  /** Breaks every connection between `a` and `b`; both ends learn it. */
  reset(a: string, b: string): void {
    for (const link of this.#links) {
      if ((link.source === a && link.target === b) || (link.source === b && link.target === a)) {
        for (const end of link.ends) end.fail(new Error("read ECONNRESET"));
        this.#links.delete(link);
      }
    }
  }

  /**
   * Machine `name` stops. Others see its connections reset, or with `silent` (power lost) nothing at all. What it had sent is lost, or arrives
   * all the same, however late; what a partition held back when its power went is lost.
   */
  crash(name: string, options: { readonly silent?: boolean } = {}): void {
    for (const place of [...this.#listeners.keys()]) {
      if (place.startsWith(`${name}:`)) this.#listeners.delete(place);
    }
    for (const link of this.#links) {
      if (link.source !== name && link.target !== name) continue;
      const isSource = link.source === name;
      const [here, there] = isSource ? link.ends : [link.ends[1], link.ends[0]];
      const silent = options.silent ?? false;
      const held = silent && this.parted(name, isSource ? link.target : link.source);
      const arrives = !held && this.#random.oneIn(2);
      here?.die({ arrives, silent });
      if (!arrives && !silent) there?.fail(new Error("read ECONNRESET"));
      if (!arrives || there === undefined) this.#links.delete(link);
    }
  }

  // PipeNetwork

  latencyMs(source: string, target: string): number {
    const { latencyMsMin, latencyMsMax } = this.#options;
    const extraMs = this.#slowMs.size === 0 ? 0 : (this.#slowMs.get(`${source}>${target}`) ?? 0);
    return latencyMsMin + ((latencyMsMax - latencyMsMin + extraMs) * this.#random.uint32()) / 2 ** 32;
  }

  pieceBytes(bytes: number): number {
    // Half the time all that fits, else a cut anywhere: frames are split at every place sooner or later.
    const most = Math.min(bytes, this.#options.pieceBytesMax);
    return this.#random.oneIn(2) ? most : this.#random.between(1, most);
  }

  parted(source: string, target: string): boolean {
    if (this.#paused.has(target)) return true;
    return this.#parted.size > 0 && this.#parted.has(`${source}>${target}`);
  }

  dropsOnDestroy(): boolean {
    return this.#random.oneIn(2);
  }

  #listen(address: Address, accept: Accept): Listener {
    const bound =
      "path" in address || address.port > 0 ? address : { host: address.host, port: ++this.#lastPort };
    const place = formatAddress(bound);
    if (this.#listeners.has(place))
      throw new TorusError("busy", `cannot listen on ${place}: another process does`);
    this.#listeners.set(place, accept);
    return {
      address: bound,
      close: async () => {
        if (this.#listeners.get(place) === accept) this.#listeners.delete(place);
      },
    };
  }

  #connect(source: string, address: Address, handlers: ConnectionHandlers): Connection {
    const place = formatAddress(address);
    const target = "path" in address ? source : address.host;
    const out = new Pipe(this, source, target);
    const back = new Pipe(this, target, source);
    const near = new SimConnection(this, place, out, back);
    const link: SimLink = { source, target, pipes: [out, back], ends: [near] };
    near.attach(handlers);
    this.#forgetEnded();
    this.#links.add(link);
    out.send(null, () => {
      if (near.over) return;
      const accept = this.#listeners.get(place);
      if (accept === undefined) {
        back.send(null, () => near.fail(new Error(`connect ECONNREFUSED ${place}`)));
        return;
      }
      const far = new SimConnection(this, source, back, out);
      link.ends.push(far);
      near.join(far);
      far.join(near);
      back.send(null, () => near.established());
      far.attach(accept(far));
    });
    return near;
  }

  #forgetEnded(): void {
    for (const link of this.#links) if (link.ends.every((end) => end.over)) this.#links.delete(link);
  }
}
