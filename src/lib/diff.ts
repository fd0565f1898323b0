/** Unified diffs of texts by lines. */

/** Number of unchanged lines around a change. */
const context = 3;

/** Returns a unified diff; an empty text if the texts are equal. */
export function unifiedDiff(before: string, after: string, name: string): string {
  if (before === after) return '';
  const lines = compareLines(before.split('\n'), after.split('\n'));
  const hunks: { readonly start: number; end: number }[] = [];
  for (const [index, line] of lines.entries()) {
    if (line.startsWith(' ')) continue;
    const [last, end] = [hunks.at(-1), Math.min(lines.length, index + 1 + context)];
    if (last !== undefined && index - context <= last.end) last.end = end;
    else hunks.push({ start: Math.max(0, index - context), end });
  }
  let [old, now, at] = [1, 1, 0];
  const texts = hunks.map(({ start, end }) => {
    const part = lines.slice(start, end);
    const [removed, added] = ['+', '-'].map((sign) => part.filter((line) => !line.startsWith(sign)).length);
    [old, now] = [old + start - at, now + start - at];
    const head = `@@ -${old},${removed} +${now},${added} @@`;
    [old, now, at] = [old + removed!, now + added!, end];
    return [head, ...part].join('\n');
  });
  return [`--- ${name}`, `+++ ${name}`, ...texts].join('\n');
}

/** Returns all lines, each after its sign: the longest common subsequence between equal ends. */
function compareLines(old: readonly string[], now: readonly string[]): readonly string[] {
  const shorter = Math.min(old.length, now.length);
  let head = 0;
  while (head < shorter && old[head] === now[head]) head += 1;
  let tail = 0;
  while (tail < shorter - head && old.at(-1 - tail) === now.at(-1 - tail)) tail += 1;
  return [
    ...old.slice(0, head).map((line) => ` ${line}`),
    ...compareMiddle(old.slice(head, old.length - tail), now.slice(head, now.length - tail)),
    ...old.slice(old.length - tail).map((line) => ` ${line}`),
  ];
}

/** Number of pairs of lines above which a comparison takes too long. */
const maxPairs = 1_000_000;

function compareMiddle(old: readonly string[], now: readonly string[]): readonly string[] {
  const isLong = old.length * now.length > maxPairs;
  const width = now.length + 1;
  // Length of the common subsequence from each pair of lines on.
  const lengths = new Uint32Array(isLong ? 0 : (old.length + 1) * width);
  const lengthAt = (i: number, j: number) => lengths[i * width + j] ?? 0;
  for (let i = isLong ? -1 : old.length - 1; i >= 0; i -= 1) {
    for (let j = now.length - 1; j >= 0; j -= 1) {
      lengths[i * width + j] =
        old[i] === now[j] ? lengthAt(i + 1, j + 1) + 1 : Math.max(lengthAt(i + 1, j), lengthAt(i, j + 1));
    }
  }
  const lines: string[] = [];
  let [i, j] = [0, 0];
  while (i < old.length || j < now.length) {
    const [removed, added] = [old[i], now[j]];
    if (!isLong && removed === added) {
      lines.push(` ${removed}`);
      [i, j] = [i + 1, j + 1];
    } else if (removed !== undefined && (added === undefined || lengthAt(i + 1, j) >= lengthAt(i, j + 1))) {
      lines.push(`-${removed}`);
      i += 1;
    } else {
      lines.push(`+${added}`);
      j += 1;
    }
  }
  return lines;
}
