// A tree of files as text: a line for each, with its kind, mode, and what is in it. Two trees are the same when their
// texts are.

import { createHash } from "node:crypto";
import { lstatSync, readdirSync, readFileSync, readlinkSync } from "node:fs";
import { join, relative } from "node:path";

/** Lines in the order of the paths. */
export function describeTree(top: string): string[] {
  const lines: string[] = [];
  const visit = (path: string): void => {
    const stat = lstatSync(path);
    const head = `${relative(top, path)} ${stat.mode.toString(8)}`;
    if (stat.isSymbolicLink()) lines.push(`${head} -> ${readlinkSync(path)}`);
    else if (stat.isDirectory()) {
      lines.push(head);
      for (const name of readdirSync(path).sort()) if (name !== "lost+found") visit(join(path, name));
    } else {
      const digest = createHash("sha256").update(readFileSync(path)).digest("hex");
      lines.push(`${head} ${stat.size} ${digest}`);
    }
  };
  for (const name of readdirSync(top).sort()) if (name !== "lost+found") visit(join(top, name));
  return lines;
}
