// Randomness from the operating system. Owners of a volume and ids of peers are drawn from it, so it must be
// unpredictable and never the same in two processes.

import { randomBytes, randomUUID } from "node:crypto";
import type { Random } from "#host";

export const systemRandom: Random = {
  bytes: (count) => new Uint8Array(randomBytes(count)),
  uint32: () => randomBytes(4).readUInt32LE(0),
  uuid: () => randomUUID(),
};
