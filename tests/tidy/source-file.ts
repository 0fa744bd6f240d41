// A source file as the rules see it: its text, its code without comments and without what strings say, what it
// imports, and where its functions are. A small scanner is enough, because biome keeps the layout uniform; it is
// not a parser.

export interface FunctionSpan {
  readonly name: string;
  readonly line: number;
  readonly lines: number;
}

export interface SourceFile {
  /** From the root of the repository, such as `src/ring/mod.ts`. */
  readonly path: string;
  readonly text: string;
  /** Comments blanked, strings kept. Same offsets as `text`. */
  readonly uncommented: string;
  /** Comments and the inside of strings, templates and regular expressions blanked. */
  readonly code: string;
  /** Specifiers of static and dynamic imports, re-exports and `require`, and paths of TypeScript files in any string. */
  readonly imports: readonly string[];
}

type Kind = "code" | "comment" | "string";

/** The end of the quoted text that starts at `start`; for templates, `${` ends a piece too. */
function endOfQuoted(text: string, start: number, quote: string): number {
  let at = start + 1;
  while (at < text.length) {
    if (text[at] === "\\") at += 2;
    else if (text[at] === quote) return at + 1;
    else if (quote === "`" && text.startsWith("${", at)) return at + 2;
    else at += 1;
  }
  return text.length;
}

function endOfRegExp(text: string, start: number): number {
  let at = start + 1;
  let inClass = false;
  while (at < text.length && text[at] !== "\n") {
    if (text[at] === "\\") at += 1;
    else if (text[at] === "[") inClass = true;
    else if (text[at] === "]") inClass = false;
    else if (text[at] === "/" && !inClass) return at + 1;
    at += 1;
  }
  return at;
}

/** Whether a slash after `before` starts a regular expression rather than divides. */
function startsRegExp(before: string): boolean {
  const trimmed = before.trimEnd();
  return trimmed === "" || /[(,=:[!&|?{};<>+*~^-]$|\b(?:return|typeof|case|of|in)$/.test(trimmed);
}

/** Cuts `text` into runs of code, comment and quoted text. */
function* runsOf(text: string): Generator<{ kind: Kind; from: number; to: number }> {
  let at = 0;
  let codeFrom = 0;
  /** Braces open within each template literal we are inside of. */
  const templates: number[] = [];
  while (at < text.length) {
    let kind: Kind = "code";
    let to = at + 1;
    const two = text.slice(at, at + 2);
    const resumesTemplate = text[at] === "}" && templates.at(-1) === 0;
    if (two === "//") [kind, to] = ["comment", (text.indexOf("\n", at) + 1 || text.length + 1) - 1];
    else if (two === "/*") [kind, to] = ["comment", text.indexOf("*/", at + 2) + 2 || text.length];
    else if (text[at] === '"' || text[at] === "'") [kind, to] = ["string", endOfQuoted(text, at, text[at])];
    else if (text[at] === "`" || resumesTemplate) [kind, to] = ["string", endOfQuoted(text, at, "`")];
    else if (text[at] === "/" && startsRegExp(text.slice(Math.max(codeFrom, at - 40), at))) {
      [kind, to] = ["string", endOfRegExp(text, at)];
    } else if (templates.length > 0 && text[at] === "{") templates[templates.length - 1] += 1;
    else if (templates.length > 0 && text[at] === "}") templates[templates.length - 1] -= 1;
    if (kind !== "code") {
      if (codeFrom < at) yield { kind: "code", from: codeFrom, to: at };
      yield { kind, from: at, to };
      codeFrom = to;
      const opens = text.slice(to - 2, to) === "${";
      if (text[at] === "`" && opens) templates.push(0);
      if (resumesTemplate && !opens) templates.pop();
    }
    at = to;
  }
  if (codeFrom < text.length) yield { kind: "code", from: codeFrom, to: text.length };
}

const blank = (text: string): string => text.replace(/[^\n]/g, " ");

/** Keeps the quotes, so that `import ""` can still be seen to be one. */
const hollow = (text: string): string =>
  text.length < 2 ? text : text[0] + blank(text.slice(1, -1)) + text.at(-1);

/** Looked for in `code`, where a specifier is blank, so that code in strings is not taken for imports. */
const importPatterns = [
  /\b(?:import|export)\s[^"';]*?\sfrom\s+"( +)"/dg,
  /\bimport\s+"( +)"/dg,
  /(?<![#.\w])(?:import|require)\(\s*"( +)"/dg,
  /\bcreateRequire\([^)]*\)\(\s*"( +)"/dg,
  /"( +)"/dg, // only paths of TypeScript files are taken from these: workers, started by their URL
];

function importsOf(code: string, uncommented: string): string[] {
  const found = importPatterns.map((pattern) =>
    [...code.matchAll(pattern)].map((match) => uncommented.slice(...match.indices![1]!)),
  );
  const paths = found.pop()!.filter((text) => /^\.{1,2}\/[\w./-]+\.ts$/.test(text));
  return [...new Set([...found.flat(), ...paths])].filter((specifier) => !specifier.endsWith(".json"));
}

export function parseSource(path: string, text: string): SourceFile {
  let uncommented = "";
  let code = "";
  for (const { kind, from, to } of runsOf(text)) {
    const run = text.slice(from, to);
    uncommented += kind === "comment" ? blank(run) : run;
    code += kind === "comment" ? blank(run) : kind === "string" ? hollow(run) : run;
  }
  return { path, text, uncommented, code, imports: importsOf(code, uncommented) };
}

const controlWords =
  /^(?:\} )?(?:if|for|while|switch|catch|else|do|try|with|finally|class|interface|return)\b/;
const functionStart =
  /\bfunction\b|=>\s*\{$|^(?:(?:export|static|async|get|set|override|readonly) )*\*?[#\w]+(?:<.*>)?\(/;

/** Functions and methods with a body of their own lines, found by biome's layout: a body ends at its opener's indent. */
export function functionsOf(source: SourceFile): FunctionSpan[] {
  const lines = source.code.split("\n");
  const indentOf = (line: string): number => line.length - line.trimStart().length;
  const spans: FunctionSpan[] = [];
  lines.forEach((line, opener) => {
    if (!line.trimEnd().endsWith("{")) return;
    const indent = indentOf(line);
    let start = opener;
    // A signature wrapped over lines ends in `) {` or `): T {` at the indent where it began.
    if (/^\s*\)/.test(line)) {
      do start -= 1;
      while (start > 0 && (lines[start].trim() === "" || indentOf(lines[start]) > indent));
    }
    const header = start === opener ? line.trim() : `${lines[start].trim()} ${line.trim()}`;
    if (controlWords.test(header) || !functionStart.test(header)) return;
    const end = lines.findIndex(
      (other, at) => at > opener && other.trim() !== "" && indentOf(other) <= indent,
    );
    if (end === -1) return;
    const original = source.text.split("\n")[start].trim();
    spans.push({ name: original.slice(0, 60), line: start + 1, lines: end - start + 1 });
  });
  return spans;
}
