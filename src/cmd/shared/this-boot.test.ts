// Which machine this is: known for certain or not at all.

import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { after, test } from "node:test";
import { thisBoot } from "./this-boot.ts";

const folder = mkdtempSync(join(tmpdir(), "torusblk-boot-"));
after(() => rmSync(folder, { recursive: true }));

let machines = 0;
const machineId = "3d1219c7c4c5404aaa1f6d2a48adfda4";
const bootId = "718b7ac7-591c-45e5-97de-84922699618a";

/** The files of a machine; `changes` with null leaves one out. */
function rootOf(changes: Record<string, string | null> = {}): string {
  machines += 1;
  const root = join(folder, String(machines));
  const files: Record<string, string | null> = {
    "etc/machine-id": `${machineId}\n`,
    "proc/sys/kernel/random/boot_id": `${bootId}\n`,
    "proc/self/ns/pid": "pid:[4026531836]",
    "proc/self/ns/uts": "uts:[4026531838]",
    "proc/self/ns/ipc": "ipc:[4026531839]",
    ...changes,
  };
  for (const [name, content] of Object.entries(files)) {
    if (content === null) continue;
    mkdirSync(dirname(join(root, name)), { recursive: true });
    if (name.includes("/ns/")) symlinkSync(content, join(root, name));
    else writeFileSync(join(root, name), content);
  }
  return root;
}

const boot = (root: string, metadataUrl = "etcd://e1:2379") =>
  thisBoot({ root, metadataUrl, hostName: "n1" });

test("a machine is its id and name, and the id of its boot", () => {
  assert.deepEqual(boot(rootOf()), { machine: `${machineId} n1`, id: bootId });
});

test("what is not certain is not known: containers, machines without an id or a boot", () => {
  assert.equal(boot(rootOf({ "etc/machine-id": null })), null);
  assert.equal(boot(rootOf({ "etc/machine-id": "uninitialized\n" })), null);
  assert.equal(boot(rootOf({ "proc/sys/kernel/random/boot_id": null })), null);
  assert.equal(boot(rootOf({ "proc/self/ns/pid": "pid:[4026532512]" })), null);
  assert.equal(boot(rootOf({ "proc/self/ns/uts": null })), null);
});

test("an embedded database is of one machine, whatever that calls itself", () => {
  const root = rootOf({ "etc/machine-id": null, "proc/self/ns/pid": null });
  assert.deepEqual(boot(root, "sqlite:/var/lib/torus/metadata.db"), {
    machine: "of this database",
    id: bootId,
  });
});
