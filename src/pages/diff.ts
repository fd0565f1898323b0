interface DiffLine {
  readonly kind: 'same' | 'added' | 'removed';
  readonly line: string;
}

/** Lines of context around a change. */
const around = 3;

/** Compares two texts by lines: the longest common subsequence between equal beginning and end. */
export function diff(before: string, after: string): readonly DiffLine[] {
  const [a, b] = [before.split('\n'), after.split('\n')];
  let start = 0;
  while (start < a.length && start < b.length && a[start] === b[start]) start += 1;
  let [endA, endB] = [a.length, b.length];
  while (endA > start && endB > start && a[endA - 1] === b[endB - 1]) [endA, endB] = [endA - 1, endB - 1];
  return [
    ...a.slice(Math.max(0, start - around), start).map(same),
    ...middle(a.slice(start, endA), b.slice(start, endB)),
    ...a.slice(endA, endA + around).map(same),
  ];
}

function middle(a: readonly string[], b: readonly string[]): DiffLine[] {
  // Beyond this size the table takes too long, and nobody reads such a difference.
  if (a.length * b.length > 1_000_000) {
    return [
      ...a.map((line) => ({ kind: 'removed' as const, line })),
      ...b.map((line) => ({ kind: 'added' as const, line })),
    ];
  }
  const lengths = Array.from({ length: a.length + 1 }, () => new Uint32Array(b.length + 1));
  for (let i = a.length - 1; i >= 0; i -= 1) {
    for (let j = b.length - 1; j >= 0; j -= 1) {
      lengths[i]![j] =
        a[i] === b[j] ? lengths[i + 1]![j + 1]! + 1 : Math.max(lengths[i + 1]![j]!, lengths[i]![j + 1]!);
    }
  }
  const lines: DiffLine[] = [];
  let [i, j] = [0, 0];
  while (i < a.length || j < b.length) {
    if (i < a.length && j < b.length && a[i] === b[j]) {
      lines.push({ kind: 'same', line: a[i]! });
      [i, j] = [i + 1, j + 1];
    } else if (j < b.length && (i === a.length || lengths[i]![j + 1]! > lengths[i + 1]![j]!)) {
      lines.push({ kind: 'added', line: b[j]! });
      j += 1;
    } else {
      lines.push({ kind: 'removed', line: a[i]! });
      i += 1;
    }
  }
  return lines;
}

function same(line: string): DiffLine {
  return { kind: 'same', line };
}
