// Which machine this is, since which start of it: what tells a later attach that every program that ran here then has ended. Better
// unknown than wrong: whoever is taken for ended and is not may be told that lost writes are kept.

import { readFileSync, readlinkSync } from "node:fs";
import { join } from "node:path";
import type { Boot } from "#metadata";

export interface BootSources {
  /** "/" outside tests. */
  readonly root: string;
  readonly metadataUrl: string;
  readonly hostName: string;
}

/** The first namespaces of a kernel have these numbers for ever (include/linux/proc_ns.h). */
const firstNamespaces: Readonly<Record<string, string>> = {
  pid: "pid:[4026531836]",
  uts: "uts:[4026531838]",
  ipc: "ipc:[4026531839]",
};

/** Null when the machine cannot be told from others for certain. */
export function thisBoot(sources: BootSources): Boot | null {
  const id = textOf(sources.root, "proc/sys/kernel/random/boot_id");
  const machine = machineOf(sources);
  return id === "" || machine === null ? null : { machine, id };
}

function machineOf({ root, metadataUrl, hostName }: BootSources): string | null {
  // An embedded database is of one machine: whoever reads this record there is on the machine that wrote it.
  if (/^sqlite:/i.test(metadataUrl)) return "of this database";
  // Containers on many machines may have their id from one image.
  for (const [kind, first] of Object.entries(firstNamespaces))
    if (linkOf(root, `proc/self/ns/${kind}`) !== first) return null;
  const id = textOf(root, "etc/machine-id");
  return /^[0-9a-f]{32}$/.test(id) ? `${id} ${hostName}` : null;
}

function textOf(root: string, path: string): string {
  try {
    return readFileSync(join(root, path), "utf8").trim();
  } catch {
    return "";
  }
}

function linkOf(root: string, path: string): string {
  try {
    return readlinkSync(join(root, path));
  } catch {
    return "";
  }
}
