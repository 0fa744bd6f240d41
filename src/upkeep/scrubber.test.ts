// The scrubber on stores on simulated drives: what rots is found, counted and repaired, from whole copies or from several
// damaged ones; what cannot be repaired is told and kept; a round keeps to its period and outlives the process.

import assert from "node:assert/strict";
import { it } from "node:test";
import type { BlockRef, BlockStore, PeerId } from "#model";
import { blockRefKey, crc32, pageBytes, TorusError } from "#model";
import type { DiskStore } from "#storage";
import type { SimulatedDrive } from "../sim/disk.ts";
import { SeededRandom } from "../sim/random.ts";
import type { LogLine, OpenedOn } from "../storage/disk-store.fixture.ts";
import { metric, openOn, SteppedClock, testDrive } from "../storage/disk-store.fixture.ts";
import { noGuard } from "./latency-guard.ts";
import { Pacer } from "./pacer.ts";
import { Scrubber } from "./scrubber.ts";

const dataFileName = "blocks.torus";
const blockPages = 16;
const running = (): boolean => false;

interface ScrubbedPeer {
  readonly drive: SimulatedDrive;
  readonly opened: OpenedOn;
  readonly store: DiskStore;
  readonly scrubber: Scrubber;
  note: string | null;
}

class ScrubbedPeers {
  readonly peers: ScrubbedPeer[] = [];
  readonly clock = new SteppedClock();
  readonly away = new Set<PeerId>();
  readonly refs: BlockRef[] = [];
  readonly condemned = new Set<string>();
  readonly periodMs: number;
  #rounds = 0;

  private constructor(periodMs: number) {
    this.periodMs = periodMs;
  }

  /** `count` peers that all have the same sealed blocks. */
  static async open(count: number, blocks: number, periodMs = 1000): Promise<ScrubbedPeers> {
    const all = new ScrubbedPeers(periodMs);
    for (let i = 0; i < count; i++) {
      const drive = testDrive(i + 1);
      const opened = await openOn(drive.mount(), {}, i + 1);
      all.peers.push(all.peerOf(drive, opened, null));
    }
    for (let index = 1; index <= blocks; index++) {
      const ref = { type: 1, volume: 1, epoch: 1, index };
      const bytes = contentOf(index);
      for (const { store } of all.peers) await store.put(ref, bytes, crc32(bytes), "write");
      all.refs.push(ref);
    }
    return all;
  }

  peerOf(drive: SimulatedDrive, opened: OpenedOn, note: string | null): ScrubbedPeer {
    const { clock } = this;
    const { store, metrics } = opened;
    const peer = { drive, opened, store, note } as ScrubbedPeer & { scrubber: Scrubber };
    const quiet = (): void => {};
    const log = {
      debug: quiet,
      info: quiet,
      warn: quiet,
      error: (message: string) => void opened.lines.push({ level: "error", message } satisfies LogLine),
      child: () => log,
    };
    peer.scrubber = new Scrubber(
      { periodMs: this.periodMs, retryEveryMs: 500 },
      {
        store,
        candidatesOf: () => this.peers.map((other) => other.store.peer),
        storeOf: (id) => this.#storeOf(id),
        isCondemned: (ref) => this.condemned.has(blockRefKey(ref)),
        pacer: new Pacer({ bytesPerSecond: 1e12 }, { clock, guard: noGuard }),
        note: {
          read: () => peer.note,
          write: (text) => {
            peer.note = text;
          },
        },
        clock,
        log,
        metrics,
      },
    );
    return peer;
  }

  #storeOf(id: PeerId): BlockStore {
    if (this.away.has(id)) throw new TorusError("unavailable", `peer ${id} is away`);
    return (this.peers.find(({ store }) => store.peer === id) as ScrubbedPeer).store;
  }

  /** Flips a bit of one copy, on the disk. */
  rot(peer: number, ref: BlockRef, offset: number, bit = 0): void {
    const { drive, store } = this.peers[peer];
    drive.rot(dataFileName, (store.placeOf(ref) as number) + offset, 1 << bit);
  }

  /** A whole round of one peer, at once. */
  async round(peer: number): Promise<void> {
    const { scrubber } = this.peers[peer];
    scrubber.hurry(`round ${++this.#rounds}`);
    await this.clock.until(scrubber.pass(running));
  }

  async requireAllWhole(): Promise<void> {
    for (const { store } of this.peers)
      for (const ref of this.refs) {
        assert.equal(await store.verify(ref), true, blockRefKey(ref));
        assert.deepEqual(
          new Uint8Array(await store.read(ref, 0, blockPages * pageBytes)),
          contentOf(ref.index),
        );
      }
  }

  async close(): Promise<void> {
    for (const { store } of this.peers) await store.close();
  }
}

