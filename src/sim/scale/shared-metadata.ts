// SharedMetadata: the metadata as hundreds of peers of one process read it. Each read is counted as what it would cost; what comes of it is decoded once and
// shared, for as long as it is the same (all metadata) or not older than a second (who lives): decoding would be all that a simulation does.

import type { Clock, Log, Random } from "#host";
import type { MetadataService } from "#metadata";
import { ClusterMetadata } from "#metadata";
import type { MeterReading } from "./meter.ts";
import { combine, Meter, MeteredService, noReading } from "./meter.ts";

export interface SharedMetadataDeps {
  readonly service: MetadataService;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  /** Counts what changes anything but who lives. */
  readonly changes: () => number;
}

const listingMsMax = 1000;

interface Answer<Value> {
  readonly value: Promise<Value>;
  readonly reading: Promise<MeterReading>;
  readonly atMs: number;
  readonly change: number;
}

/** One kind of read: done once for all who ask until something changes, and counted for each of them. */
class SharedRead<Value> {
  readonly #what: string;
  readonly #ageMsMax: number;
  readonly #meter: Meter;
  readonly #deps: SharedMetadataDeps;
  readonly #own = new Meter();
  readonly #read: () => Promise<Value>;
  #answer: Answer<Value> | null = null;

  constructor(
    options: { readonly what: string; readonly ageMsMax: number },
    meter: Meter,
    deps: SharedMetadataDeps,
    read: (source: ClusterMetadata) => Promise<Value>,
  ) {
    this.#what = options.what;
    this.#ageMsMax = options.ageMsMax;
    this.#meter = meter;
    this.#deps = deps;
    const source = new ClusterMetadata(new MeteredService("source", deps.service, this.#own), deps);
    this.#read = () => read(source);
  }

  async get(): Promise<Value> {
    const { clock, changes } = this.#deps;
    const known = this.#answer;
    const isFresh =
      known !== null && known.change === changes() && clock.monotonicMs() - known.atMs <= this.#ageMsMax;
    const answer = isFresh ? known : this.#ask();
    this.#answer = answer;
    const value = await answer.value;
    this.#meter.add(this.#what, await answer.reading);
    return value;
  }

  #ask(): Answer<Value> {
    const atMs = this.#deps.clock.monotonicMs();
    const change = this.#deps.changes();
    // One after another, so that what each reads is counted as its own.
    const before = (this.#answer?.reading ?? Promise.resolve(noReading)).then(() => this.#own.of("source"));
    const value = before.then(() => this.#read());
    const reading = value.then(async () => combine(this.#own.of("source"), await before, -1));
    return { value, reading, atMs, change };
  }
}

export class SharedMetadata {
  readonly meter: Meter;
  /** For upkeep. */
  readonly upkeep: ClusterMetadata;
  readonly heartbeat: ClusterMetadata;

  constructor(meter: Meter, deps: SharedMetadataDeps) {
    this.meter = meter;
    const shared = <Value>(
      what: string,
      ageMsMax: number,
      read: (source: ClusterMetadata) => Promise<Value>,
    ) => {
      const kind = new SharedRead({ what, ageMsMax }, meter, deps, read);
      return (): Promise<Value> => kind.get();
    };
    const forEver = Number.POSITIVE_INFINITY;
    const upkeep = new ClusterMetadata(new MeteredService("other", deps.service, meter), deps);
    const list = shared("who lives", listingMsMax, (source) => source.peers.list());
    const snapshot = shared("all metadata", forEver, (source) => source.snapshot());
    this.upkeep = override(
      override(upkeep, "snapshot", snapshot),
      "peers",
      override(upkeep.peers, "list", list),
    );
    const heartbeat = new ClusterMetadata(new MeteredService("heartbeats", deps.service, meter), deps);
    const lookClosely = shared("close looks", forEver, (source) => source.adoption.lookClosely());
    this.heartbeat = override(
      heartbeat,
      "adoption",
      override(heartbeat.adoption, "lookClosely", lookClosely),
    );
  }
}

/** `target` with another value for one of its properties. */
function override<Target extends object>(target: Target, name: keyof Target, value: unknown): Target {
  return new Proxy(target, {
    get: (inner, key) => {
      if (key === name) return value;
      const found: unknown = Reflect.get(inner, key, inner);
      return typeof found === "function" ? found.bind(inner) : found;
    },
  });
}
