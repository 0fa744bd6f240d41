// torusctl volume set --keep-history, volume history, volume restore: with real peers on loopback, and a writer beside it.

import assert from "node:assert/strict";
import { afterEach, beforeEach, it } from "node:test";
import { systemClock } from "#host/node";
import { TorusctlCluster } from "./peers.fixture.ts";

const pattern = (letter: string): Buffer => Buffer.alloc(4096, letter);

let torusctl: TorusctlCluster;

/** Volume "db" of 1 GiB. */
beforeEach(async () => {
  torusctl = await TorusctlCluster.start();
  await torusctl.json("volume create-block db 1GiB");
});

afterEach(() => torusctl.stop());

async function requireFirst(name: string, letter: string): Promise<void> {
  await torusctl.attached(name, async (volume) =>
    assert.deepEqual(Buffer.from(await volume.read(0, 4096)), pattern(letter)),
  );
}

it("torusctl volume restore: what the volume was at a time, as a new volume or in place; what that costs", async () => {
  assert.match(
    (await torusctl.run("volume restore db --at -5s --to then")).err,
    /volume "db" keeps no history: torusctl volume set db --keep-history 24h begins one/,
  );
  const set = await torusctl.run("volume set db --keep-history 24h");
  assert.match(
    set.out,
    /^volume db can be restored to any time of the last 24h, from its next checkpoint on/,
  );
  const times: string[] = [];
  const tick = async (): Promise<void> => {
    times.push(new Date(Math.floor(systemClock.wallMs()) + 1).toISOString());
    await new Promise((resolve) => setTimeout(resolve, 5));
  };
  await torusctl.attached("db", async (volume) => {
    await tick();
    for (const letter of ["a", "b", "c"]) {
      await volume.write(0, pattern(letter), false);
      await tick();
    }
    const [, first] = times;
    const made = await torusctl.run(`volume restore db --at ${first} --to then`);
    assert.deepEqual([made.code, made.err], [0, ""]);
    assert.match(made.out, new RegExp(`^volume then is what db was at ${first}: 1.0 GiB`));
    const busy = await torusctl.run(`volume restore db --at ${first} --in-place`);
    assert.match(busy.err, /attached by torusblk 7 on n1: detach it there, then restore, or use --force/);
  });
  await requireFirst("then", "a");
  await requireFirst("db", "c");
  const past = await torusctl.run(`volume snapshot create db@past --at ${times[2]}`);
  assert.equal(past.code, 0, past.err);
  await requireFirst("db@past", "b");
  const back = (await torusctl.json(`volume restore db --at ${times[2]} --in-place`)) as { kept: string };
  await requireFirst("db", "b");
  await requireFirst(`db@${back.kept}`, "c");
  const { snapshots } = (await torusctl.json("volume snapshot list db")) as { snapshots: { name: string }[] };
  assert.deepEqual(
    snapshots.map(({ name }) => name).sort(),
    [back.kept, "past"].sort(),
    "none is left behind",
  );
  assert.match((await torusctl.run("volume list")).out, /^db .* 24h, [\d.]+ [KMG]iB +replicated/m);
  const history = (await torusctl.json("volume history db")) as { keepMs: number; points: unknown[] };
  assert.equal(history.keepMs, 86_400_000);
  assert.ok(history.points.length >= 2);
  assert.match((await torusctl.run("volume history db")).out, /^keeps 24h; .* are there for it alone/m);
  await torusctl.json("volume set db --keep-history none");
  assert.match((await torusctl.run("volume history db")).err, /keeps no history/);
  await torusctl.json("volume create-block kept 1GiB --keep-history 90min");
  assert.match((await torusctl.run("volume list")).out, /^kept .* 90min, 0 B +replicated/m);
});

it("torusctl volume restore, set: what is asked for wrongly is a usage error that says how", async () => {
  for (const [args, message] of [
    ["volume restore db --to x", /--at/],
    ["volume restore db --at yesterday --to x", /--at "yesterday" is not a time: use ISO 8601/],
    ["volume restore db --at -5m", /say whether to make a new volume of it/],
    ["volume set db", /nothing to set/],
    ["volume set db --keep-history 1w", /--keep-history "1w" is not a time/],
  ] as const) {
    const { code, err } = await torusctl.run(args);
    assert.equal(code, 2, `${args}: ${err}`);
    assert.match(err, message);
  }
});
