// What the transaction of a checkpoint changes besides what comes in its company: head and logmap, who is served, and what the volume's history
// is with that head.

import type { VolumeId } from "#model";
import type { HistoryMark } from "./history-machine.ts";
import { historyAfter } from "./history-machine.ts";
import type { VolumePart } from "./keys.ts";
import { volumeKey } from "./keys.ts";
import type { ClientsRecord, CutRecord, HeadRecord, LogMapRecord } from "./records.ts";
import { clientsCodec, cutCodec, headCodec, logMapCodec } from "./records-codec.ts";
import type { Change, Guard } from "./service.ts";
import { historyCodec } from "./snapshot-codec.ts";
import type { VolumeEntries } from "./volume-entries.ts";

/** What an attach says with its first head of those who were served before it and those it will serve. */
export interface SessionsChange {
  /** Takes the place of the record there is: whatever that stood for is in the head. Null for no clients that may come back. */
  readonly clients: ClientsRecord | null;
  /** Null leaves a cut that there is. */
  readonly cut: CutRecord | null;
}

export interface HeadCommit {
  readonly head: HeadRecord;
  readonly logmap: LogMapRecord;
  /** Without it the volume's history stays as it is. Every head of a writer has one. */
  readonly mark?: HistoryMark;
}

/** A key that only the writer changes, and its revision as it last read or wrote it. */
export interface PartWrite {
  readonly part: "head" | "logmap";
  readonly value: string;
  readonly revision: number;
}

export function putPart(volume: VolumeId, part: VolumePart, value: string): Change {
  return { kind: "put", key: volumeKey(volume, part), value };
}

export function headParts(
  { head, logmap }: HeadCommit,
  guards: { readonly head: number; readonly logmap: number },
): PartWrite[] {
  return [
    { part: "head", value: headCodec.encode(head), revision: guards.head },
    { part: "logmap", value: logMapCodec.encode(logmap), revision: guards.logmap },
  ];
}

export function sessionChanges(entries: VolumeEntries, { clients, cut }: SessionsChange): Change[] {
  const changes: Change[] = [];
  if (clients !== null) changes.push(putPart(entries.id, "clients", clientsCodec.encode(clients)));
  else if (entries.has("clients")) changes.push({ kind: "delete", key: volumeKey(entries.id, "clients") });
  if (cut !== null) changes.push(putPart(entries.id, "cut", cutCodec.encode(cut)));
  return changes;
}

/** Guarded by the history as it was read: others change how far it reaches, and whether there is one. */
export function historyChange(
  entries: VolumeEntries,
  { head, mark }: HeadCommit,
  nowMs: number,
): { readonly guards: readonly Guard[]; readonly changes: readonly Change[] } {
  const history = entries.history();
  if (history === null || mark === undefined) return { guards: [], changes: [] };
  const after = historyAfter(history, head, mark, nowMs);
  if (after === history) return { guards: [], changes: [] };
  const value = historyCodec.encode(after);
  return { guards: [entries.guard("history")], changes: [putPart(entries.id, "history", value)] };
}
