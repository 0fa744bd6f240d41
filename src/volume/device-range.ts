// The range of a request, checked: a gateway has done so already, so what is wrong here is a program's mistake, told as an error.

import { TorusError } from "#model";
import type { BlockDeviceInfo } from "./block-device.ts";

/** What is wrong with bytes [offset, offset + length) of a device; null when nothing is. */
export function rangeProblem(info: BlockDeviceInfo, offset: number, length: number): TorusError | null {
  const integers = Number.isSafeInteger(offset) && Number.isSafeInteger(length);
  if (integers && offset >= 0 && length >= 0 && offset + length <= info.sizeBytes) return null;
  return new TorusError(
    "invalid-argument",
    `bytes ${offset} to ${offset + length} are not within the ${info.sizeBytes} of "${info.name}"`,
  );
}
