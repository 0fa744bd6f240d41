// The spec of a volume <-> the text the metadata service keeps (records-codec.ts).

import { integer, nullable, object, oneOf } from "./record-fields.ts";
import type { QosLimits, VolumeSpec } from "./records.ts";
import { record, recordFields } from "./records-codec.ts";

const { milliseconds, replicas, volumeId, volumeName, volumeSize } = recordFields;

export const iopsMax = 1e9;
export const bytesPerSecondMin = 4096;
export const burstMsMax = 60_000;

const qosLimits = object<QosLimits>({
  iops: nullable(integer(1, iopsMax)),
  bytesPerSecond: nullable(integer(bytesPerSecondMin)),
  burstMs: integer(1, burstMsMax),
});

export const unlimited: QosLimits = { iops: null, bytesPerSecond: null, burstMs: 100 };

/** Format 2 has limits, and files. */
export const specCodec = record<VolumeSpec>(
  {
    id: volumeId,
    name: volumeName,
    kind: oneOf(["block", "file"]),
    sizeBytes: volumeSize,
    acknowledge: oneOf(["replicated", "writeback"]),
    minReplicas: replicas,
    qos: qosLimits,
    createdMs: milliseconds,
  },
  { current: 2, upgrade: { 1: (fields) => ({ ...fields, qos: unlimited }) } },
);
