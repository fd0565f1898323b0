import { relative } from 'node:path';
import { SidekeyError } from '../lib/errors.ts';

/** Path of a value: keys of maps and indices of lists. */
export type Path = readonly (string | number)[];

/** A problem in a config file. It never contains a value, because a value can be a secret. */
export interface Problem {
  /** 1-based; columns count UTF-16 units, as editors do. */
  readonly line: number;
  readonly column: number;
  /** Empty: the whole file. */
  readonly path: Path;
  /** The end of a sentence that begins with the path: `is not an IP address`. */
  readonly message: string;
}

/** Maximum number of listed problems. */
const maxListed = 20;

/** `config_invalid`, with problems and their positions. */
class ConfigInvalid extends SidekeyError {
  /**
   * The first problem for logs, `sidekey.yaml:12:5: is not an IP address.`, and the number of others. It
   * names no key: in an invalid file a key may be a secret.
   */
  readonly summary: string;

  constructor(message: string, hint: string, summary: string) {
    super('config_invalid', message, { hint });
    this.summary = summary;
  }
}

/** Returns all problems as one error, one on each line, in the order of the file. */
export function configInvalid(name: string, problems: readonly Problem[]): ConfigInvalid {
  const ordered = problems.toSorted((a, b) => a.line - b.line || a.column - b.column);
  const lines = ordered.slice(0, maxListed).map((problem) => describeProblem(name, problem));
  if (ordered.length > maxListed) lines.push(`… and ${ordered.length - maxListed} more.`);
  const [first] = ordered;
  const more = ordered.length > 1 ? ` (and ${ordered.length - 1} more)` : '';
  return new ConfigInvalid(
    lines.join('\n'),
    `change ${ordered.length === 1 ? 'that line' : 'those lines'} of ${name}`,
    first === undefined ? `${name} is not valid.` : `${describeProblem(name, { ...first, path: [] })}${more}`,
  );
}

/** Returns the reason that a config was not accepted, for logs; undefined if unknown. */
export function summaryOf(error: unknown): string | undefined {
  if (error instanceof ConfigInvalid) return error.summary;
  return error instanceof SidekeyError ? error.message : undefined;
}

/** Formats a problem: `config/sidekey.yaml:12:5: proxy.listen: is not …` */
export function describeProblem(name: string, { line, column, path, message }: Problem): string {
  const subject = path.length === 0 ? '' : `${formatPath(path)}: `;
  return `${name}:${line}:${column}: ${subject}${message}${message.endsWith('?') ? '' : '.'}`;
}

/** Formats a path: `proxy.listen`, `upstream.ca[0]`, `domains["api.github.com"]`. */
export function formatPath(path: Path): string {
  return path.reduce<string>((text, step) => {
    if (typeof step === 'number') return `${text}[${step}]`;
    if (!/^[A-Za-z_][A-Za-z0-9_-]*$/.test(step)) return `${text}[${JSON.stringify(step)}]`;
    return text === '' ? step : `${text}.${step}`;
  }, '');
}

/** Returns the name of a file for messages: relative to `cwd` if it is below. */
export function displayName(file: string, cwd = process.cwd()): string {
  if (file.includes('://')) return file;
  const name = relative(cwd, file);
  return name === '' || name.startsWith('..') ? file : name;
}

/** Freezes a value of plain objects, arrays, maps and functions, and everything in it. */
export function deepFreeze<T>(value: T): T {
  if (typeof value !== 'object' || value === null || Object.isFrozen(value)) return value;
  if (value instanceof Map) {
    for (const [key, inner] of value) {
      deepFreeze(key);
      deepFreeze(inner);
    }
    // Freezing a map does not freeze its entries.
    for (const method of ['set', 'delete', 'clear']) {
      Object.defineProperty(value, method, { value: refuse });
    }
  }
  for (const inner of Object.values(value)) deepFreeze(inner);
  return Object.freeze(value);
}

function refuse(): never {
  throw new TypeError('the configuration is frozen');
}
