// The history of volumes in the metadata service: how far back each is to reach, which people decide, and which instants it has, which the volume's
// writer adds with its heads (head-changes.ts).

import type { VolumeId } from "#model";
import type { ChangeDeps } from "./guarded-change.ts";
import { commitChange } from "./guarded-change.ts";
import { putPart } from "./head-changes.ts";
import { requireKeepMs } from "./history-machine.ts";
import { volumeKey } from "./keys.ts";
import type { HistoryRecord } from "./records.ts";
import { historyCodec } from "./snapshot-codec.ts";
import { VolumeEntries } from "./volume-entries.ts";
import type { VolumeRegistry } from "./volume-registry.ts";

export interface FoundHistory {
  readonly history: HistoryRecord;
  /** modRevision of its key, for guards. */
  readonly revision: number;
}

export class HistoryRegistry {
  readonly #deps: ChangeDeps & { readonly volumes: VolumeRegistry };

  constructor(deps: ChangeDeps & { readonly volumes: VolumeRegistry }) {
    this.#deps = deps;
  }

  /**
   * How far back the history of a volume is to reach from now on; null for none: what only it needs is collected. It begins with the next checkpoint of
   * the volume's writer, and becomes shorter with one. `not-found`, `invalid-argument`.
   */
  async keep(volume: string, keepMs: number | null): Promise<void> {
    if (keepMs !== null) requireKeepMs(keepMs);
    await commitChange<void>(`change the history of volume "${volume}"`, this.#deps, async () => {
      const entries = await this.#deps.volumes.findEntries(volume);
      const history = entries.history();
      if ((history?.keepMs ?? null) === keepMs) return { done: undefined };
      const guards = [entries.guard("spec"), entries.guard("history")];
      const key = volumeKey(entries.id, "history");
      if (keepMs === null) return { guards, changes: [{ kind: "delete", key }], result: () => undefined };
      const value = historyCodec.encode({ keepMs, points: history?.points ?? [] });
      const changes = [putPart(entries.id, "history", value)];
      return { guards, changes, result: () => undefined };
    });
  }

  /** Null when the volume keeps none. */
  async load(volume: VolumeId): Promise<FoundHistory | null> {
    const key = volumeKey(volume, "history");
    const { ranges } = await this.#deps.service.read([{ key }]);
    const entries = new VolumeEntries(volume, ranges[0]);
    const history = entries.history();
    return history === null ? null : { history, revision: entries.revisionOf("history") };
  }
}
