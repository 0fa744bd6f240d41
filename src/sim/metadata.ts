// SimMetadata: one metadata service for a simulated cluster, and the bad line each client has to it: late, lost, doubled by a
// client's own retry, applied after the client gave up. A transaction whose answer is lost has happened all the same, and one that was
// held up may happen much later: that is what "outcome unknown" means.
//
// It can lose its last commits, as a database without synchronous writes does at a power cut [C25].

import type { Clock, Timer } from "#host";
import type {
  Change,
  Guard,
  KeyValue,
  MetadataService,
  Range,
  Snapshot,
  StateBackup,
  TransactionResult,
  Watch,
  WatchListener,
} from "#metadata";
import { MemoryMetadataService, MemoryMetadataState } from "#metadata";
import { TorusError } from "#model";
import type { ProcessClock } from "./process-clock.ts";
import type { SeededRandom } from "./random.ts";
import type { World } from "./world.ts";

/** Its name on the simulated network: partitions are between it and machines. */
export const metadataMachine = "meta";
/** The machine of operator.ts. */
export const operatorName = "operator";

const callTimeoutMs = 2000;
const undoMax = 512;

export interface SimMetadataOptions {
  readonly latencyMsMax: number;
  /** One request (and one answer) in so many is lost or held up; 0 for none. */
  readonly troubleOneIn: number;
}

/** Told of every transaction that took effect. */
export type CommitListener = (client: string, changes: readonly Change[]) => void;

export class SimMetadata {
  readonly state: MemoryMetadataState;
  readonly #world: World;
  readonly #options: SimMetadataOptions;
  readonly #random: SeededRandom;
  readonly #onCommit: CommitListener;
  readonly #undo: Change[][] = [];
  #troubled = true;
  #down = false;
  #stores = 1;

  constructor(options: SimMetadataOptions, world: World, onCommit: CommitListener) {
    this.#options = options;
    this.#world = world;
    this.#onCommit = onCommit;
    this.#random = world.random("metadata");
    this.state = new MemoryMetadataState({ historyRevisionsMax: 512 }, { clock: world.clock });
  }

