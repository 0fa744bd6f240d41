// A volume that is limited: fio gets what it was limited to, and other limits while it writes.

import assert from "node:assert/strict";
import { test } from "node:test";
import type { Server } from "./daemons.ts";
import { Daemons, metricsOf, uriOf } from "./daemons.ts";
import { Fio } from "./fio.ts";
import { waitFor } from "./programs.ts";

const commandMsMax = 60_000;

/** How many a second, by the time in which `count` more came. */
async function rateOf(server: Server, metric: string, count: number): Promise<number> {
  const read = async (): Promise<number> => (await metricsOf(server)).get(metric) ?? 0;
  const [before, startedMs] = [await read(), performance.now()];
  let now = before;
  await waitFor(
    `${count} more of ${metric}`,
    async () => (now = await read()) - before >= count,
    commandMsMax,
  );
  return (now - before) / ((performance.now() - startedMs) / 1000);
}

/** Whoever watches the metadata hears of a change a little later, so what was measured first may be of before. */
async function requireRate(server: Server, metric: string, wanted: number): Promise<void> {
  const rates: number[] = [];
  for (let attempt = 0; attempt < 4; attempt++) {
    const rate = await rateOf(server, metric, wanted * 2);
    rates.push(Math.round(rate));
    if (rate > wanted * 0.9 && rate < wanted * 1.1) return;
  }
  assert.fail(`${metric}: ${rates.join(", ")} a second, not ${wanted}`);
}

test("a volume gets the requests and bytes a second it is limited to, and other limits while it is written", async (t) => {
  const daemons = await Daemons.start(t);
  await daemons.torusctl("volume", "create-block", "v", "64MiB", "--iops", "200");
  const server = await daemons.startServer(["v"]);
  const fio = new Fio(daemons.directory, uriOf(server, "v"), [
    ...["--rw=randwrite", "--bs=16k", "--iodepth=16", "--thread", "--size=64MiB"],
    ...["--time_based", "--runtime=600"],
  ]);
  await requireRate(server, "torus_nbd_writes_total", 200);
  await daemons.torusctl("volume", "set", "v", "--iops", "500");
  await requireRate(server, "torus_nbd_writes_total", 500);
  await daemons.torusctl("volume", "set", "v", "--iops", "none", "--bandwidth", "4MiB/s");
  await requireRate(server, "torus_nbd_written_bytes_total", 4 * 2 ** 20);
  const metrics = await metricsOf(server);
  assert.ok((metrics.get("torus_volume_throttled_total") ?? 0) > 500);
  assert.ok((metrics.get("torus_volume_throttled_seconds_total") ?? 0) > 1);
  const { volumes } = JSON.parse(await daemons.torusctl("volume", "list", "-o", "json"));
  assert.deepEqual(volumes[0].qos, { iops: null, bytesPerSecond: 4 * 2 ** 20, burstMs: 100 });
  await daemons.torusctl("volume", "set", "v", "--bandwidth", "0");
  assert.ok(!fio.hasEnded, "fio still writes");
  fio.stop();
  const { error } = await fio.end(commandMsMax);
  assert.equal(error, 0);
  await daemons.stopAll();
});
