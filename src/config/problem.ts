import { relative } from 'node:path';
import { SidekeyError } from '../lib/errors.ts';

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
const maxListed = 20;

/** `config_invalid`, with what is wrong and where. */
class ConfigInvalid extends SidekeyError {
  /**
   * The first problem for the record, `sidekey.yaml:12:5: is not an IP address.`, and how many more there are. It names no
   * key: in a file that is broken, what stands for one may be a secret.
   */
  readonly summary: string;

  constructor(message: string, hint: string, summary: string) {
    super('config_invalid', message, { hint });
    this.summary = summary;
  }
}

/** All problems as one error, a line each, in the order of the file. */
export function configInvalid(name: string, problems: readonly Problem[]): ConfigInvalid {
  const ordered = problems.toSorted((a, b) => a.line - b.line || a.column - b.column);
  const lines = ordered.slice(0, maxListed).map((problem) => describeProblem(name, problem));
  if (ordered.length > maxListed) lines.push(`… and ${ordered.length - maxListed} more.`);
  const [first] = ordered;
  const more = ordered.length > 1 ? ` (and ${ordered.length - 1} more)` : '';
  return new ConfigInvalid(
    lines.join('\n'),
    `change ${ordered.length === 1 ? 'that line' : 'those lines'} of ${name}; nothing was applied`,
    first === undefined ? `${name} is not valid.` : `${describeProblem(name, { ...first, path: [] })}${more}`,
  );
}

/** Returns why a config was not taken over, for the record; undefined where that is not known. */
export function summaryOf(error: unknown): string | undefined {
  if (error instanceof ConfigInvalid) return error.summary;
  return error instanceof SidekeyError ? error.message : undefined;
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

/** Freezes a value of plain objects, arrays, maps and functions, and everything in it. */
export function deepFreeze<T>(value: T): T {
  if (typeof value !== 'object' || value === null || Object.isFrozen(value)) return value;
  if (value instanceof Map) {
    for (const [key, inner] of value) {
      deepFreeze(key);
      deepFreeze(inner);
    }
    // What a map holds is not in its properties, so freezing alone would not hold it.
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