  /** The service as people have it, whose line is always good. */
  admin(): MetadataService {
    const service = new MemoryMetadataService({ state: this.state }, { clock: this.#world.clock });
    return new Proxy(service, {
      get: (target, key) => {
        if (key === "identity") return this.identity;
        const value: unknown = Reflect.get(target, key, target);
        return typeof value === "function" ? value.bind(target) : value;
      },
    });
  }

  /** The service as process `clock` on machine `name` reaches it. */
  client(name: string, clock: ProcessClock): MetadataService {
    return new SimMetadataClient(name, clock, this);
  }

  /** Nobody gets an answer until it is up again. */
  setDown(down: boolean): void {
    this.#down = down;
  }

  /** From now on every request arrives and is answered. */
  calm(): void {
    this.#troubled = false;
    this.#down = false;
  }

  /** Of the store that keeps it. */
  get identity(): string {
    return `sim ${this.#stores}`;
  }

  /** All is as it was when `backup` was made; `elsewhere`: kept by another store. */
  restore(backup: StateBackup, elsewhere: boolean): void {
    this.hasGoneBack = true;
    this.#undo.length = 0;
    if (elsewhere) this.#stores += 1;
    this.state.restore(backup);
  }

  /** Transactions were lost, once at least. */
  hasGoneBack = false;

  /** The last `count` transactions are gone. */
  loseLast(count: number): void {
    this.hasGoneBack = true;
    for (let i = 0; i < count && this.#undo.length > 0; i++) this.state.transact([], this.#undo.pop() ?? []);
  }

  // What follows is for SimMetadataClient.

  latencyMs(): number {
    return 0.1 + (this.#options.latencyMsMax * this.#random.uint32()) / 2 ** 32;
  }

  get clock(): Clock {
    return this.#world.clock;
  }

  get isDown(): boolean {
    return this.#down;
  }

  /** Whether what is sent from `source` to `target` arrives now. The operator's line is always good. */
  passes(source: string, target: string): boolean {
    if (source === operatorName || target === operatorName) return true;
    if (this.#down || this.#world.network.parted(source, target)) return false;
    const { troubleOneIn } = this.#options;
    return !this.#troubled || troubleOneIn === 0 || !this.#random.oneIn(troubleOneIn);
  }

  /** How long something that did not arrive is held up; null when it is lost. */
  heldUpMs(): number | null {
    return this.#random.oneIn(2) ? this.#random.between(50, 5000) : null;
  }

  transact(client: string, guards: readonly Guard[], changes: readonly Change[]): TransactionResult {
    const before = this.state.read(changes.map(({ key }) => ({ key }))).ranges.map((range) => range.at(0));
    const result = this.state.transact(guards, changes);
    if (!result.committed) return result;
    this.#undo.push(changes.map((change, i) => inverseOf(change, before[i])));
    if (this.#undo.length > undoMax) this.#undo.shift();
    this.#world.trace.add("meta", `${client} commits ${result.revision}: ${changes.map(describe).join(" ")}`);
    this.#onCommit(client, changes);
    return result;
  }
}

/** What a leased key was before cannot be brought back: its lease may be gone. */
function inverseOf({ key }: Change, before: KeyValue | undefined): Change {
  if (before === undefined || before.lease !== 0) return { kind: "delete", key };
  return { kind: "put", key, value: before.value };
}

function describe(change: Change): string {
  return change.kind === "put" ? `${change.key}=${change.value}` : `-${change.key}`;
}

class SimMetadataClient implements MetadataService {
  readonly url = "sim:";
  readonly failure = null;
  readonly #name: string;
  readonly #clock: ProcessClock;
  readonly #service: SimMetadata;
  readonly #watching: MemoryMetadataService;
  #closed = false;

  constructor(name: string, clock: ProcessClock, service: SimMetadata) {
    this.#name = name;
    this.#clock = clock;
    this.#service = service;
    const late: Clock = {
      monotonicMs: () => clock.monotonicMs(),
      wallMs: () => clock.wallMs(),
      setTimer: (delayMs, callback) => this.#deliver(delayMs, callback),
    };
    this.#watching = new MemoryMetadataService({ state: service.state }, { clock: late });
  }

  get identity(): string {
    return this.#service.identity;
  }

  read(ranges: readonly Range[]): Promise<Snapshot> {
    return this.#call(() => this.#service.state.read(ranges));
  }

  transact(guards: readonly Guard[], changes: readonly Change[]): Promise<TransactionResult> {
    return this.#call(() => this.#service.transact(this.#name, guards, changes));
  }

  watch(prefix: string, fromRevision: number, listener: WatchListener): Watch {
    return this.#watching.watch(prefix, fromRevision, listener);
  }

  grantLease(ttlMs: number): Promise<number> {
    return this.#call(() => this.#service.state.grantLease(ttlMs));
  }

  renewLease(lease: number): Promise<void> {
    return this.#call(() => this.#service.state.renewLease(lease));
  }

  revokeLease(lease: number): Promise<void> {
    return this.#call(() => this.#service.state.revokeLease(lease));
  }

  async close(): Promise<void> {
    this.#closed = true;
    await this.#watching.close();
  }

  /** Events of a watch, when the line lets them through. */
  #deliver(delayMs: number, callback: () => void): Timer {
    let timer = this.#clock.setTimer(delayMs + this.#service.latencyMs(), () => attempt());
    const attempt = (): void => {
      if (this.#service.passes(metadataMachine, this.#name)) callback();
      else timer = this.#clock.setTimer(200, attempt);
    };
    return { cancel: () => timer.cancel() };
  }

  #call<Result>(run: () => Result): Promise<Result> {
    if (this.#closed) return Promise.reject(new TorusError("closed", "the metadata service was closed"));
    return new Promise((resolve, reject) => {
      let settled = false;
      const settle = (finish: () => void): void => {
        if (settled) return;
        settled = true;
        timer.cancel();
        finish();
      };
      const timer = this.#clock.setTimer(callTimeoutMs, () =>
        settle(() => reject(new TorusError("timeout", "the metadata service did not answer in time"))),
      );
      this.#pass(this.#name, metadataMachine, () => {
        let finish: () => void;
        try {
          const result = run();
          finish = () => resolve(result);
        } catch (error) {
          finish = () => reject(error);
        }
        this.#pass(metadataMachine, this.#name, () => this.#clock.setTimer(0, () => settle(finish)));
      });
    });
  }

  /** `arrive` runs when the message gets through, which may be late, or never. */
  #pass(source: string, target: string, arrive: () => void): void {
    const service = this.#service;
    service.clock.setTimer(service.latencyMs(), () => {
      if (service.passes(source, target)) {
        arrive();
        return;
      }
      const heldUpMs = service.heldUpMs();
      if (heldUpMs !== null) service.clock.setTimer(heldUpMs, () => this.#pass(source, target, arrive));
    });
  }
}
