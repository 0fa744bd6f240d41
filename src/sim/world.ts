// World: what everything in one simulated run shares: the clock, the network, the numbers from the seed, the trace, and the first
// thing found wrong.
//
// Each user of random numbers takes a stream of its own by name, so that a fault left out of a plan changes nothing else.

import type { Log, LogFields } from "#host";
import { Metrics } from "#host";
import { AssertionFailure, crc32 } from "#model";
import { SimClock } from "./clock.ts";
import type { SimNetworkOptions } from "./network.ts";
import { SimNetwork, simNetworkDefaults } from "./network.ts";
import { SeededRandom } from "./random.ts";
import { Trace } from "./trace.ts";

/** What a checker found: the run ends with the first. */
export interface Violation {
  /** Which rule was broken, in a word or two. */
  readonly rule: string;
  readonly message: string;
  readonly atMs: number;
}

export interface WorldOptions {
  readonly seed: number;
  readonly network: Partial<SimNetworkOptions>;
  /** Told every line of the trace. */
  readonly onLine?: (line: string) => void;
}

export class World {
  readonly clock = new SimClock();
  readonly network: SimNetwork;
  readonly trace: Trace;
  /** What clients got: requests answered OK, attachments, requests refused for lack of space, and attaches begun after the first of them. */
  readonly counts = { answered: 0, attached: 0, full: 0, attachesOnFull: 0 };
  /** Of all clients together. */
  readonly metrics = new Metrics();
  readonly #seed: number;
  #violation: Violation | null = null;

  constructor(options: WorldOptions) {
    this.#seed = options.seed;
    this.network = new SimNetwork(
      { ...simNetworkDefaults, ...options.network },
      { clock: this.clock, random: this.random("network") },
    );
    this.trace = new Trace(this.clock, options.onLine ?? null);
  }

  get violation(): Violation | null {
    return this.#violation;
  }

  /** The stream of numbers called `name`, from its start. */
  random(name: string): SeededRandom {
    return new SeededRandom(this.#seed, crc32(Buffer.from(name)));
  }

  /** Notes what is wrong; the first counts. */
  violate(rule: string, message: string): void {
    if (this.#violation !== null) return;
    this.#violation = { rule, message, atMs: this.clock.monotonicMs() };
    // Without a stack, in which is also who runs this: the same history must have the same lines.
    this.trace.add("checker", `VIOLATION ${rule}: ${message.split("\n", 1)[0]}`);
  }

  /** An error that no fault explains. */
  violateBy(error: unknown, where: string): void {
    const text = error instanceof Error ? (error.stack ?? error.message) : String(error);
    this.violate(error instanceof AssertionFailure ? "assertion" : "unexpected error", `${where}: ${text}`);
  }

  /** The log of a process: its lines are part of the trace. */
  log(who: string, onLine: (message: string, fields: LogFields) => void = () => {}): Log {
    return this.#log(who, {}, onLine);
  }

  #log(who: string, own: LogFields, onLine: (message: string, fields: LogFields) => void): Log {
    const at =
      (level: string) =>
      (message: string, fields: LogFields = {}): void => {
        const all = { ...own, ...fields };
        this.trace.add(who, `${level} ${message} ${describe(all)}`);
        onLine(message, all);
      };
    return {
      debug: () => {},
      info: at("info"),
      warn: at("warn"),
      error: at("error"),
      child: (fields) => this.#log(who, { ...own, ...fields }, onLine),
    };
  }
}

function describe(fields: LogFields): string {
  return JSON.stringify(fields, (_, value: unknown) => (value instanceof Error ? value.message : value));
}
