// What volumes of one process share: room for so many, and logs that share what those that rest leave them.

import assert from "node:assert/strict";
import { test } from "node:test";
import { isTorusError } from "#model";
import { VolumesRoom } from "./volumes-memory.ts";

test("volumes share what there is for their logs, and one too many is refused until another has left", () => {
  const room = new VolumesRoom({ countMax: 2, mapBytes: 1, windowBytes: 600 });
  assert.equal(room.windowBytes, 600);
  const leave = room.enter("a");
  room.enter("b");
  assert.equal(room.windowBytes, 300);
  assert.throws(
    () => room.enter("c"),
    (error) =>
      isTorusError(error, "limit") && /"c" is one too many: .* for 2 volumes at once/.test(error.message),
  );
  leave();
  leave();
  assert.equal(room.windowBytes, 600);
  room.enter("c");
  assert.throws(() => room.enter("d"));
});
