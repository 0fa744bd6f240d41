// What a client is told of an export before it uses it: what it can do, and the information it asks for.

import type { BlockDeviceInfo } from "#volume";
import { payloadBytesMax } from "./limits.ts";
import type { MetaContext } from "./meta-contexts.ts";
import type { HeaderStyle } from "./nbd-codec.ts";
import { encodeInfoBlockSize, encodeInfoText, information, transmissionFlag } from "./nbd-codec.ts";

/** The information items that are among `wants`; others are not known and left out. */
export function encodeWanted(asked: number, wants: readonly number[], info: BlockDeviceInfo): Buffer[] {
  const replies: Buffer[] = [];
  if (wants.includes(information.name)) replies.push(encodeInfoText(asked, information.name, info.name));
  if (wants.includes(information.description) && info.description !== "") {
    replies.push(encodeInfoText(asked, information.description, info.description));
  }
  if (wants.includes(information.blockSize)) {
    replies.push(encodeInfoBlockSize(asked, 1, preferredBlockBytes(info), payloadBytesMax));
  }
  return replies;
}

/** A power of two of at least 512, as the protocol wants it, and no more than a payload. */
function preferredBlockBytes(info: BlockDeviceInfo): number {
  let bytes = 512;
  while (bytes < info.preferredBytes && bytes < payloadBytesMax) bytes *= 2;
  return bytes;
}

/** Never ROTATIONAL: a log makes its own order. */
export function exportFlags(
  info: BlockDeviceInfo,
  style: HeaderStyle,
  contexts: readonly MetaContext[],
): number {
  return (
    transmissionFlag.hasFlags |
    transmissionFlag.sendFlush |
    transmissionFlag.sendFua |
    transmissionFlag.sendTrim |
    transmissionFlag.sendWriteZeroes |
    transmissionFlag.sendFastZero |
    transmissionFlag.canMultiConn |
    transmissionFlag.sendCache |
    (style === "simple" ? 0 : transmissionFlag.sendDf) |
    (style === "extended" && contexts.length > 0 ? transmissionFlag.blockStatusPayload : 0) |
    (info.readOnly ? transmissionFlag.readOnly : 0)
  );
}
