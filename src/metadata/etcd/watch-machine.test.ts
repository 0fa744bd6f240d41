// The watch machine: order, no gap, no duplicate, whatever the stream does.

import assert from "node:assert/strict";
import { it } from "node:test";
import { array, assert as check, constantFrom, integer, property, tuple } from "fast-check";
import type { ChangeEvent, WatchResponse } from "./response-codec.ts";
import { type WatchCommand, WatchMachine } from "./watch-machine.ts";

const event = (revision: number, key = "k"): ChangeEvent => ({
  kind: "put",
  entry: { key, value: "", createRevision: 1, modRevision: revision, lease: 0 },
});

function response(part: Partial<WatchResponse> & { revision?: number }): {
  readonly kind: "response";
  readonly response: WatchResponse;
} {
  const { revision = 0, ...rest } = part;
  const plain = {
    created: false,
    canceled: false,
    fragment: false,
    compactRevision: 0,
    cancelReason: "",
    events: [],
  };
  return { kind: "response", response: { ...plain, header: { clusterId: 1n, revision }, ...rest } };
}

const delivered = (commands: readonly WatchCommand[]): number[] =>
  commands.flatMap((command) =>
    command.kind === "deliver" ? command.events.map(({ entry }) => entry.modRevision) : [],
  );

it("goes on after the last delivered revision when the stream breaks, and drops what comes twice", () => {
  const machine = new WatchMachine(10);
  assert.deepEqual(machine.handle({ kind: "opened" }), [{ kind: "create", startRevision: 11 }]);
  assert.deepEqual(machine.handle(response({ created: true, revision: 10 })), []);
  assert.deepEqual(
    delivered(machine.handle(response({ events: [event(11), event(13), event(13, "l")] }))),
    [11, 13, 13],
  );
  assert.deepEqual(machine.handle({ kind: "ended" }), [{ kind: "reopen", delayMs: 0 }]);
  assert.deepEqual(machine.handle({ kind: "opened" }), [{ kind: "create", startRevision: 14 }]);
  assert.deepEqual(delivered(machine.handle(response({ events: [event(13), event(14)] }))), [14]);
});

it("a revision in fragments is delivered whole, or asked for again when the stream breaks in it", () => {
  const machine = new WatchMachine(0);
  machine.handle({ kind: "opened" });
  assert.deepEqual(
    delivered(machine.handle(response({ fragment: true, events: [event(1), event(2, "a")] }))),
    [1],
  );
  assert.deepEqual(machine.handle(response({ fragment: true, events: [event(2, "b")] })), []);
  assert.deepEqual(delivered(machine.handle(response({ events: [event(2, "c"), event(3)] }))), [2, 2, 2, 3]);
  machine.handle(response({ fragment: true, events: [event(4, "a"), event(4, "b")] }));
  machine.handle({ kind: "ended" });
  assert.deepEqual(machine.handle({ kind: "opened" }), [{ kind: "create", startRevision: 4 }]);
  assert.deepEqual(delivered(machine.handle(response({ events: [event(4, "a"), event(4, "b")] }))), [4, 4]);
});

it("a progress notice moves the place to go on from, but not inside a revision and never back", () => {
  const machine = new WatchMachine(5);
  machine.handle(response({ revision: 100 }));
  assert.deepEqual(machine.handle({ kind: "opened" }), [{ kind: "create", startRevision: 101 }]);
  machine.handle(response({ revision: 50 }));
  machine.handle(response({ fragment: true, events: [event(101)] }));
  machine.handle(response({ revision: 200 }));
  assert.deepEqual(machine.handle({ kind: "opened" }), [{ kind: "create", startRevision: 101 }]);
});

it("compaction is a reset, the last thing that happens", () => {
  const machine = new WatchMachine(5);
  const commands = machine.handle(response({ canceled: true, compactRevision: 9 }));
  assert.deepEqual(commands, [{ kind: "reset", reason: "changes up to revision 9 are compacted" }]);
  assert.deepEqual(machine.handle(response({ events: [event(10)] })), []);
  assert.deepEqual(machine.handle({ kind: "ended" }), []);
});

it("a member that is behind is asked about: only a store that is behind is a reset", () => {
  const machine = new WatchMachine(20);
  assert.deepEqual(machine.handle(response({ created: true, revision: 12 })), [
    { kind: "confirm", delivered: 20 },
  ]);
  assert.deepEqual(machine.handle({ kind: "confirmed", delivered: 20, revision: 20 }), []);
  assert.deepEqual(delivered(machine.handle(response({ events: [event(25)] }))), [25]);
  assert.deepEqual(
    machine.handle({ kind: "confirmed", delivered: 20, revision: 22 }),
    [],
    "an answer that came late",
  );
  assert.equal(machine.handle({ kind: "confirmed", delivered: 25, revision: 24 })[0].kind, "reset");
});

it("opening again is slower and slower, up to a bound, until it works", () => {
  const machine = new WatchMachine(0);
  const delays = Array.from({ length: 12 }, () => {
    const [command] = machine.handle({ kind: "ended" });
    return command.kind === "reopen" ? command.delayMs : -1;
  });
  assert.deepEqual(delays, [0, 40, 80, 160, 320, 640, 1280, 2000, 2000, 2000, 2000, 2000]);
  machine.handle(response({ created: true }));
  assert.deepEqual(machine.handle({ kind: "ended" }), [{ kind: "reopen", delayMs: 0 }]);
});

it("whatever a server replays, in whatever pieces: every event once, in order, revisions whole", () => {
  // A history of 1 to 3 events a revision; a server sends from the revision asked for, cut at will, and breaks at will.
  const history = array(integer({ min: 1, max: 3 }), { minLength: 1, maxLength: 12 });
  const steps = array(tuple(integer({ min: 1, max: 5 }), constantFrom("go on", "break")), { maxLength: 20 });
  check(
    property(history, steps, (counts, cuts) => {
      const all = counts.flatMap((count, at) =>
        Array.from({ length: count }, (_, n) => event(at + 1, `${n}`)),
      );
      const machine = new WatchMachine(0);
      const got: string[] = [];
      let waiting: ChangeEvent[] = [];
      const take = (commands: readonly WatchCommand[]): void => {
        for (const command of commands) {
          if (command.kind === "create")
            waiting = all.filter(({ entry }) => entry.modRevision >= command.startRevision);
          if (command.kind !== "deliver") continue;
          got.push(...command.events.map(({ entry }) => `${entry.modRevision}/${entry.key}`));
          assert.equal(
            got.filter((each) => each.startsWith(`${command.revision}/`)).length,
            counts[command.revision - 1],
          );
        }
      };
      take(machine.handle({ kind: "opened" }));
      for (const [size, then] of [...cuts, [all.length, "go on"] as const]) {
        const events = waiting.splice(0, size);
        if (events.length > 0) take(machine.handle(response({ events, fragment: waiting.length > 0 })));
        if (then === "break") take(machine.handle({ kind: "opened" }));
      }
      assert.deepEqual(
        got,
        all.map(({ entry }) => `${entry.modRevision}/${entry.key}`),
      );
    }),
  );
});
