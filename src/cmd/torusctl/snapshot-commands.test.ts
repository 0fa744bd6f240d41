// torusctl volume snapshot, clone, flatten, resize: with real peers on loopback, and a writer beside it.

import assert from "node:assert/strict";
import { afterEach, beforeEach, it } from "node:test";
import { TorusctlCluster } from "./peers.fixture.ts";

let torusctl: TorusctlCluster;

/** Volume "db" of 1 GiB. */
beforeEach(async () => {
  torusctl = await TorusctlCluster.start();
  await torusctl.json("volume create-block db 1GiB");
});

afterEach(() => torusctl.stop());

const pattern = (letter: string): Buffer => Buffer.alloc(4096, letter);

async function requireFirst(name: string, letter: string): Promise<void> {
  await torusctl.attached(name, async (volume) =>
    assert.deepEqual(Buffer.from(await volume.read(0, 4096)), pattern(letter)),
  );
}

it("torusctl volume snapshot: of an attached volume and of a free one; listed; read; restored; deleted", async () => {
  await torusctl.attached("db", async (volume) => {
    await volume.write(0, pattern("a"), false);
    const taken = await torusctl.run("volume snapshot create db@one --label by=test --label n=1");
    assert.deepEqual([taken.code, taken.err], [0, ""]);
    assert.match(taken.out, /^took snapshot db@one: 4.0 KiB in use of 1.0 GiB/);
    await volume.write(0, pattern("b"), false);
    const busy = await torusctl.run("volume snapshot restore db@one");
    assert.equal(busy.code, 1);
    assert.match(busy.err, /attached by torusblk 7 on n1: detach it there, then restore, or use --force/);
  });
  const { snapshots } = (await torusctl.json("volume snapshot list db")) as {
    snapshots: { createdMs: number }[];
  };
  const [{ createdMs, ...rest }] = snapshots;
  assert.ok(createdMs > 1.7e12);
  const labels = { by: "test", n: "1" };
  assert.deepEqual(rest, {
    volume: "db",
    name: "one",
    sizeBytes: 2 ** 30,
    usedBytes: 4096,
    epoch: 1,
    labels,
  });
  assert.equal((await torusctl.run("block snapshot create db@two")).code, 0);
  await requireFirst("db@one", "a");
  await requireFirst("db@two", "b");
  const again = await torusctl.run("volume snapshot create db@two");
  assert.match(again.err, /has a snapshot "two" already/);
  const restored = await torusctl.run("block snapshot restore db@one");
  assert.deepEqual([restored.code, restored.err], [0, ""]);
  assert.match(
    restored.out,
    /^volume db is what it was at db@one; what it was before is kept as db@before-restore-/,
  );
  await requireFirst("db", "a");
  const listed = await torusctl.run("volume snapshot list");
  assert.match(listed.out, /^db +one +1.0 GiB +4.0 KiB +\d+s ago +by=test n=1$/m);
  assert.match(listed.out, /^db +before-restore-/m);
  const deleted = await torusctl.run("volume snapshot delete db@one db@two");
  assert.equal(deleted.out, "deleted db@one, db@two\n");
  const missing = await torusctl.run("volume snapshot delete db@one");
  assert.equal(missing.code, 1);
  assert.match(missing.err, /volume "db" has no snapshot "one"/);
});

it("torusctl volume snapshot restore --force tells whom it cuts off, and who must have ended before the volume is served again", async () => {
  await torusctl.attached(
    "db",
    async (volume) => {
      await volume.write(0, pattern("a"), false);
      await torusctl.json("volume snapshot create db@one");
      await volume.write(0, pattern("b"), false);
      const forced = await torusctl.run("volume snapshot restore db@one --force");
      assert.equal(forced.code, 0);
      assert.match(forced.out, /^volume db is what it was at db@one; /);
      assert.match(forced.err, /torusblk 7 on n1 had volume db attached and was cut off/);
      assert.match(
        forced.err,
        /clients of torusblk 7 on n1 are cut off: end them, then torusctl volume accept-loss db/,
      );
      await assert.rejects(volume.write(0, pattern("c"), false));
    },
    "anywhere",
  );
  assert.match((await torusctl.run("volume list")).out, /cut off: torusctl volume accept-loss db/);
  await torusctl.json("volume accept-loss db");
  await requireFirst("db", "a");
  const calm = (await torusctl.json("volume snapshot restore db@one")) as object;
  assert.deepEqual([Reflect.get(calm, "replaced"), Reflect.get(calm, "cut")], [null, null]);
});