function contentOf(index: number): Uint8Array {
  return new Uint8Array(blockPages * pageBytes).map((_, i) => (i * index + (i >> 9)) & 255);
}

it("scrubber: a thousand bits flip on three peers, never in all copies of a page: all repaired, all counted", async () => {
  const all = await ScrubbedPeers.open(3, 120);
  const random = new SeededRandom(1000);
  const hurt = new Map<string, Set<number>>();
  const blocks = [new Set<string>(), new Set<string>(), new Set<string>()];
  for (let flips = 0; flips < 1000; ) {
    const ref = random.pick(all.refs);
    const offset = random.uint32() % (blockPages * pageBytes);
    const page = `${ref.index} ${Math.floor(offset / pageBytes)}`;
    const peer = random.uint32() % 3;
    const peers = new Set(hurt.get(page)).add(peer);
    if (peers.size === 3) continue;
    hurt.set(page, peers);
    blocks[peer].add(blockRefKey(ref));
    all.rot(peer, ref, offset, random.uint32() % 8);
    flips += 1;
  }
  for (let peer = 0; peer < 3; peer++) await all.round(peer);
  await all.requireAllWhole();
  for (const [i, { scrubber, opened }] of all.peers.entries()) {
    // Two flips of one bit undo each other, which this seed does not do.
    const { found, repaired, unrepairable } = scrubber.report;
    assert.deepEqual(
      { found, repaired, unrepairable },
      { found: blocks[i].size, repaired: found, unrepairable: 0 },
    );
    assert.equal(metric(opened.metrics, "torus_upkeep_scrub_repaired_blocks_total"), found);
    assert.equal(metric(opened.metrics, "torus_upkeep_scrubbed_blocks_total"), 120);
    assert.equal(scrubber.condition, null);
  }
  await all.close();
});

it("scrubber: without a good copy it says so once, deletes nothing, and repairs when one is there", async () => {
  const all = await ScrubbedPeers.open(2, 3);
  const [first, second] = all.peers;
  all.rot(0, all.refs[1], 7000);
  all.away.add(second.store.peer);
  await all.round(0);
  await all.round(0);
  assert.match(first.scrubber.condition ?? "", /1 damaged block without a good copy/);
  assert.equal(first.opened.lines.filter(({ message }) => /no peer has a good copy/.test(message)).length, 1);
  assert.equal((await first.store.stat([all.refs[1]]))[0].state, "sealed");
  all.away.clear();
  await all.clock.until(new Promise<void>((resolve) => all.clock.setTimer(600, resolve)));
  await all.clock.until(first.scrubber.pass(running));
  assert.equal(first.scrubber.condition, null);
  assert.deepEqual([first.scrubber.report.found, first.scrubber.report.repaired], [1, 1]);
  await all.requireAllWhole();
  await all.close();
});

it("scrubber: a copy of another seal is no source, and neither is an open one", async () => {
  const all = await ScrubbedPeers.open(2, 1);
  const [first, second] = all.peers;
  await second.store.remove(all.refs[0]);
  const other = contentOf(9);
  await second.store.put(all.refs[0], other, crc32(other), "repair");
  all.rot(0, all.refs[0], 7000);
  await all.round(0);
  assert.equal(first.scrubber.report.unrepairable, 1);
  await all.close();
});

it("scrubber: dead blocks are not looked at, and one that is removed is broken no more", async () => {
  const all = await ScrubbedPeers.open(2, 3);
  const [first, second] = all.peers;
  all.away.add(second.store.peer);
  all.rot(0, all.refs[0], 10);
  all.rot(0, all.refs[1], 10);
  all.condemned.add(blockRefKey(all.refs[0]));
  await all.round(0);
  assert.equal(first.scrubber.report.found, 1);
  await first.store.remove(all.refs[1]);
  await all.clock.until(new Promise<void>((resolve) => all.clock.setTimer(600, resolve)));
  await all.clock.until(first.scrubber.pass(running));
  assert.equal(first.scrubber.report.unrepairable, 0);
  await all.close();
});

