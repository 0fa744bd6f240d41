// The first page of a file's volume <-> how long the file is (docs/formats/file.md). A page of zeroes is that of a file nothing was ever
// written to.

import { crc32, pageBytes, TorusError, volumeBytesMax } from "#model";

const magic = Buffer.from("TorusFil", "latin1");
const version = 1;
const checksumAt = pageBytes - 4;

/** The longest a file can be: a volume less its first page. */
export const fileBytesMax = volumeBytesMax - pageBytes;

export function encodeFileHeader(lengthBytes: number): Buffer {
  const page = Buffer.alloc(pageBytes);
  magic.copy(page);
  page.writeUInt32LE(version, 8);
  page.writeDoubleLE(lengthBytes, 16);
  page.writeUInt32LE(crc32(page.subarray(0, checksumAt)), checksumAt);
  return page;
}

/** Throws `corrupt`, or `unsupported` for a version of the future. */
export function decodeFileHeader(bytes: Uint8Array): number {
  const page = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
  if (page.length !== pageBytes) throw damaged("it is not a page");
  if (page.every((byte) => byte === 0)) return 0;
  if (!page.subarray(0, 8).equals(magic)) throw damaged("it does not begin as one");
  if (page.readUInt32LE(checksumAt) !== crc32(page.subarray(0, checksumAt)))
    throw damaged("its checksum is wrong");
  const written = page.readUInt32LE(8);
  if (written !== version)
    throw new TorusError(
      "unsupported",
      `the file has format ${written}; this Torus knows ${version}: use a newer one`,
    );
  const lengthBytes = page.readDoubleLE(16);
  if (!Number.isSafeInteger(lengthBytes) || lengthBytes < 0 || lengthBytes > fileBytesMax)
    throw damaged(`it has a length of ${lengthBytes}`);
  return lengthBytes;
}

function damaged(why: string): TorusError {
  return new TorusError("corrupt", `the first page of the file is damaged: ${why}`);
}