it("torusctl volume clone and flatten: a clone of a clone; the base goes only when nobody needs its blocks", async () => {
  await torusctl.attached("db", (volume) => volume.write(0, pattern("a"), false));
  await torusctl.json("volume snapshot create db@one");
  const cloned = await torusctl.run("volume clone db@one copy --size 2GiB");
  assert.match(cloned.out, /^cloned db@one as copy: 2.0 GiB/);
  await requireFirst("copy", "a");
  await torusctl.attached("copy", (volume) => volume.write(4096, pattern("c"), false));
  await torusctl.json("volume snapshot create copy@own");
  await torusctl.json("volume clone copy@own third");
  await requireFirst("third", "a");
  assert.match(
    (await torusctl.run("volume list")).out,
    /^copy +2.0 GiB +8.0 KiB +128.0 KiB +clone +free +1 /m,
  );
  const refused = await torusctl.run("volume delete db --force");
  assert.equal(refused.code, 1);
  assert.match(
    refused.err,
    /clones need blocks of volume "db" \(copy, third\): delete them, or torusctl volume flatten/,
  );
  const held = await torusctl.run("volume flatten copy");
  assert.match(held.out, /^volume copy: 4.0 KiB copied, but its snapshots own still need blocks of others/);
  await torusctl.json("volume flatten third");
  await torusctl.json("volume snapshot delete copy@own");
  const flattened = (await torusctl.json("volume flatten copy")) as object;
  assert.deepEqual(flattened, { volume: "copy", movedBytes: 0, heldBy: [], isHeldByHistory: false });
  const snapshots = await torusctl.run("volume delete db");
  assert.match(snapshots.err, /has snapshots \(one\): delete them first, or use --snapshots/);
  assert.equal((await torusctl.run("volume delete db --snapshots")).code, 0);
  await requireFirst("copy", "a");
  await requireFirst("third", "a");
});

it("torusctl volume snapshot: what is asked for wrongly is a usage error that says how", async () => {
  for (const [args, message] of [
    ["volume snapshot create db", /"db" names no snapshot: use VOLUME@SNAPSHOT/],
    ["volume snapshot create db@.x", /snapshot name ".x" starts with a dot/],
    ["volume snapshot create db@a@b", /snapshot name "a@b" has a "@" in it/],
    ["volume snapshot create db@a --label x", /--label "x" is not KEY=VALUE/],
    ["volume snapshot create db@a --timeout 0", /--timeout "0" is not possible/],
    ["volume clone db@one copy --size 3", /size/],
  ] as const) {
    const { code, err } = await torusctl.run(args);
    assert.equal(code, args.includes("--size") ? 1 : 2, `${args}: ${err}`);
    if (!args.includes("--size")) assert.match(err, message);
  }
});

it("torusctl volume snapshot: of what is not there: says which, and leaves nothing behind", async () => {
  await torusctl.attached("db", (volume) => volume.write(0, pattern("a"), false));
  const missing = await torusctl.run("volume snapshot delete db@none");
  assert.equal(missing.code, 1);
  const unknown = await torusctl.run("volume snapshot create nope@one");
  assert.match(unknown.err, /there is no volume named "nope"/);
  const { volumes } = (await torusctl.json("volume list")) as {
    volumes: { snapshots: number; origin: unknown }[];
  };
  assert.deepEqual([volumes[0].snapshots, volumes[0].origin], [0, null]);
});

it("torusctl volume resize: of an attached volume and of a free one; refused and forced; bad sizes are explained", async () => {
  await torusctl.attached("db", async (volume) => {
    const grown = await torusctl.run("volume resize db 2GiB");
    assert.deepEqual([grown.code, grown.out], [0, "volume db has 2.0 GiB\n"]);
    assert.equal(volume.info.sizeBytes, 2 ** 31);
    await volume.write(2 ** 30, pattern("p"), false);
  });
  const refused = await torusctl.run("block resize db 1GiB");
  assert.equal(refused.code, 1);
  assert.match(refused.err, /volume "db" is in use past 1.0 GiB, at byte 1073741824: .*--force/);
  const spec = (await torusctl.json("volume resize db 1GiB --force")) as { name: string; sizeBytes: number };
  assert.deepEqual([spec.name, spec.sizeBytes], ["db", 2 ** 30]);
  for (const [size, message] of [
    ["0", /size "0" is not a size: use a number above zero/],
    ["1000", /size "1000" is 1000 bytes, not a multiple of 4096: use 4KiB/],
    ["257TiB", /up to 256 TiB/],
    ["-1", /unknown option|size/],
  ] as const) {
    const { code, err } = await torusctl.run(`volume resize db ${size}`);
    assert.ok(code > 0, size);
    assert.match(err, message);
  }
  assert.match((await torusctl.run("volume resize nope 1GiB")).err, /there is no volume named "nope"/);
});
