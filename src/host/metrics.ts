// Counters and gauges as plain numbers: adding to one is an addition. A gateway reads them when it is asked
// (`collect`), so that the hot path never pays for the export.

export class Counter {
  value = 0;
  add(amount: number): void {
    this.value += amount;
  }
}

export interface MetricSample {
  readonly name: string;
  readonly help: string;
  readonly kind: "counter" | "gauge";
  readonly value: number;
}

interface Entry {
  readonly help: string;
  readonly kind: "counter" | "gauge";
  readonly read: () => number;
}

/** One per process or worker, passed to whatever counts. */
export class Metrics {
  readonly #entries = new Map<string, Entry>();
  readonly #counters = new Map<string, Counter>();

  /** The counter of that name, made at the first call. Names are `torus_<room>_<what>_total`. */
  counter(name: string, help: string): Counter {
    let counter = this.#counters.get(name);
    if (counter === undefined) {
      const made = new Counter();
      counter = made;
      this.#counters.set(name, made);
      this.#entries.set(name, { help, kind: "counter", read: () => made.value });
    }
    return counter;
  }

  /** A value read at collect time; a later call with the same name replaces it. */
  gauge(name: string, help: string, read: () => number): void {
    this.#entries.set(name, { help, kind: "gauge", read });
  }

  collect(): MetricSample[] {
    return [...this.#entries].map(([name, { help, kind, read }]) => ({ name, help, kind, value: read() }));
  }
}