it("scrubber: a round takes about its period, and goes on where it was after a restart", async () => {
  const all = await ScrubbedPeers.open(1, 50, 100_000);
  const [{ scrubber, drive, opened, store }] = all.peers;
  const looked = (): number => metric(opened.metrics, "torus_upkeep_scrubbed_blocks_total");
  const wait = (ms: number): Promise<void> =>
    all.clock.until(new Promise<void>((resolve) => all.clock.setTimer(ms, resolve)));
  for (let second = 1; second <= 45; second++) {
    await wait(1000);
    await all.clock.until(scrubber.pass(running));
    const share = second / 90;
    assert.ok(Math.abs(looked() / 50 - share) <= 0.03, `${looked()} of 50 after ${second} s`);
  }
  await all.clock.until(scrubber.pass(() => true));
  const { note } = all.peers[0];
  assert.ok(scrubber.report.done > 0.48 && scrubber.report.done < 0.54);
  await store.close();
  drive.killProcess();
  const again = all.peerOf(drive, await openOn(drive.mount()), note);
  all.peers[0] = again;
  await all.clock.until(again.scrubber.pass(running));
  assert.ok(again.scrubber.report.done > 0.48 && again.scrubber.report.done < 0.56, "not from the start");
  for (let second = 46; second <= 88; second++) {
    await wait(1000);
    await all.clock.until(again.scrubber.pass(running));
  }
  const rest = metric(again.opened.metrics, "torus_upkeep_scrubbed_blocks_total");
  assert.ok(rest >= 23 && rest <= 27, `${rest} in the second half`);
  await all.close();
});

it("scrubber: a round that is asked for begins at the start and does not wait", async () => {
  const all = await ScrubbedPeers.open(2, 20, 1_000_000);
  await all.clock.until(all.peers[0].scrubber.pass(running));
  all.rot(0, all.refs[0], 10);
  all.rot(0, all.refs[19], 10);
  await all.round(0);
  assert.equal(all.peers[0].scrubber.report.repaired, 2);
  await all.requireAllWhole();
  await all.close();
});

it("scrubber: a round that is asked for in the midst of another looks at every block", async () => {
  for (let nth = 1; nth <= 3; nth++) {
    const all = await ScrubbedPeers.open(1, 20, 100_000);
    const [{ scrubber, opened, store }] = all.peers;
    const looked = (): number => metric(opened.metrics, "torus_upkeep_scrubbed_blocks_total");
    await all.clock.until(new Promise<void>((resolve) => all.clock.setTimer(45_000, resolve)));
    await all.clock.until(scrubber.pass(running));
    const before = looked();
    assert.ok(before >= 8 && before <= 12, `${before} of 20 after half of the time`);
    const list = store.list.bind(store);
    let lists = 0;
    store.list = async (...args) => {
      const page = await list(...args);
      lists += 1;
      if (lists === nth) scrubber.hurry("t1");
      return page;
    };
    // The rest of the round is due: the last list of its pass is empty.
    await all.clock.until(new Promise<void>((resolve) => all.clock.setTimer(60_000, resolve)));
    while (scrubber.round?.isEnded !== true) await all.clock.until(scrubber.pass(running));
    assert.ok(looked() - before >= 20, `${looked() - before} of 20 when asked at list ${nth}`);
    await all.close();
  }
});

it("scrubber: a round that is asked for goes on after a restart, and is begun anew where a block is unrepaired", async () => {
  for (const isDamaged of [false, true]) {
    const all = await ScrubbedPeers.open(1, 20);
    const [{ scrubber, drive, store }] = all.peers;
    if (isDamaged) all.rot(0, all.refs[0], 10);
    scrubber.hurry("t1");
    let looks = 0;
    await all.clock.until(scrubber.pass(() => ++looks > 10));
    const { note } = all.peers[0];
    const done = scrubber.round?.done ?? 0;
    assert.ok(done > 0.2 && done < 0.8, `${done}`);
    await store.close();
    drive.killProcess();
    const again = all.peerOf(drive, await openOn(drive.mount()), note);
    all.peers[0] = again;
    again.scrubber.hurry("t1");
    await all.clock.until(again.scrubber.pass(running));
    assert.equal(again.scrubber.round?.isEnded, true);
    const looked = metric(again.opened.metrics, "torus_upkeep_scrubbed_blocks_total");
    assert.ok(isDamaged ? looked === 20 : looked < 16, `${looked} after the restart`);
    assert.equal(again.scrubber.report.unrepairable, isDamaged ? 1 : 0);
    await all.close();
  }
});

it("scrubber: a full store repairs all the same", async () => {
  const all = await ScrubbedPeers.open(2, 1);
  const fill = contentOf(3);
  let filled = 0;
  for (; ; filled++) {
    const ref = { type: 0, volume: 2, epoch: 1, index: 100 + filled };
    const done = await all.peers[0].store.put(ref, fill, crc32(fill), "repair").then(
      () => true,
      () => false,
    );
    if (!done) break;
    await all.peers[1].store.put(ref, fill, crc32(fill), "repair");
    all.refs.push(ref);
  }
  assert.ok(filled > 50);
  for (const ref of all.refs) all.rot(0, ref, 20);
  await all.round(0);
  const { found, repaired } = all.peers[0].scrubber.report;
  assert.deepEqual([found, repaired], [filled + 1, filled + 1]);
  await all.close();
});
