// What torusd and a store of it say to each other.

import type { MetricSample } from "#host";
import type { LogLevel } from "#host/node";
import type { CollectedRecord, ScrubReport, UpkeepReport } from "#metadata";
import type { ErrorCode, ErrorDetails, MetadataView, PeerId, Testimony, VolumeId } from "#model";
import { isTorusError, messageOf, TorusError } from "#model";
import type { HostPort, StoreSize } from "./config.ts";
import type { StoreMemory } from "./memory-plan.ts";

/** What a store starts with. */
export interface StoreStart {
  readonly directory: string;
  readonly size: StoreSize;
  /** Of the store's file, as `DiskStoreOptions`. */
  readonly cachedBytesMax: number;
  /** Its share of what the daemon may take, and all of that. */
  readonly memory: StoreMemory;
  readonly memoryBytesMax: number;
  readonly blockBytes: number;
  readonly clusterId: string;
  readonly address: HostPort;
  /** Upkeep reads it by itself. */
  readonly metadataUrl: string;
  readonly heartbeatMs: number;
  readonly repairAfterMs: number;
  readonly repairBytesPerSecond: number;
  readonly collectGraceMs: number;
  readonly scrubPeriodMs: number;
  /** Its metrics are served. */
  readonly isMeasured: boolean;
  readonly logLevel: LogLevel;
}

export type ToStore =
  | { readonly kind: "report"; readonly request: number }
  | StoreQuestion
  | { readonly kind: "stop" };

/** What the store is asked about the metadata, and shown of it. */
export type StoreQuestion =
  | { readonly kind: "testify"; readonly request: number; readonly after: VolumeId; readonly limit: number }
  | {
      readonly kind: "observe";
      readonly request: number;
      readonly view: MetadataView;
      readonly proof: string;
    };

export type StoreAnswer =
  | { readonly kind: "testimony"; readonly request: number; readonly testimony: Testimony }
  | { readonly kind: "observed"; readonly request: number; readonly behind: string }
  | { readonly kind: "refused"; readonly request: number; readonly error: ErrorMessage };

export type FromStore =
  | ({ readonly kind: "ready" } & StoreReady)
  | { readonly kind: "failed"; readonly error: ErrorMessage }
  | ({ readonly kind: "report"; readonly request: number } & StoreReport)
  | StoreAnswer
  | { readonly kind: "stopped"; readonly error: ErrorMessage | null };

export interface StoreReady {
  readonly peer: PeerId;
  readonly incarnation: number;
  /** With the real port. */
  readonly address: HostPort;
  readonly sizeBytes: number;
}

/** Each null before there is one. */
export interface UpkeepReports {
  readonly upkeep: UpkeepReport | null;
  readonly collected: CollectedRecord | null;
  readonly scrub: ScrubReport | null;
}

export interface StoreReport extends UpkeepReports {
  readonly usedBytes: number;
  readonly blocks: number;
  /** "ok", or what is wrong. */
  readonly condition: string;
  readonly metrics: readonly MetricSample[];
}

/** A TorusError does not pass a line as one. */
export interface ErrorMessage {
  readonly code: ErrorCode;
  readonly message: string;
  readonly details: ErrorDetails;
}

export function encodeError(error: unknown): ErrorMessage {
  if (isTorusError(error)) return { code: error.code, message: error.message, details: error.details };
  const text = error instanceof Error ? (error.stack ?? messageOf(error)) : messageOf(error);
  return { code: "io", message: text, details: {} };
}

export function decodeError({ code, message, details }: ErrorMessage): TorusError {
  return new TorusError(code, message, details);
}
