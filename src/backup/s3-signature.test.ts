// The signer against what AWS publishes: the vectors of its Signature Version 4 test suite, and the examples of the S3 API reference
// (https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html).

import assert from "node:assert/strict";
import { it } from "node:test";
import type { SignableRequest } from "./s3-signature.ts";
import { amzDate, authorizationOf, encodePath, encodeQuery, sha256 } from "./s3-signature.ts";

const suite = {
  credentials: {
    accessKeyId: "AKIDEXAMPLE",
    secretAccessKey: "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY",
    sessionToken: null,
  },
  region: "us-east-1",
  service: "service",
};

const plain = {
  method: "GET",
  path: "/",
  query: {},
  headers: { host: "example.amazonaws.com", "x-amz-date": "20150830T123600Z" },
  bodyDigest: sha256(""),
} as const;

for (const [name, request, signature] of [
  ["get-vanilla", plain, "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"],
  [
    "post-vanilla",
    { ...plain, method: "POST" },
    "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b",
  ],
  [
    "get-vanilla-query-order-key-case",
    { ...plain, query: { Param2: "value2", Param1: "value1" } },
    "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500",
  ],
  [
    "get-vanilla-empty-query-key",
    { ...plain, query: { Param1: "value1" } },
    "a67d582fa61cc504c4bae71f336f98b97f1ea3c7a6bfe1b6e45aec72011b9aeb",
  ],
  [
    "get-utf8",
    { ...plain, path: encodePath("/ሴ") },
    "8318018e0b0f223aa2bbf98705b62bb787dc9c0e678f255a891fd03141be5d85",
  ],
] as const)
  it(`S3 signature: AWS test suite: ${name}`, () => {
    assert.equal(signatureOf(request, suite), signature);
  });

const s3 = {
  credentials: {
    accessKeyId: "AKIAIOSFODNN7EXAMPLE",
    secretAccessKey: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
    sessionToken: null,
  },
  region: "us-east-1",
  service: "s3",
};

const headers = {
  host: "examplebucket.s3.amazonaws.com",
  "x-amz-content-sha256": sha256(""),
  "x-amz-date": "20130524T000000Z",
};

for (const [name, request, signature] of [
  [
    "GET object",
    { ...plain, path: "/test.txt", headers: { ...headers, range: "bytes=0-9" } },
    "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
  ],
  [
    "PUT object",
    {
      ...plain,
      method: "PUT",
      path: encodePath("/test$file.text"),
      headers: {
        ...headers,
        date: "Fri, 24 May 2013 00:00:00 GMT",
        "x-amz-content-sha256": sha256("Welcome to Amazon S3."),
        "x-amz-storage-class": "REDUCED_REDUNDANCY",
      },
      bodyDigest: sha256("Welcome to Amazon S3."),
    },
    "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd",
  ],
  [
    "list objects",
    { ...plain, query: { "max-keys": "2", prefix: "J" }, headers },
    "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7",
  ],
] as const)
  it(`S3 signature: example of the API reference: ${name}`, () => {
    assert.equal(signatureOf(request, s3), signature);
  });

it("S3 signature: dates, paths and queries as they are sent", () => {
  assert.equal(amzDate(Date.UTC(2015, 7, 30, 12, 36, 0, 999)), "20150830T123600Z");
  assert.equal(encodePath("/a b/ü!*'()~/x"), "/a%20b/%C3%BC%21%2A%27%28%29~/x");
  assert.equal(encodeQuery({ prefix: "a/b", "list-type": "2" }), "list-type=2&prefix=a%2Fb");
  assert.match(
    authorizationOf(plain, suite),
    /^AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE\/20150830\/us-east-1\/service\/aws4_request, SignedHeaders=host;x-amz-date, Signature=/,
  );
});

function signatureOf(request: SignableRequest, scope: Parameters<typeof authorizationOf>[1]): string {
  return authorizationOf(request, scope).slice(-64);
}
