// The write machine: who holds what, in any order of answers, losses and strikes.

import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import type { BlockStatus, PeerId } from "#model";
import { blockType, encodeBlockRef, pageBytes, recordFrameLayout } from "#model";
import type { WriteBlock, WriteCommand } from "./write-block.ts";
import { WriteMachine } from "./write-machine.ts";

const peers = ["a", "b", "c"];
const blockPages = 16;

function machine(): WriteMachine {
  return new WriteMachine({ appendsInFlightMax: 2, appendBytesMax: 4 * pageBytes });
}

function ref(index: number) {
  return { type: blockType.data, volume: 1, epoch: 1, index };
}

/** A buffer whose records have one page each: header pages at even pages. */
function recordsOfOnePage(): Uint8Array {
  const buffer = new Uint8Array(blockPages * pageBytes);
  const view = new DataView(buffer.buffer);
  for (let page = 0; page < blockPages; page += 2) {
    encodeBlockRef(ref(1), view, page * pageBytes + recordFrameLayout.ref);
    view.setUint16(page * pageBytes + recordFrameLayout.pages, 1, true);
  }
  return buffer;
}

function open(m: WriteMachine, index: number, base: number, members: readonly PeerId[] = peers): WriteBlock {
  return m.open(ref(index), base, blockPages * pageBytes, recordsOfOnePage(), members);
}

function answer(m: WriteMachine, command: WriteCommand, durable: boolean): void {
  const generation = m.generation(command.peer);
  if (command.kind === "append")
    m.appended(command.peer, generation, command.block, {
      held: command.to,
      durable: durable ? command.to : 0,
    });
  else if (command.kind === "sync") {
    m.synced(
      command.peer,
      generation,
      command.blocks,
      command.blocks.map((block) => {
        const member = block.members.find((candidate) => candidate.peer === command.peer);
        return { held: member?.held ?? 0, durable: member?.held ?? 0 };
      }),
    );
  } else m.sealed(command.peer, generation, command.block);
}

test("nothing is held before the last member holds it", () => {
  const m = machine();
  const block = open(m, 1, 0);
  m.extend(block, 2 * pageBytes);
  const commands = m.commands();
  assert.equal(commands.length, 3);
  answer(m, commands[0], false);
  answer(m, commands[1], false);
  assert.equal(m.held, 0);
  answer(m, commands[2], false);
  assert.equal(m.held, 2 * pageBytes);
  assert.equal(m.durable, 0);
});

test("what is durable on two members of three is not durable", () => {
  const m = machine();
  const block = open(m, 1, 0);
  m.extend(block, 2 * pageBytes);
  for (const command of m.commands()) answer(m, command, false);
  m.requestDurable(m.held);
  const syncs = m.commands();
  assert.deepEqual(
    syncs.map((command) => command.kind),
    ["sync", "sync", "sync"],
  );
  answer(m, syncs[0], true);
  answer(m, syncs[1], true);
  assert.equal(m.durable, 0);
  answer(m, syncs[2], true);
  assert.equal(m.durable, 2 * pageBytes);
});

test("nothing in block i + 1 is held before all of block i is", () => {
  const m = machine();
  const first = open(m, 1, 0);
  m.extend(first, 2 * pageBytes);
  m.end(first, 7);
  const second = open(m, 2, 2 * pageBytes);
  m.extend(second, 2 * pageBytes);
  const commands = m.commands();
  for (const command of commands)
    if (command.kind === "append" && command.block === second) answer(m, command, true);
  assert.equal(m.held, 0);
  assert.equal(m.durable, 0);
  for (const command of commands)
    if (command.kind === "append" && command.block === first) answer(m, command, true);
  assert.equal(m.held, 4 * pageBytes);
});

test("an append ends with a whole record, also when it must be split", () => {
  const m = machine();
  const block = open(m, 1, 0);
  m.extend(block, 14 * pageBytes);
  for (const command of m.commands()) {
    assert.ok(command.kind === "append");
    assert.equal(command.to % (2 * pageBytes), 0);
    assert.ok(command.to - command.from <= 4 * pageBytes);
  }
});

test("answers to what was sent before a peer was lost are void", () => {
  const m = machine();
  const block = open(m, 1, 0);
  m.extend(block, 2 * pageBytes);
  const commands = m.commands();
  const generations = commands.map((command) => m.generation(command.peer));
  m.lost("a");
  for (const [i, command] of commands.entries()) {
    if (command.kind === "append")
      m.appended(command.peer, generations[i], command.block, { held: command.to, durable: command.to });
  }
  assert.equal(m.held, 0);
});

test("a member that comes back is sent what it lacks, with the same bytes", () => {
  const m = machine();
  const block = open(m, 1, 0);
  m.extend(block, 4 * pageBytes);
  for (const command of m.commands()) answer(m, command, false);
  m.lost("b");
  const status: BlockStatus = {
    ref: block.ref,
    state: "open",
    held: 2 * pageBytes,
    durable: 2 * pageBytes,
    checksum: 0,
    cut: true,
    damaged: false,
  };
  assert.ok(m.back("b", [block], [status]));
  const again = m.commands();
  assert.equal(again.length, 1);
  assert.ok(
    again[0].kind === "append" &&
      again[0].peer === "b" &&
      again[0].from === 2 * pageBytes &&
      again[0].to === 4 * pageBytes,
  );
});

