// The two answers of S3 that are XML: a listing, and an error. Only what we ask for is read.

import { TorusError } from "#model";

export interface ObjectListing {
  readonly keys: readonly string[];
  readonly isTruncated: boolean;
}

const keysMax = 1000;

/** Of ListObjectsV2. Throws `protocol`. */
export function decodeListing(text: string): ObjectListing {
  if (!/<ListBucketResult[\s>]/.test(text))
    throw new TorusError("protocol", "an S3 listing is no ListBucketResult");
  const truncated = /<IsTruncated>\s*(true|false)\s*<\/IsTruncated>/.exec(text);
  if (truncated === null)
    throw new TorusError("protocol", "an S3 listing does not say whether there is more");
  const keys = [...text.matchAll(/<Contents>[\s\S]*?<Key>([^<]*)<\/Key>/g)].map(([, key]) => plain(key));
  if (keys.length > keysMax) throw new TorusError("protocol", "an S3 listing is longer than was asked for");
  return { keys, isTruncated: truncated[1] === "true" };
}

export interface S3Error {
  /** Such as NoSuchKey; "" when the body is no error of S3. */
  readonly code: string;
  readonly message: string;
}

export function decodeError(text: string): S3Error {
  const code = /<Code>([^<]{1,100})<\/Code>/.exec(text);
  const message = /<Message>([^<]{1,1000})<\/Message>/.exec(text);
  return { code: code === null ? "" : plain(code[1]), message: message === null ? "" : plain(message[1]) };
}

const entities: Readonly<Record<string, string>> = { amp: "&", lt: "<", gt: ">", quot: '"', apos: "'" };

function plain(text: string): string {
  return text.replaceAll(/&(amp|lt|gt|quot|apos|#\d{1,7}|#x[0-9a-fA-F]{1,6});/g, (whole, name: string) => {
    if (!name.startsWith("#")) return entities[name];
    const code = name[1] === "x" ? Number.parseInt(name.slice(2), 16) : Number(name.slice(1));
    return code <= 0x10ffff ? String.fromCodePoint(code) : whole;
  });
}
