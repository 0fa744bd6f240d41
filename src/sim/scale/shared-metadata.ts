// SharedMetadata: the metadata as hundreds of peers of one process read it. Each read is counted as what it would cost; what comes of it is decoded once and
// shared, for as long as it is the same (all metadata) or not older than a second (who lives): decoding would be all that a simulation does.

import type { Clock, Log, Random } from "#host";
import type { CloseLook, ClusterSnapshot, MetadataService, PeerListing } from "#metadata";
import { ClusterMetadata } from "#metadata";
import type { MeterReading } from "./meter.ts";
import { combine, Meter, MeteredService } from "./meter.ts";

interface Shared<Value> {
  readonly value: Value;
  readonly atMs: number;
  readonly change: number;
  readonly reading: MeterReading;
}

export interface SharedMetadataDeps {
  readonly service: MetadataService;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  /** Counts what changes anything but who lives. */
  readonly changes: () => number;
}

const listingMsMax = 1000;

export class SharedMetadata {
  readonly meter: Meter;
  /** For upkeep. */
  readonly upkeep: ClusterMetadata;
  readonly heartbeat: ClusterMetadata;
  readonly #deps: SharedMetadataDeps;
  readonly #readings = new Meter();
  readonly #source: ClusterMetadata;
  #snapshot: Shared<ClusterSnapshot> | null = null;
  #listing: Shared<PeerListing> | null = null;
  #close: Shared<CloseLook> | null = null;

  constructor(meter: Meter, deps: SharedMetadataDeps) {
    this.meter = meter;
    this.#deps = deps;
    this.#source = new ClusterMetadata(new MeteredService("source", deps.service, this.#readings), deps);
    const upkeep = new ClusterMetadata(new MeteredService("other", deps.service, meter), deps);
    const peers = override(upkeep.peers, "list", () => this.#list());
    this.upkeep = override(
      override(upkeep, "snapshot", () => this.#read()),
      "peers",
      peers,
    );
    const heartbeat = new ClusterMetadata(new MeteredService("heartbeats", deps.service, meter), deps);
    const adoption = override(heartbeat.adoption, "lookClosely", () => this.#lookClosely());
    this.heartbeat = override(heartbeat, "adoption", adoption);
  }

  async #read(): Promise<ClusterSnapshot> {
    if (this.#snapshot?.change !== this.#deps.changes())
      this.#snapshot = await this.#share(() => this.#source.snapshot());
    this.meter.add("all metadata", this.#snapshot.reading);
    return this.#snapshot.value;
  }

  async #lookClosely(): Promise<CloseLook> {
    if (this.#close?.change !== this.#deps.changes())
      this.#close = await this.#share(() => this.#source.adoption.lookClosely());
    this.meter.add("close looks", this.#close.reading);
    return this.#close.value;
  }

  async #list(): Promise<PeerListing> {
    const known = this.#listing;
    const isOld = known === null || this.#deps.clock.monotonicMs() - known.atMs > listingMsMax;
    if (isOld || known.change !== this.#deps.changes())
      this.#listing = await this.#share(() => this.#source.peers.list());
    const listing = this.#listing as Shared<PeerListing>;
    this.meter.add("who lives", listing.reading);
    return listing.value;
  }

  async #share<Value>(read: () => Promise<Value>): Promise<Shared<Value>> {
    const change = this.#deps.changes();
    const atMs = this.#deps.clock.monotonicMs();
    const before = this.#readings.of("source");
    const value = await read();
    return { value, atMs, change, reading: combine(this.#readings.of("source"), before, -1) };
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
