// What canaries break of the witness that peers bear about the metadata, and of its adoption [C7].

import type { AdoptionPlan, MetadataService, ObservedStore, Range, Snapshot } from "#metadata";
import type { Epoch, FenceBasis, FenceReport, MetadataView, Testimony, VolumeId } from "#model";
import { withService } from "./broken-clients.ts";
import { PassingStore } from "./passing-store.ts";

/** A peer takes whatever metadata there is, and remembers none. */
export class TakesAny implements ObservedStore {
  readonly #store: ObservedStore;
  #first: MetadataView | null = null;

  constructor(store: ObservedStore) {
    this.#store = store;
  }

  get peer(): string {
    return this.#store.peer;
  }

  observe(view: MetadataView): string | Promise<string> {
    this.#first ??= view;
    return this.#store.observe(this.#first, "");
  }

  async testify(after: VolumeId, limit: number): Promise<Testimony> {
    return { ...(await this.#store.testify(after, limit)), view: null, behind: "" };
  }
}

/** A peer remembers no revision, as one that has not looked for long: of what it was shown, only numbers that rarely rise. */
export class RevisionsForgotten implements ObservedStore {
  readonly #store: ObservedStore;

  constructor(store: ObservedStore) {
    this.#store = store;
  }

  get peer(): string {
    return this.#store.peer;
  }

  observe(view: MetadataView, proof: string): string | Promise<string> {
    return this.#store.observe({ ...view, revision: 0 }, proof);
  }

  testify(after: VolumeId, limit: number): Promise<Testimony> {
    return this.#store.testify(after, limit);
  }
}

/** Adopting metadata raises no epoch, and no volume is known as one whose head is old. */
export function raisesNothing(plan: AdoptionPlan): AdoptionPlan {
  return { ...plan, volumes: plan.volumes.map((rise) => ({ ...rise, toEpoch: rise.fromEpoch })) };
}

/** Who attaches does not see that the head is from before an adoption. */
export function adoptedForgotten(service: MetadataService): MetadataService {
  return withService(service, {
    read: async (ranges: readonly Range[]): Promise<Snapshot> => {
      const { revision, ranges: found } = await service.read(ranges);
      return {
        revision,
        ranges: found.map((entries) => entries.filter(({ key }) => !key.endsWith("/adopted"))),
      };
    },
  });
}

/** Fences do not say what they were decided by. */
export class TellsNothing extends PassingStore {
  override fence(volume: VolumeId, epoch: Epoch, logEpoch: Epoch, fromIndex: number): Promise<FenceReport> {
    return super.fence(volume, epoch, logEpoch, fromIndex, null);
  }
}

/** Fences claim to know the head of every epoch that served. */
export class ServedForgotten extends PassingStore {
  override fence(
    volume: VolumeId,
    epoch: Epoch,
    logEpoch: Epoch,
    fromIndex: number,
    basis: FenceBasis | null,
  ): Promise<FenceReport> {
    const all = basis === null ? null : { ...basis, headEpoch: epoch };
    return super.fence(volume, epoch, logEpoch, fromIndex, all);
  }
}
