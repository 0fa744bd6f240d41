// DurablePosition: the highest position that the record headers of a block name as durable on every member. A volume's
// recovery must not end below it, so headers count even where the records before them no longer verify.

import type { BlockRef } from "#model";
import {
  blockRefBytes,
  decodeRecordFrame,
  encodeBlockRef,
  pageBytes,
  recordFrameLayout,
  recordMagic,
} from "#model";

export interface DurablePosition {
  readonly index: number;
  readonly offset: number;
  /** Pages that start as a header of this block does were found, valid or not. */
  readonly claimed: boolean;
}

/** Looks at every page of `bytes` (block `ref` from its start) from byte `from` on. */
export function durablePositionIn(bytes: Uint8Array, ref: BlockRef, from: number): DurablePosition {
  encodeBlockRef(ref, new DataView(refBytes.buffer), 0);
  let index = 0;
  let offset = 0;
  let claimed = false;
  for (let at = from; at + pageBytes <= bytes.length; at += pageBytes) {
    if (!isClaim(bytes, at)) continue;
    claimed = true;
    const frame = decodeRecordFrame(bytes, at);
    if (frame === null || frame.offset !== at || frame.durableIndex < index) continue;
    if (frame.durableIndex > index || frame.durableOffset > offset) {
      index = frame.durableIndex;
      offset = frame.durableOffset;
    }
  }
  return { index, offset, claimed };
}

/** Of the ref looked for. */
const refBytes = new Uint8Array(blockRefBytes);

/** The page at `at` starts as a record header of the ref in `refBytes` does; its sums are not looked at. */
function isClaim(bytes: Uint8Array, at: number): boolean {
  const view = new DataView(bytes.buffer, bytes.byteOffset + at, pageBytes);
  if (view.getUint32(recordFrameLayout.magic, true) !== recordMagic) return false;
  const from = at + recordFrameLayout.ref;
  return Buffer.compare(bytes.subarray(from, from + blockRefBytes), refBytes) === 0;
}
