// Against the kernel that runs the tests: every Linux has generic netlink, and in it a family that tells of the others.

import assert from "node:assert/strict";
import { test } from "node:test";
import { openNetlink } from "./netlink.ts";

const genericNetlink = 16;
/** "Which id has the family nlctrl?": CTRL_CMD_GETFAMILY, request and acknowledge, sequence 7. */
const question = Buffer.from("20000000100005000700000000000000030100000b0002006e6c6374726c0000", "hex");

test("the kernel answers a netlink message with what was asked for, and an acknowledgement", async () => {
  const netlink = await openNetlink(genericNetlink);
  try {
    for (let round = 0; round < 3; round++) {
      const [answer, acknowledgement] = await netlink.exchange(question);
      assert.equal(Buffer.from(answer).readUInt32LE(8), 7, "of the same sequence");
      assert.ok(Buffer.from(answer).includes("nlctrl\0"));
      assert.equal(Buffer.from(acknowledgement).readUInt16LE(4), 2, "NLMSG_ERROR");
      assert.equal(Buffer.from(acknowledgement).readInt32LE(16), 0, "without one");
    }
  } finally {
    netlink.close();
  }
});
