// What links to what: files that nothing reaches, and links in documents and comments that lead nowhere.

import { posix } from "node:path";
import type { SourceFile } from "./source-file.ts";

/** Files of `sources` that no root imports, directly or not. `doors` maps `#room` to its file. */
export function unreachable(
  sources: readonly SourceFile[],
  isRoot: (path: string) => boolean,
  doors: Readonly<Record<string, string>>,
): string[] {
  const byPath = new Map(sources.map((source) => [source.path, source]));
  const reached = new Set<string>();
  const open = sources.filter(({ path }) => isRoot(path)).map(({ path }) => path);
  while (open.length > 0) {
    const path = open.pop()!;
    if (reached.has(path)) continue;
    reached.add(path);
    for (const specifier of byPath.get(path)?.imports ?? []) {
      if (specifier.startsWith(".")) open.push(posix.join(posix.dirname(path), specifier));
      else if (doors[specifier] !== undefined) open.push(posix.normalize(doors[specifier]));
    }
  }
  return [...byPath.keys()].filter((path) => !reached.has(path));
}

/** Targets of relative links in a Markdown document, from the root of the repository. Code blocks are left out. */
export function linksOfDocument(path: string, text: string): string[] {
  const prose = text.replace(/^```[\s\S]*?^```/gm, "").replace(/`[^`\n]*`/g, "");
  return [...prose.matchAll(/\]\(([^)\s]+)\)/g)]
    .map((match) => match[1])
    .filter((target) => !/^[a-z]+:|^#/.test(target))
    .map((target) => posix.join(posix.dirname(path), target.split("#")[0]));
}

/** Documents that a source file or another text names as `docs/....md`. */
export function documentsNamed(text: string): string[] {
  return [...text.matchAll(/\bdocs\/[\w./-]+\.md\b/g)].map((match) => match[0]);
}
