// BLOCK_STATUS: asks the device about a range, in each context that the client chose, and makes the chunks of the reply. The reply is made
// in whole before any of it is sent: it is all right, or one error.

import type { BlockDevice } from "#volume";
import { extentsMax } from "./limits.ts";
import type { MetaContext } from "./meta-contexts.ts";
import { extentsOf, statusFlags } from "./meta-contexts.ts";
import type { NbdRequest } from "./nbd-codec.ts";
import { commandFlag } from "./nbd-codec.ts";
import { decodeStatusFilter, encodeStatusPayload } from "./reply-codec.ts";
import type { ServedExport } from "./transmission-machine.ts";
import { isInside } from "./transmission-machine.ts";

export interface StatusRequest {
  readonly offset: number;
  readonly length: number;
  /** The client wants no more than one extent of each context. */
  readonly one: boolean;
  readonly contexts: readonly MetaContext[];
}

/** What is asked for; null when it makes no sense. A payload names contexts and has the length. */
export function readStatusRequest(
  request: NbdRequest,
  payload: Buffer,
  served: ServedExport,
): StatusRequest | null {
  const { flags, offset, length } = request;
  const one = (flags & commandFlag.requestOne) !== 0;
  if ((flags & commandFlag.payloadLength) === 0) return { offset, length, one, contexts: served.contexts };
  const filter = decodeStatusFilter(payload);
  if (filter === null || filter.length === 0 || !isInside(offset, filter.length, served.sizeBytes))
    return null;
  const contexts = served.contexts.filter(({ id }) => filter.ids.includes(id));
  if (contexts.length === 0 || contexts.length < filter.ids.length) return null;
  return { offset, length: filter.length, one, contexts };
}

/** Memory that the answer may take. */
export function statusBytesMax({ one, contexts }: StatusRequest): number {
  return contexts.length * (one ? 1 : extentsMax) * 16;
}

/** The payloads of the chunks, at least one. */
export function blockStatus(
  { offset, length, one, contexts }: StatusRequest,
  isExtended: boolean,
  device: BlockDevice,
): Promise<readonly Buffer[]> {
  const countMax = one ? 1 : extentsMax;
  return Promise.all(
    contexts.map(async (context) => {
      const extents = await extentsOf(context, device, { offset, length, countMax });
      return encodeStatusPayload(isExtended, context.id, extents, statusFlags(context));
    }),
  );
}
