import { relative } from 'node:path';
import { SidekeyError } from '../errors.ts';

/** The way to a value: keys of maps and places in lists. */
export type Path = readonly (string | number)[];

/** One thing that is wrong in a config file. It never repeats a value, because a value can be a secret. */
export interface Problem {
  /** 1-based; columns count UTF-16 units, as editors do. */
  readonly line: number;
  readonly column: number;
  /** Empty: the file as a whole. */
  readonly path: Path;
  /** The end of a sentence that begins with the path: `is not an IP address`. */
  readonly message: string;
}

/** More than these are not listed: the first ones explain the rest. */
const mostListed = 20;

/** All problems as one error, a line each, in the order of the file. The code is `config_invalid`. */
export function configInvalid(name: string, problems: readonly Problem[]): SidekeyError {
  const ordered = problems.toSorted((a, b) => a.line - b.line || a.column - b.column);
  const lines = ordered.slice(0, mostListed).map((problem) => describeProblem(name, problem));
  if (ordered.length > mostListed) lines.push(`… and ${ordered.length - mostListed} more.`);
  return new SidekeyError('config_invalid', lines.join('\n'), {
    hint: `change ${ordered.length === 1 ? 'that line' : 'those lines'} of ${name}; nothing was applied`,
  });
}

/** `config/sidekey.yaml:12:5: proxy.listen: is not …` */
export function describeProblem(name: string, { line, column, path, message }: Problem): string {
  const subject = path.length === 0 ? '' : `${formatPath(path)}: `;
  return `${name}:${line}:${column}: ${subject}${message}${message.endsWith('?') ? '' : '.'}`;
}

/** `proxy.listen`, `upstream.ca[0]`, `domains["api.github.com"]`. */
export function formatPath(path: Path): string {
  return path.reduce<string>((text, step) => {
    if (typeof step === 'number') return `${text}[${step}]`;
    if (!/^[A-Za-z_][A-Za-z0-9_-]*$/.test(step)) return `${text}[${JSON.stringify(step)}]`;
    return text === '' ? step : `${text}.${step}`;
  }, '');
}

/** A file as people name it: relative to where they are, if it is below. */
export function displayName(file: string, cwd: string): string {
  const name = relative(cwd, file);
  return name === '' || name.startsWith('..') ? file : name;
}

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
