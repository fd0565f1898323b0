/** Text in columns, for people. Cells may hold what others chose, so control characters are shown and never sent. */
import { visible } from '../visible.ts';

export { visible };

/** Rows under headings. */
export function table(headings: readonly string[], rows: readonly (readonly string[])[]): string {
  return columns([headings, ...rows]).join('\n');
}

/** Rows as lines, each column as wide as its widest cell. */
export function columns(rows: readonly (readonly string[])[]): string[] {
  const lines = rows.map((row) => row.map(visible));
  const count = Math.max(0, ...lines.map((line) => line.length));
  const widths = Array.from({ length: count }, (_, column) =>
    Math.max(...lines.map((line) => line[column]?.length ?? 0)),
  );
  return lines.map((line) =>
    line
      .map((cell, column) => cell.padEnd(widths[column] ?? 0))
      .join('  ')
      .trimEnd(),
  );
}

/** Names and values, a line each, below a title; a value that is null is left out. */
export function details(title: string, facts: Readonly<Record<string, string | null>>): string {
  const rows = Object.entries(facts).flatMap(([name, value]) =>
    value === null ? [] : [[`  ${name}`, value]],
  );
  return [visible(title), ...columns(rows)].join('\n');
}
