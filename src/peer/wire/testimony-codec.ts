// The answer to testify: what a peer remembers of the metadata, and its volumes.
//
//   0  u64 generation   8 u64 revision   16 u64 ring version   24 u64 last volume id   32 u64 as of, in ms   40 u32 flags (1: there is a view)
//   44 u32 traces   48 u16 bytes of the cluster id   50 u16 of the identity   52 u16 of the reason why metadata is refused   54 u16 flags (1: next is given)
//   56 the three texts, UTF-8; then the traces {u64 volume, u64 epoch, u64 blocks}
//
// `next` is the last trace's volume: it needs no place of its own.

import type { MetadataView, Testimony, VolumeTrace } from "#model";
import { assert, TorusError, volumeIdMax } from "#model";
import type { FrameScratch } from "./frame-codec.ts";
import {
  frameHeaderBytes,
  testimonyHeadBytes,
  testimonyTextBytesMax,
  traceBytes,
  tracesMax,
} from "./frame-codec.ts";
import { readUint64, writeUint64 } from "./uint64.ts";

const encoder = new TextEncoder();
const decoder = new TextDecoder();
const noView: MetadataView = {
  clusterId: "",
  identity: "",
  generation: 0,
  revision: 0,
  ringVersion: 0,
  lastVolumeId: 0,
};

/** Encodes `testimony` into `scratch`; returns its length. A reason that is too long is cut. */
export function encodeTestimony(scratch: FrameScratch, testimony: Testimony): number {
  const { view: seen, behind, asOfMs, volumes, next } = testimony;
  assert(volumes.length <= tracesMax, "a testimony names at most tracesMax volumes");
  scratch.reserve(testimonyHeadBytes + testimonyTextBytesMax + volumes.length * traceBytes);
  const { view, bytes } = scratch;
  const { clusterId, identity, generation, revision, ringVersion, lastVolumeId } = seen ?? noView;
  let at = frameHeaderBytes;
  for (const [i, number] of [generation, revision, ringVersion, lastVolumeId, asOfMs].entries())
    writeUint64(view, at + 8 * i, number);
  view.setUint32(at + 40, seen === null ? 0 : 1, true);
  view.setUint32(at + 44, volumes.length, true);
  view.setUint16(at + 54, next === null ? 0 : 1, true);
  let textAt = at + testimonyHeadBytes;
  const textEnd = textAt + testimonyTextBytesMax;
  for (const [i, text] of [clusterId, identity, behind].entries()) {
    const { written } = encoder.encodeInto(text, bytes.subarray(textAt, textEnd));
    view.setUint16(at + 48 + 2 * i, written, true);
    textAt += written;
  }
  at = textAt;
  for (const { volume, epoch, blocks } of volumes) {
    writeUint64(view, at, volume);
    writeUint64(view, at + 8, epoch);
    writeUint64(view, at + 16, blocks);
    at += traceBytes;
  }
  return at - frameHeaderBytes;
}

/** Throws `protocol` for anything `encodeTestimony` did not write, or that does not answer the question. */
export function readTestimony(
  question: { readonly after: number; readonly limit: number },
  view: DataView,
  at: number,
  argumentBytes: number,
): Testimony {
  const isWhole = argumentBytes >= testimonyHeadBytes;
  const count = isWhole ? view.getUint32(at + 44, true) : 0;
  const lengths = [0, 1, 2].map((i) => (isWhole ? view.getUint16(at + 48 + 2 * i, true) : 0));
  const textBytes = lengths[0] + lengths[1] + lengths[2];
  if (!isWhole || testimonyHeadBytes + textBytes + count * traceBytes !== argumentBytes)
    throw wrong("does not have the length it names");
  if (count > question.limit) throw wrong(`names ${count} volumes where ${question.limit} were asked for`);
  const flags = [view.getUint32(at + 40, true), view.getUint16(at + 54, true)];
  if (flags[0] > 1 || flags[1] > 1 || (flags[1] === 1 && count === 0))
    throw wrong("has a flag of no meaning");
  let textAt = at + testimonyHeadBytes;
  const [clusterId, identity, behind] = lengths.map((length) => {
    const text = decoder.decode(new Uint8Array(view.buffer, view.byteOffset + textAt, length));
    textAt += length;
    return text;
  });
  const [generation, revision, ringVersion, lastVolumeId, asOfMs] = [0, 1, 2, 3, 4].map((i) =>
    readUint64(view, at + 8 * i),
  );
  const volumes = readTraces(view, textAt, count, question.after);
  return {
    view: flags[0] === 0 ? null : { clusterId, identity, generation, revision, ringVersion, lastVolumeId },
    behind,
    asOfMs,
    volumes,
    next: flags[1] === 0 ? null : volumes[count - 1].volume,
  };
}

/** In order, each once: whoever raises epochs above these must not have skipped one. */
function readTraces(view: DataView, start: number, count: number, after: number): VolumeTrace[] {
  const traces: VolumeTrace[] = [];
  let last = after;
  for (let at = start; traces.length < count; at += traceBytes) {
    const volume = readUint64(view, at);
    if (volume <= last || volume > volumeIdMax) throw wrong(`names volume ${volume} after ${last}`);
    traces.push({ volume, epoch: readUint64(view, at + 8), blocks: readUint64(view, at + 16) });
    last = volume;
  }
  return traces;
}

function wrong(what: string): TorusError {
  return new TorusError("protocol", `an answer about the metadata ${what}`);
}
