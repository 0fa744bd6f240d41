// Torus errors in NBD words: none is ever success.

import assert from "node:assert/strict";
import { test } from "node:test";
import { errorCodes } from "#model";
import { errno, optionErrorReply, requestErrno } from "./errors.ts";
import { reply } from "./nbd-codec.ts";

test("every code is an error in both dialects", () => {
  const allowed = new Set<number>([errno.permission, errno.io, errno.invalid, errno.noSpace, errno.shutdown]);
  for (const code of errorCodes) {
    assert.ok(allowed.has(requestErrno(code)), code);
    assert.ok(optionErrorReply(code) >= 0x80000000, code);
  }
});

test("the codes that mean something to a client", () => {
  assert.equal(requestErrno("full"), errno.noSpace);
  assert.equal(requestErrno("invalid-argument"), errno.invalid);
  assert.equal(requestErrno("closed"), errno.shutdown);
  assert.equal(requestErrno("attachment-lost"), errno.io);
  assert.equal(optionErrorReply("not-found"), reply.errorUnknown);
  assert.equal(optionErrorReply("busy"), reply.errorPolicy);
});
