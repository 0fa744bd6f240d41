// URLs of etcd.

import assert from "node:assert/strict";
import { it } from "node:test";
import { TorusError } from "#model";
import { parseEtcdUrl } from "./etcd-url.ts";

it("an etcd URL: endpoints, prefix with exactly one slash around, TLS files, user", () => {
  assert.deepEqual(parseEtcdUrl("etcd://n1:2379,n2"), {
    endpoints: [
      { host: "n1", port: 2379 },
      { host: "n2", port: 2379 },
    ],
    tls: null,
    prefix: "/torus/",
    user: null,
    passwordFile: null,
    url: "etcd://n1:2379,n2:2379/torus",
  });
  assert.deepEqual(
    parseEtcdUrl("ETCDS://joe%40x@[fd00::1]:1,10.0.0.1/a/b//?ca=/c%20a&cert=c&key=k&password-file=/p"),
    {
      endpoints: [
        { host: "fd00::1", port: 1 },
        { host: "10.0.0.1", port: 2379 },
      ],
      tls: { ca: "/c a", cert: "c", key: "k" },
      prefix: "/a/b/",
      user: "joe@x",
      passwordFile: "/p",
      url: "etcds://[fd00::1]:1,10.0.0.1:2379/a/b",
    },
  );
  for (const path of ["", "/", "//"]) assert.equal(parseEtcdUrl(`etcd://h${path}`).prefix, "/torus/");
  for (const path of ["/p", "/p/", "//p//"]) assert.equal(parseEtcdUrl(`etcd://h${path}`).prefix, "/p/");
  assert.deepEqual(parseEtcdUrl("etcds://h").tls, { ca: null, cert: null, key: null });
});

it("an etcd URL that is wrong is refused with the reason, and never shows what stands before the @", () => {
  const wrong: [string, RegExp][] = [
    ["etcd:n1:2379", /not of that form/],
    ["etcd://", /"" is not an endpoint/],
    ["etcd://n1,", /"" is not an endpoint/],
    ["etcd://n1:0", /"n1:0" is not an endpoint/],
    ["etcd://n1:65536", /not an endpoint/],
    ["etcd://n 1", /not an endpoint/],
    ["etcd://[::1", /not an endpoint/],
    [`etcd://${Array(17).fill("h").join(",")}`, /17 endpoints; 16 at most/],
    ["etcd://n1/a//b", /"a\/\/b" is not a prefix/],
    ["etcd://n1/a%20b", /not a prefix/],
    ["etcd://n1/ä", /not a prefix/],
    [`etcd://n1/${"p".repeat(129)}`, /129 characters; 128 at most/],
    ["etcd://n1?ca=x", /for TLS: write etcds/],
    ["etcds://n1?cert=x", /cert and key belong together/],
    ["etcds://n1?cert=x&cert=y", /cert= is there twice/],
    ["etcds://n1?ca=", /ca= names no file/],
    ["etcds://n1?ca=%zz", /not percent-encoded/],
    ["etcds://n1?hurry=1", /"hurry" is not one of its parameters/],
    ["etcd://n1?password-file=x", /needs a USER@/],
    ["etcd://@n1", /no user before the @/],
    ["etcd://joe@n1:x/p", /"n1:x" is not an endpoint/],
    ["etcd://joe:secret@n1", /a password does not belong in a metadata URL/],
    ["etcd://joe:secret@n1/p#f", /not of that form/],
  ];
  for (const [url, message] of wrong) {
    assert.throws(
      () => parseEtcdUrl(url),
      (error) => {
        assert.ok(error instanceof TorusError && error.code === "invalid-argument");
        assert.match(error.message, message, url);
        assert.doesNotMatch(error.message, /joe|secret/);
        return true;
      },
    );
  }
});