test("a peer that claims other bytes than it was sent is not taken back", () => {
  const m = machine();
  const block = open(m, 1, 0);
  m.extend(block, 2 * pageBytes);
  m.lost("b");
  const status = { ref: block.ref, durable: 0, checksum: 1, cut: false, damaged: false };
  assert.equal(m.back("b", [block], [{ ...status, state: "open", held: 4 * pageBytes }]), false);
  assert.equal(m.back("b", [block], [{ ...status, state: "sealed", held: 2 * pageBytes }]), false);
});

test("what was sent on a connection that broke may arrive after the peer was asked again", () => {
  const m = machine();
  const block = open(m, 1, 0);
  m.extend(block, 14 * pageBytes);
  for (const command of m.commands()) answer(m, command, false);
  m.commands();
  m.lost("b");
  // Killed and started again, it lost what it had in memory; what it is sent may be there before it was asked, or after.
  const status = { ref: block.ref, checksum: 0, cut: true, damaged: false };
  assert.ok(m.back("b", [block], [{ ...status, state: "open", held: 0, durable: 0 }]));
  const again = m.commands().filter(({ peer }) => peer === "b");
  assert.deepEqual(
    again.map((command) => command.kind === "append" && command.to / pageBytes),
    [4, 8],
  );
  const generation = m.generation("b");
  m.appended("b", generation, block, { held: 14 * pageBytes, durable: 0 });
  assert.equal(m.held, 8 * pageBytes, "as far as the others have said");
  assert.deepEqual(
    m.commands().filter(({ kind, peer }) => kind === "append" && peer === "b"),
    [],
    "nothing is left to send",
  );
  const more = { held: 16 * pageBytes, durable: 0 };
  assert.throws(() => m.appended("b", generation, block, more), /claims to hold more/);
});

test("a strike lets the others go on, and positions never go back", () => {
  const m = machine();
  const block = open(m, 1, 0);
  m.extend(block, 2 * pageBytes);
  for (const command of m.commands()) if (command.peer !== "c") answer(m, command, true);
  m.lost("c");
  assert.equal(m.held, 0);
  m.end(block, 1);
  m.strike("c", 1, 2);
  assert.equal(m.held, 2 * pageBytes);
  assert.equal(m.durable, 2 * pageBytes);
  m.readmit("c");
  assert.deepEqual(m.unsealedOf("c"), []);
});

test("blocks leave in order, sealed on every member", () => {
  const m = machine();
  const first = open(m, 1, 0);
  m.extend(first, 2 * pageBytes);
  m.end(first, 9);
  for (let round = 0; round < 3; round++) for (const command of m.commands()) answer(m, command, true);
  assert.deepEqual(m.takeSealed(), [first]);
  assert.equal(m.durable, 2 * pageBytes);
});

test("property: whatever the order of answers and losses, held is what all members hold", () => {
  fc.assert(
    fc.property(fc.array(fc.nat(99), { minLength: 10, maxLength: 120 }), (moves) => {
      const m = machine();
      let block = open(m, 1, 0);
      let index = 1;
      let end = 0;
      const truth = new Map<PeerId, Map<number, number>>(peers.map((peer) => [peer, new Map()]));
      const flying: { command: WriteCommand; generation: number }[] = [];
      let held = 0;
      for (const move of moves) {
        if (move < 40 && !block.ended && block.length + 2 * pageBytes <= block.capacity) {
          m.extend(block, block.length + 2 * pageBytes);
          end += 2 * pageBytes;
        } else if (move < 50 && !block.ended && block.length > 0) {
          m.end(block, 5);
          index += 1;
          block = open(m, index, end);
        } else if (move < 90 && flying.length > 0) {
          const [{ command, generation }] = flying.splice(move % flying.length, 1);
          if (command.kind === "append") {
            const has = truth.get(command.peer)?.get(command.block.ref.index) ?? 0;
            // What was sent before the peer was lost may arrive later than what it was asked since: then it holds more.
            const now = Math.max(has, command.to);
            truth.get(command.peer)?.set(command.block.ref.index, now);
            m.appended(command.peer, generation, command.block, { held: now, durable: 0 });
          }
        } else if (move >= 90) {
          const peer = peers[move % 3];
          m.lost(peer);
          const blocks = m.unsealedOf(peer);
          const statuses = blocks.map((one) => {
            const has = truth.get(peer)?.get(one.ref.index) ?? 0;
            return {
              ref: one.ref,
              state: "open" as const,
              held: has,
              durable: 0,
              checksum: 0,
              cut: false,
              damaged: false,
            };
          });
          assert.ok(m.back(peer, blocks, statuses));
        }
        for (const command of m.commands())
          if (command.kind === "append") flying.push({ command, generation: m.generation(command.peer) });
        assert.ok(m.held >= held, "held never goes back");
        held = m.held;
        for (const one of m.blocks) {
          const below = Math.min(one.length, Math.max(0, held - one.base));
          for (const peer of peers)
            assert.ok((truth.get(peer)?.get(one.ref.index) ?? 0) >= below, "every member holds what is held");
        }
      }
    }),
    { numRuns: 300 },
  );
});
