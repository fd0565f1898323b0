import { isDeepStrictEqual } from 'node:util';
import {
  isCollection,
  isMap,
  isPair,
  isScalar,
  LineCounter,
  parse,
  parseDocument,
  type Document,
  type ParsedNode,
  type YAMLMap,
} from 'yaml';
import { SidekeyError } from '../lib/errors.ts';
import { yamlOptions } from './document.ts';

/**
 * Edits YAML text without changing other bytes. Printing the parsed document would move comments, fold lines
 * and change indentation. The parser gives positions, the text is spliced there, and the result is parsed and
 * must have exactly the intended value.
 */

/** Value of a map entry, as JSON has it. Lists and maps are written in flow style. */
export type EntryValue = string | number | boolean | null | readonly EntryValue[] | EntryMap;

export interface EntryMap {
  readonly [key: string]: EntryValue;
}

export type Entry = YAMLMap.Parsed['items'][number];

/**
 * Sets a value at any depth: `path` has the keys of maps, which are created if they are missing. An existing
 * key keeps its position and spelling.
 */
export function putValue(text: string, path: readonly string[], value: EntryValue): string {
  return confirmed(text, splicePut(text, path, value), (before) => withValue(before, path, value));
}

/** Removes `section.key` with its lines. Comments above it are kept: they may refer to the next entry. */
export function removeEntry(text: string, section: string, key: string): string {
  return confirmed(text, spliceRemove(text, section, key), (before) => {
    const { [key]: _, ...rest } = asMap(before[section]);
    return { ...before, [section]: rest };
  });
}

/** Replaces an existing text at a path of map keys. */
export function replaceScalar(text: string, path: readonly string[], value: string): string {
  const node: unknown = readDocument(text).getIn(path, true);
  if (!isScalar(node) || !node.range) throw byHand();
  const [start, end] = node.range;
  return confirmed(text, text.slice(0, start) + scalarText(value) + text.slice(end), (before) =>
    withValue(before, path, value),
  );
}

function splicePut(text: string, path: readonly string[], value: EntryValue): string {
  const newline = newlineOf(text);
  const root = readDocument(text).contents;
  if (!isMap(root) || root.items.length === 0) {
    return isMap(root) && root.flow
      ? insertIntoFlow(text, root, flowEntry(path, value))
      : appendBlock(text, blockEntry(path, value, '', newline), newline);
  }
  let map = root;
  // Block entries cannot be in flow collections.
  let inFlow = map.flow === true;
  for (const [depth, key] of path.entries()) {
    const rest = path.slice(depth);
    const below = path.slice(depth + 1);
    const pair = find(map, key);
    if (pair === undefined) {
      if (inFlow) return insertIntoFlow(text, map, flowEntry(rest, value));
      if (depth === 0) return appendBlock(text, blockEntry(rest, value, '', newline), newline);
      const indent = indentOf(text, map.items[0] as Entry);
      const last = map.items.at(-1) as Entry;
      return insertLine(text, endOf(last), blockEntry(rest, value, indent, newline), newline);
    }
    if (below.length === 0) return replaceValue(text, pair, valueText(value), newline);
    const inner = pair.value;
    if (isMap(inner) && inner.items.length > 0) {
      map = inner;
      inFlow ||= inner.flow === true;
      continue;
    }
    return fillEmpty(text, pair, { below, value, inFlow, newline });
  }
  throw byHand();
}

