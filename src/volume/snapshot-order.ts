// Taking a snapshot from outside: by the volume's writer, or attached for the moment (writer-order.ts). The snapshot is known again by its
// token, so nothing is taken twice.

import type { SnapshotRecord } from "#metadata";
import { requireName } from "#metadata";
import { requireSnapshotRoom } from "./snapshot-keeper.ts";
import type { WriterOrderDeps } from "./writer-order.ts";
import { WriterOrder } from "./writer-order.ts";

export interface SnapshotOrderOptions {
  readonly volume: string;
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  /** Null, or not given: the present. Otherwise the volume's history must have that time. */
  readonly atMs?: number | null;
  /** How long the writer may take. */
  readonly timeoutMs: number;
}

/** A snapshot of `volume` as it is at some moment of this call, or as it was at `atMs`. Rejects as WriterOrder does, and with `already-exists`, `limit`. */
export async function takeSnapshot(
  { volume, name, labels, atMs = null, timeoutMs }: SnapshotOrderOptions,
  deps: WriterOrderDeps,
): Promise<SnapshotRecord> {
  requireName(name, "snapshot");
  const token = deps.random.uuid();
  const options = { volume, order: { kind: "snapshot", name, labels, atMs }, token, timeoutMs } as const;
  const work = new WriterOrder<SnapshotRecord>(
    options,
    {
      resultIn: ({ snapshots }) => {
        const own = snapshots.find((snapshot) => snapshot.token === token);
        if (own === undefined) requireSnapshotRoom(volume, snapshots, name);
        return own ?? null;
      },
      perform: (attached) => attached.orders.takeSnapshot({ name, labels, token, atMs }),
    },
    deps,
  );
  return work.run();
}
