import { isDeepStrictEqual } from 'node:util';
import { type Document, isCollection, isMap, isSeq, type ParsedNode } from 'yaml';
import {
  colonEnd,
  confirmed,
  endLine,
  endOf,
  type Entry,
  type EntryMap,
  type EntryValue,
  find,
  indentOf,
  lineEnd,
  newlineOf,
  nodeEnd,
  putValue,
  readDocument,
  startOf,
  valueText,
  withValue,
} from './yaml-splice.ts';

/** Writes an entry of a map in block style. Parts whose value stays the same keep their text. */

/** A member of a block map, or an item of a block list. */
interface Part {
  readonly value: unknown;
  /** Comments and empty lines above it. */
  readonly lead: string;
  /** Lines of the part, with their line breaks. */
  readonly text: string;
  /** Null: an item of a list. */
  readonly entry: Entry | null;
}

/** Length in characters up to which an item of a list is one line. */
const longest = 100;

/**
 * Sets `section.key` to a map. A member with the same value as before keeps its text, and so does an item of
 * a list of maps. Comments above a changed part are kept, comments inside are lost.
 *
 * @throws SidekeyError `config_invalid` if the text cannot be edited without changing other parts
 */
export function putBlock(text: string, section: string, key: string, value: EntryMap): string {
  const { document, map, entry } = findEntry(text, section, key);
  if (map === null || entry === undefined)
    return putBlock(putValue(text, [section, key], {}), section, key, value);
  // A block cannot be in braces.
  if (map.flow === true) return putValue(text, [section, key], value);
  const newline = newlineOf(text);
  const parts = partsOf(text, entry, document);
  const pad = parts.length > 0 ? indentIn(parts) : `${indentOf(text, entry)}  `;
  const byName = new Map(parts.map((part) => [part.entry?.key.toJSON(), part]));
  const lines = Object.entries(value).map(([name, member]) => {
    const part = byName.get(name);
    if (part !== undefined && isDeepStrictEqual(part.value, member)) return part.lead + part.text;
    const lead = part?.lead ?? '';
    const shown = `${pad}${valueText(name)}:`;
    if (!isListOfMaps(member)) return `${lead}${shown} ${valueText(member)}${newline}`;
    const items = part?.entry ? partsOf(text, part.entry, document) : [];
    // The line of the key may have a comment.
    const head = items.length > 0 ? part!.text.slice(0, part!.text.indexOf('\n') + 1) : `${shown}${newline}`;
    return lead + head + listText(member, items, { pad: `${pad}  `, newline });
  });
  const end = Math.max(endOf(entry), colonEnd(text, entry));
  // The rest of a line may be a comment.
  const head =
    parts.length > 0
      ? text.slice(0, lineEnd(text, colonEnd(text, entry)))
      : text.slice(0, colonEnd(text, entry)) + text.slice(end, lineEnd(text, end));
  const edited = endLine(head, newline) + lines.join('') + text.slice(lineEnd(text, end));
  return confirmed(text, edited, (values) => withValue(values, [section, key], value));
}

/** Returns each item of the list `section.key.name` as written; none if it is not in block style. */
export function itemTexts(text: string, [section, key, name]: readonly [string, string, string]): string[] {
  const { document, entry } = findEntry(text, section, key);
  const list = isMap(entry?.value) ? find(entry.value, name) : undefined;
  return list === undefined ? [] : partsOf(text, list, document).map((part) => part.text);
}

function findEntry(text: string, section: string, key: string) {
  const document = readDocument(text);
  const map = isMap(document.contents) ? find(document.contents, section)?.value : null;
  return isMap(map) ? { document, map, entry: find(map, key) } : { document, map: null };
}

/** Returns the parts of a block collection; none of other values. */
function partsOf(text: string, entry: Entry, document: Document.Parsed): readonly Part[] {
  const { value } = entry;
  if (!isCollection(value) || value.flow === true) return [];
  let from = lineEnd(text, colonEnd(text, entry));
  const part = (node: ParsedNode | null, [start, end]: readonly [number, number], of: Entry | null): Part => {
    const line = text.lastIndexOf('\n', start - 1) + 1;
    const lead = text.slice(from, line);
    from = lineEnd(text, end);
    return {
      value: node?.toJS(document) ?? null,
      lead,
      text: endLine(text.slice(line, from), newlineOf(text)),
      entry: of,
    };
  };
  return isMap(value)
    ? value.items.map((each) => part(each.value, [startOf(each), endOf(each)], each))
    : isSeq(value)
      ? value.items.map((item) => part(item, [item.range[0], nodeEnd(item)], null))
      : [];
}

function indentIn([first]: readonly Part[]): string {
  return /^ */.exec(first?.text ?? '')![0];
}

function isListOfMaps(value: EntryValue): value is readonly EntryMap[] {
  return (
    Array.isArray(value) &&
    value.length > 0 &&
    value.every((item) => typeof item === 'object' && item !== null && !Array.isArray(item))
  );
}

function listText(
  items: readonly EntryMap[],
  before: readonly Part[],
  style: { readonly pad: string; readonly newline: string },
): string {
  const pad = before.length > 0 ? indentIn(before) : style.pad;
  const byValue = new Map(before.map((part) => [textOf(part.value), part]));
  const same = items.map((item) => byValue.get(textOf(item)));
  const kept = new Set(same);
  return items
    .map((item, index) => {
      const part = same[index];
      if (part !== undefined) return part.lead + part.text;
      const replaced = before[index];
      const lead = replaced === undefined || kept.has(replaced) ? '' : replaced.lead;
      const flow = `${pad}- ${valueText(item)}`;
      const members = Object.entries(item).map(([name, value]) => `${valueText(name)}: ${valueText(value)}`);
      const text = flow.length > longest ? `${pad}- ${members.join(`${style.newline}${pad}  `)}` : flow;
      return lead + text + style.newline;
    })
    .join('');
}

/** Returns a text that equal values share, so that a comparison of long lists takes linear time. */
function textOf(value: unknown): string {
  return JSON.stringify(value, (_, inner: unknown) =>
    typeof inner === 'object' && inner !== null && !Array.isArray(inner)
      ? Object.fromEntries(Object.entries(inner).toSorted(([a], [b]) => (a < b ? -1 : 1)))
      : inner,
  );
}
