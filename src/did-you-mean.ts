/** The known name that was most likely meant, if one is near: at most a third of its letters away. */
export function didYouMean(text: string, known: readonly string[]): string | null {
  const scored = known
    .map((name) => ({ name, distance: editDistance(text.toLowerCase(), name.toLowerCase()) }))
    .filter(({ name, distance }) => distance <= Math.max(1, Math.floor(Math.max(name.length, 3) / 3)))
    .toSorted((a, b) => a.distance - b.distance);
  return scored[0]?.name ?? null;
}

/** Insertions, deletions, changes of a letter and swaps of neighbours (optimal string alignment). */
export function editDistance(a: string, b: string): number {
  // Nobody mistypes that much; it also bounds the work.
  if (Math.abs(a.length - b.length) > 16) return Infinity;
  const rows: number[][] = [Array.from({ length: b.length + 1 }, (_, column) => column)];
  for (let i = 1; i <= a.length; i += 1) {
    const row = [i];
    for (let j = 1; j <= b.length; j += 1) {
      const cost = a[i - 1] === b[j - 1] ? 0 : 1;
      const swapped = i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1];
      row.push(
        Math.min(
          at(rows, i - 1, j) + 1,
          (row[j - 1] ?? Infinity) + 1,
          at(rows, i - 1, j - 1) + cost,
          swapped ? at(rows, i - 2, j - 2) + 1 : Infinity,
        ),
      );
    }
    rows.push(row);
  }
  return at(rows, a.length, b.length);
}

function at(rows: readonly (readonly number[])[], row: number, column: number): number {
  return rows[row]?.[column] ?? Infinity;
}