/** Inserts the first entry into an empty map: `{}`, `null` or nothing. */
function fillEmpty(
  text: string,
  pair: Entry,
  put: { below: readonly string[]; value: EntryValue; inFlow: boolean; newline: string },
): string {
  const map = pair.value;
  if (map === null || !((isMap(map) && map.flow) || (isScalar(map) && map.value === null))) throw byHand();
  const [start, end] = map.range;
  const entry = flowEntry(put.below, put.value);
  if (/#/.test(text.slice(start, end))) return insertIntoFlow(text, map as YAMLMap.Parsed, entry);
  if (put.inFlow) {
    const gap = /\s$/.test(text.slice(0, start)) ? '' : ' ';
    return `${text.slice(0, start)}${gap}{ ${entry} }${text.slice(end)}`;
  }
  // The empty value is replaced by a block below.
  const head = text.slice(0, start);
  // A comment requires a space before it.
  const cut = text[end] === '#' ? head : head.trimEnd();
  const indent = `${indentOf(text, pair)}  `;
  return insertLine(
    cut + text.slice(end),
    cut.length,
    blockEntry(put.below, put.value, indent, put.newline),
    put.newline,
  );
}

/** Formats `a: { b: value }`. */
function flowEntry([key = '', ...below]: readonly string[], value: EntryValue): string {
  const inner = below.length === 0 ? valueText(value) : `{ ${flowEntry(below, value)} }`;
  return `${scalarText(key)}: ${inner}`;
}

/** Formats an entry as lines, one for each key of the path, without the last line break. */
function blockEntry(
  [key = '', ...below]: readonly string[],
  value: EntryValue,
  indent: string,
  newline: string,
): string {
  if (below.length === 0) return `${indent}${scalarText(key)}: ${valueText(value)}`;
  return `${indent}${scalarText(key)}:${newline}${blockEntry(below, value, `${indent}  `, newline)}`;
}

/** Appends a block after an empty line. */
function appendBlock(text: string, lines: string, newline: string): string {
  const gap = text === '' || /(^|\n)\r?\n$/.test(text) ? '' : newline;
  return `${endLine(text, newline)}${gap}${lines}${newline}`;
}

function spliceRemove(text: string, section: string, key: string): string {
  const root = readDocument(text).contents;
  const pair = isMap(root) ? find(root, section) : undefined;
  const map = pair?.value;
  const entry = isMap(map) ? find(map, key) : undefined;
  if (pair === undefined || !isMap(map) || entry === undefined) throw byHand();
  const index = map.items.indexOf(entry);
  const next = map.items[index + 1];
  const previous = map.items[index - 1];
  if (map.flow) {
    if (next !== undefined) return text.slice(0, startOf(entry)) + text.slice(startOf(next));
    if (previous !== undefined) return text.slice(0, endOf(previous)) + text.slice(endOf(entry));
    return text.slice(0, startOf(entry)) + text.slice(endOf(entry)).replace(/^\s*,/, '');
  }
  const lineStart = startOf(entry) - indentOf(text, entry).length;
  const without = text.slice(0, lineStart) + text.slice(lineEnd(text, endOf(entry)));
  if (map.items.length > 1) return without;
  const colon = colonEnd(text, pair);
  return `${without.slice(0, colon)} {}${without.slice(colon)}`;
}

function replaceValue(text: string, entry: Entry, value: string, newline: string): string {
  const colon = colonEnd(text, entry);
  const start = entry.value?.range[0] ?? colon;
  const end = Math.max(endOf(entry), start);
  const gap = text.slice(colon, start);
  const before = /^\s*$/.test(gap) ? `${text.slice(0, colon)} ` : text.slice(0, start);
  return before + value + (text.slice(start, end).endsWith('\n') ? newline : '') + text.slice(end);
}

function insertIntoFlow(text: string, map: YAMLMap.Parsed, entry: string): string {
  const last = map.items.at(-1);
  if (last !== undefined) return `${text.slice(0, endOf(last))}, ${entry}${text.slice(endOf(last))}`;
  const open = map.range[0] + 1;
  return `${text.slice(0, open)} ${entry}${text.slice(open)}`;
}

/** Inserts a line after the line of `offset`. */
function insertLine(text: string, offset: number, line: string, newline: string): string {
  const at = lineEnd(text, offset);
  const head = endLine(text.slice(0, at), newline);
  // Keeps a missing line break at the end of the text.
  return head + line + (at === head.length ? newline : '') + text.slice(at);
}

export function lineEnd(text: string, offset: number): number {
  if (offset > 0 && text[offset - 1] === '\n') return offset;
  const newline = text.indexOf('\n', offset);
  return newline < 0 ? text.length : newline + 1;
}

export function endLine(text: string, newline: string): string {
  return text === '' || text.endsWith('\n') ? text : text + newline;
}

export function indentOf(text: string, entry: Entry): string {
  const start = startOf(entry);
  const indent = text.slice(text.lastIndexOf('\n', start - 1) + 1, start);
  if (!/^ *$/.test(indent)) throw byHand();
  return indent;
}

export function startOf(entry: Entry): number {
  return entry.key.range[0];
}

/** Returns the end of the last value of an entry, without a comment after it. */
export function endOf(entry: Entry): number {
  return entry.value === null ? entry.key.range[1] : nodeEnd(entry.value);
}

export function nodeEnd(value: ParsedNode): number {
  if (!isCollection(value) || value.flow || value.items.length === 0) return value.range[1];
  const last: unknown = value.items.at(-1);
  return isPair(last) ? endOf(last as Entry) : nodeEnd(last as ParsedNode);
}

export function newlineOf(text: string): string {
  return text.includes('\r\n') ? '\r\n' : '\n';
}

export function colonEnd(text: string, entry: Entry): number {
  return text.indexOf(':', entry.key.range[1]) + 1;
}

export function find(map: YAMLMap.Parsed, key: string): Entry | undefined {
  return map.items.find((pair) => isScalar(pair.key) && pair.key.value === key);
}

/** Formats a value in flow style. */
export function valueText(value: EntryValue): string {
  if (typeof value === 'string') return scalarText(value);
  if (typeof value !== 'object' || value === null) return String(value);
  if (isList(value)) return `[${value.map(valueText).join(', ')}]`;
  const fields = Object.entries(value).map(([key, inner]) => `${scalarText(key)}: ${valueText(inner)}`);
  return fields.length === 0 ? '{}' : `{ ${fields.join(', ')} }`;
}

function isList(value: EntryMap | readonly EntryValue[]): value is readonly EntryValue[] {
  return Array.isArray(value);
}

/** Formats a text as plain scalar if that is unambiguous, else as JSON, which is valid YAML. */
function scalarText(value: string): string {
  return /^[A-Za-z0-9_./$][A-Za-z0-9_./:*$-]*$/.test(value) && parse(value) === value
    ? value
    : JSON.stringify(value);
}

export function readDocument(text: string): Document.Parsed {
  const document = parseDocument(text, yamlOptions(new LineCounter()));
  if (document.errors.length > 0 || document.warnings.length > 0) throw byHand();
  return document;
}

type Values = Readonly<Record<string, unknown>>;

export function confirmed(before: string, after: string, change: (values: Values) => Values): string {
  if (!isDeepStrictEqual(valuesOf(after), change(valuesOf(before)))) throw byHand();
  return after;
}

function valuesOf(text: string): Values {
  try {
    return asMap(readDocument(text).toJS({ maxAliasCount: 100 }));
  } catch {
    // An alias whose anchor was removed.
    throw byHand();
  }
}

export function withValue(
  values: Values,
  [step = '', ...rest]: readonly string[],
  value: EntryValue,
): Values {
  return { ...values, [step]: rest.length === 0 ? value : withValue(asMap(values[step]), rest, value) };
}

function asMap(value: unknown): Values {
  return typeof value === 'object' && value !== null ? (value as Values) : {};
}

function byHand(): SidekeyError {
  return new SidekeyError(
    'config_invalid',
    'The config file is written in a way that cannot be edited safely.',
    { hint: 'make the change by hand; nothing was changed' },
  );
}
