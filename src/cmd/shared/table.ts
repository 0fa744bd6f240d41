// Tables for people, and the same cells as CSV for programs. What comes from the cluster may be in a cell: no control
// character of it reaches a terminal.

export interface Column {
  readonly title: string;
  /** Numbers stand right. */
  readonly align?: "left" | "right";
  /** The colour of a cell, null for none. */
  readonly colour?: (cell: string) => Colour | null;
}

export type Colour = "red" | "green" | "yellow" | "dim";

const escapes: Readonly<Record<Colour, string>> = { red: "31", green: "32", yellow: "33", dim: "2" };

const segmenter = new Intl.Segmenter();

/** Columns a text takes on a terminal, near enough: wide characters count two. */
function widthOf(text: string): number {
  let width = 0;
  for (const { segment } of segmenter.segment(text))
    width +=
      /\p{Emoji_Presentation}|[\u1100-\u115f\u2e80-\ua4cf\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe6f\uff00-\uff60]/u.test(
        segment,
      )
        ? 2
        : 1;
  return width;
}

export function plain(text: string): string {
  return text.replace(/\p{Cc}+/gu, " ");
}

export function formatTable(
  columns: readonly Column[],
  rows: readonly (readonly string[])[],
  coloured: boolean,
): string {
  const cells = rows.map((row) => row.map(plain));
  const widths = columns.map((column, at) =>
    Math.max(widthOf(column.title), ...cells.map((row) => widthOf(row[at]))),
  );
  const line = (texts: readonly string[], paint: boolean) =>
    texts
      .map((text, at) => {
        const padding = " ".repeat(widths[at] - widthOf(text));
        const colour = paint ? columns[at].colour?.(text) : null;
        const shown = colour ? `\u001b[${escapes[colour]}m${text}\u001b[0m` : text;
        if (columns[at].align === "right") return padding + shown;
        return at === columns.length - 1 ? shown : shown + padding;
      })
      .join("  ")
      .trimEnd();
  const title = line(
    columns.map((column) => column.title),
    false,
  );
  return `${[title, ...cells.map((row) => line(row, coloured))].join("\n")}\n`;
}

/** RFC 4180, with line feeds. */
export function formatCsv(columns: readonly Column[], rows: readonly (readonly string[])[]): string {
  const quote = (cell: string) => (/[",\r\n]/.test(cell) ? `"${cell.replaceAll('"', '""')}"` : cell);
  return [columns.map((column) => column.title), ...rows]
    .map((row) => `${row.map(quote).join(",")}\n`)
    .join("");
}
