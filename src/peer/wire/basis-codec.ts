// What a fence was decided by, after its other arguments, from protocol version 3 on.
//
//   0  u64 head epoch   8 u64 generation   16 u64 revision   24 u64 ring version   32 u64 last volume id
//   40 u16 bytes of the cluster id   42 u16 of the identity   44 the two texts, UTF-8

import type { FenceBasis } from "#model";
import { TorusError } from "#model";
import type { FrameScratch } from "./frame-codec.ts";
import { basisHeadBytes, basisTextBytesMax, frameHeaderBytes } from "./frame-codec.ts";
import { readUint64, writeUint64 } from "./uint64.ts";

const encoder = new TextEncoder();
const decoder = new TextDecoder();

/** Why `basis` does not fit a frame; null when it does. */
export function tooLongBasis(basis: FenceBasis | null): TorusError | null {
  if (basis === null) return null;
  const { clusterId, identity } = basis.view;
  const bytes = Buffer.byteLength(clusterId) + Buffer.byteLength(identity);
  if (bytes <= basisTextBytesMax) return null;
  return new TorusError(
    "invalid-argument",
    `cluster id and identity of the metadata have ${bytes} bytes, the limit is ${basisTextBytesMax}`,
  );
}

/** Encodes `basis` after `before` bytes of arguments, which are in `scratch` already; returns its length. */
export function encodeBasis(scratch: FrameScratch, before: number, { view, headEpoch }: FenceBasis): number {
  const at = frameHeaderBytes + before;
  const { clusterId, identity, generation, revision, ringVersion, lastVolumeId } = view;
  for (const [i, number] of [headEpoch, generation, revision, ringVersion, lastVolumeId].entries())
    writeUint64(scratch.view, at + 8 * i, number);
  let textAt = at + basisHeadBytes;
  for (const [i, text] of [clusterId, identity].entries()) {
    const { written } = encoder.encodeInto(text, scratch.bytes.subarray(textAt));
    scratch.view.setUint16(at + 40 + 2 * i, written, true);
    textAt += written;
  }
  return textAt - at;
}

/** The basis that is all of the `bytes` at `at`; null for none. Throws `protocol` for anything `encodeBasis` did not write. */
export function decodeBasis(view: DataView, at: number, bytes: number): FenceBasis | null {
  if (bytes === 0) return null;
  const isWhole = bytes >= basisHeadBytes;
  const lengths = [0, 1].map((i) => (isWhole ? view.getUint16(at + 40 + 2 * i, true) : 0));
  if (!isWhole || basisHeadBytes + lengths[0] + lengths[1] !== bytes)
    throw new TorusError("protocol", "a fence does not have the length it names");
  let textAt = at + basisHeadBytes;
  const [clusterId, identity] = lengths.map((length) => {
    const text = decoder.decode(new Uint8Array(view.buffer, view.byteOffset + textAt, length));
    textAt += length;
    return text;
  });
  const [headEpoch, generation, revision, ringVersion, lastVolumeId] = [0, 1, 2, 3, 4].map((i) =>
    readUint64(view, at + 8 * i),
  );
  return { view: { clusterId, identity, generation, revision, ringVersion, lastVolumeId }, headEpoch };
}
