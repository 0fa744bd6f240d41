// The HTTP server: metrics as Prometheus reads them, health as a status code, and nothing else.

import assert from "node:assert/strict";
import { test } from "node:test";
import type { Log } from "#host";
import { Metrics } from "#host";
import { isTorusError } from "#model";
import { encodeMetrics } from "./metrics-text-codec.ts";
import { serveHttp } from "./server.ts";

const silent = (): void => {};
const log: Log = { debug: silent, info: silent, warn: silent, error: silent, child: () => log };
const anywhere = { host: "127.0.0.1", port: 0 };

test("samples of one name stand together, labels are escaped", () => {
  const help = "Blocks\\here.\nReally.";
  const text = encodeMetrics([
    { name: "a", help, kind: "gauge", value: 1, labels: { peer: 'p"1\\' } },
    { name: "b_total", help: "B.", kind: "counter", value: Number.POSITIVE_INFINITY },
    { name: "a", help, kind: "gauge", value: 2.5, labels: { peer: "p2", zone: "z" } },
  ]);
  assert.equal(
    text,
    '# HELP a Blocks\\\\here.\\nReally.\n# TYPE a gauge\na{peer="p\\"1\\\\"} 1\na{peer="p2",zone="z"} 2.5\n' +
      "# HELP b_total B.\n# TYPE b_total counter\nb_total +Inf\n",
  );
});

test("metrics, health, and what is not there", async () => {
  const metrics = new Metrics();
  metrics.counter("torus_test_total", "Tests.").add(3);
  let healthy = true;
  const health = () => ({ healthy, detail: 7 });
  const serving = await serveHttp(anywhere, { metrics, log, health });
  const base = `http://127.0.0.1:${serving.address.port}`;
  try {
    const answer = await fetch(`${base}/metrics?x=1`);
    assert.match(answer.headers.get("content-type") ?? "", /version=0\.0\.4/);
    assert.match(await answer.text(), /^torus_test_total 3$/m);
    assert.deepEqual(await (await fetch(`${base}/healthz`)).json(), { status: "ok", detail: 7 });
    healthy = false;
    assert.equal((await fetch(`${base}/healthz`)).status, 503);
    assert.equal((await fetch(`${base}/other`)).status, 404);
    assert.equal((await fetch(`${base}/metrics`, { method: "POST", body: "x" })).status, 405);
    assert.equal((await fetch(`${base}/healthz`, { method: "HEAD" })).status, 503);
    await assert.rejects(serveHttp(serving.address, { metrics, log }), (error) =>
      isTorusError(error, "busy"),
    );
  } finally {
    await serving.close();
  }
});

test("a source that fails is an error of that request only", async () => {
  const metrics = { collect: () => Promise.reject(new Error("no")) };
  const serving = await serveHttp(anywhere, { metrics, log });
  const base = `http://127.0.0.1:${serving.address.port}`;
  assert.equal((await fetch(`${base}/metrics`)).status, 500);
  assert.deepEqual(await (await fetch(`${base}/healthz`)).json(), { status: "ok" });
  await serving.close();
});
