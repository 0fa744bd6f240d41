// What canaries put between the operator (or a client) and the metadata service to break a rule of snapshots each.

import type { Change, Guard, MetadataService, TransactionResult } from "#metadata";
import { withService } from "./broken-clients.ts";

type Fields = Record<string, unknown>;

const earlierMs = 3000;

function withFields(change: Change & { kind: "put" }, fields: Fields): Change {
  return { ...change, value: JSON.stringify({ ...(JSON.parse(change.value) as Fields), ...fields }) };
}

/** A restored head says that the log is to be replayed from its start, over the snapshot. */
export function restoreReplays(service: MetadataService): MetadataService {
  return withService(service, {
    transact: (guards: readonly Guard[], changes: readonly Change[]): Promise<TransactionResult> => {
      const isRestore = guards.some(({ key, revision }) => key.includes("/snapshots/") && revision > 0);
      const replaying = (change: Change): Change =>
        isRestore && change.kind === "put" && change.key.endsWith("/head")
          ? withFields(change, { replayFrom: 1, sequence: 0, previous: 0, ended: false })
          : change;
      return service.transact(guards, changes.map(replaying));
    },
  });
}

/** Who wants a snapshot does not ask the writer, but names the head there is. */
export function snapshotOfHead(service: MetadataService): MetadataService {
  return withService(service, {
    transact: async (guards: readonly Guard[], changes: readonly Change[]): Promise<TransactionResult> => {
      const [asked] = changes;
      const key = /^(volumes\/[0-9a-f]+)\/requests\/(.+)$/.exec(asked.key);
      if (key === null || asked.kind !== "put") return service.transact(guards, changes);
      const [, volume, token] = key;
      const { ranges } = await service.read([{ key: `${volume}/head` }, { key: `${volume}/spec` }]);
      if (ranges[0].length === 0 || ranges[1].length === 0) return service.transact(guards, changes);
      const { epoch, root, ringVersion, usedBytes, logBytes, replayFrom } = JSON.parse(
        ranges[0][0].value,
      ) as Fields;
      const { sizeBytes } = JSON.parse(ranges[1][0].value) as Fields;
      const { order, createdMs } = JSON.parse(asked.value) as { order: Fields; createdMs: number };
      const { name, labels } = order;
      const of = {
        token,
        sizeBytes,
        epoch,
        root,
        endIndex: replayFrom,
        ringVersion,
        usedBytes,
        logBytes,
        labels,
      };
      const value = JSON.stringify({ format: 1, name, createdMs, ...of });
      return service.transact([], [{ kind: "put", key: `${volume}/snapshots/${String(name)}`, value }]);
    },
  });
}

/** The newest point of a history says a time that is long before that of its last record. */
export function pointsTooEarly(service: MetadataService): MetadataService {
  const earlier = (change: Change): Change => {
    if (change.kind !== "put" || !change.key.endsWith("/history")) return change;
    const { points } = JSON.parse(change.value) as { points: readonly { readonly timeMs: number }[] };
    const [last, before] = [points.at(-1), points.at(-2)];
    if (last === undefined || before === undefined) return change;
    const timeMs = Math.max(before.timeMs, last.timeMs - earlierMs);
    return withFields(change, { points: [...points.slice(0, -1), { ...last, timeMs }] });
  };
  return withService(service, {
    transact: (guards: readonly Guard[], changes: readonly Change[]): Promise<TransactionResult> =>
      service.transact(guards, changes.map(earlier)),
  });
}

/** A size is committed alone: the head stays what it was, with all that was past the new end. */
export function sizeAlone(service: MetadataService): MetadataService {
  return withService(service, {
    transact: async (guards: readonly Guard[], changes: readonly Change[]): Promise<TransactionResult> => {
      const head = changes.find(({ key }) => key.endsWith("/head"));
      const isResize = head !== undefined && changes.some(({ key }) => key.endsWith("/spec"));
      if (!isResize) return service.transact(guards, changes);
      const { ranges } = await service.read([{ key: head.key }]);
      const before = ranges[0].at(0);
      const without = changes.filter((change) => change !== head);
      if (before === undefined) return service.transact(guards, changes);
      return service.transact(guards, [...without, { kind: "put", key: head.key, value: before.value }]);
    },
  });
}
