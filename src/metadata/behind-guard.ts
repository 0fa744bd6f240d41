// The alarm that the metadata went back [C7]: while its key stands, nothing is decided that could give out a number twice or let data
// go. Whoever attaches, creates or deletes reads it together with what he decides from, and guards its absence.

import { metadataBehind } from "#model";
import { behindKey } from "./keys.ts";
import { behindCodec } from "./records-codec.ts";
import type { Guard, KeyValue } from "./service.ts";

/** To be read beside what is decided from. */
export const behindRange = { key: behindKey } as const;
/** To be guarded beside what is decided. */
export const behindGuard: Guard = { key: behindKey, revision: 0 };

/** What the alarm in `entries`, of `behindRange`, says; "" without one. */
export function behindReason(entries: readonly KeyValue[]): string {
  const alarm = entries.at(0);
  if (alarm === undefined) return "";
  const { reason, noticedBy } = behindCodec.decode(alarm.key, alarm.value);
  return `${reason} (noticed by ${noticedBy})`;
}

/** Throws `metadata-behind` when `entries`, of `behindRange`, have the alarm. */
export function requireNotBehind(entries: readonly KeyValue[]): void {
  const reason = behindReason(entries);
  if (reason !== "") throw metadataBehind(reason);
}
