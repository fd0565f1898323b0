import {
  isAlias,
  isMap,
  isNode,
  isScalar,
  isSeq,
  LineCounter,
  parseDocument,
  visit,
  type Document,
  type DocumentOptions,
  type Node,
  type Pair,
  type ParsedNode,
  type ParseOptions,
  type SchemaOptions,
  type YAMLError,
  type YAMLMap,
} from 'yaml';
import type { Path, Problem } from './problem.ts';

/** Maximum size of a config file that is parsed. */
export const maxConfigBytes = 1_048_576;

/** A parsed YAML text: its plain value, and the position of each part. */
export interface ConfigDocument {
  /** Maps are plain objects, keys are texts. */
  readonly value: unknown;
  /** Problems that make the file invalid or ambiguous. If there are any, `value` may be incomplete. */
  readonly problems: readonly Problem[];
  /** True if the text has a value; false for invalid YAML. */
  readonly readable: boolean;
  /** Returns the position of a value, or (`'key'`) of its key; if it is missing, of its parent. */
  position(path: Path, of?: 'value' | 'key'): Position;
}

/** 1-based line and column; columns count UTF-16 units, as editors do. */
export interface Position {
  readonly line: number;
  readonly column: number;
}

/**
 * Parses YAML 1.2 with the core schema: no tags, no merge keys, no `%YAML 1.1`, one document, unique keys.
 * The parser's own messages are not used, because some of them contain the text, which may have secrets.
 *
 * @param empty problem of an empty text
 */
export function parseConfigDocument(
  text: string,
  empty = 'is empty; it needs at least the line version: 1',
): ConfigDocument {
  const lines = new LineCounter();
  const at = (offset: number): Position => {
    const { line, col } = lines.linePos(offset);
    return { line: Math.max(line, 1), column: Math.max(col, 1) };
  };
  const broken = (message: string, offset = 0): ConfigDocument => ({
    value: undefined,
    readable: false,
    problems: [{ ...at(offset), path: [], message }],
    position: () => at(offset),
  });
  if (Buffer.byteLength(text) > maxConfigBytes) return broken('is larger than 1 MiB');
  try {
    const document = parseDocument(text, yamlOptions(lines));
    const found: Walk = { at, anchors: new Set(), aliases: [], keys: [] };
    walk(document.contents, [], found);
    const faults = findFaults(document, text, found);
    if (faults.length > 0)
      return { value: undefined, readable: false, problems: faults, position: () => at(0) };
    const value: unknown = document.toJS({ maxAliasCount: 100 });
    if (value === null) return broken(empty);
    return {
      value,
      readable: true,
      problems: found.keys,
      position: (path, of = 'value') => at(findOffset(document, path, of)),
    };
  } catch (cause) {
    // Exponential aliases, and nesting that exhausts the stack.
    return broken(
      cause instanceof ReferenceError ? 'has too many aliases (*…)' : 'is nested too deeply to be read',
    );
  }
}

/** Finds invalid or unsupported YAML: the first problem of each line. */
function findFaults(document: Document.Parsed, text: string, { at, aliases }: Walk): Problem[] {
  const errors = [...document.errors, ...document.warnings];
  /** Start of each quote, brace and bracket, by its end, where the parser reports an unclosed one. */
  const opened = new Map<number, number>();
  if (errors.length > 0)
    visit(document, {
      Node(_, { range, ...node }) {
        const isBracket = 'flow' in node && node.flow;
        if (range != null && (isBracket || /^["']/.test(text[range[0]] ?? '')))
          opened.set(range[1], range[0]);
      },
    });
  const faults = errors.map((error): Problem => {
    const isOpen = error.code === 'BAD_INDENT' || error.code === 'MISSING_CHAR';
    const start = isOpen ? opened.get(error.pos[0]) : undefined;
    const message = start === undefined ? describe(error) : `this ${text[start]} is not closed`;
    return { ...at(start ?? error.pos[0]), path: [], message };
  });
  if (document.directives.yaml.version !== '1.2')
    faults.push({ line: 1, column: 1, path: [], message: 'only YAML 1.2 is read here' });
  const ordered = [...faults, ...aliases].toSorted((a, b) => a.line - b.line || a.column - b.column);
  return ordered.filter(({ line }, index) => ordered[index - 1]?.line !== line);
}

/** Options for parsing any config text. */
export function yamlOptions(lines: LineCounter): ParseOptions & DocumentOptions & SchemaOptions {
  return {
    version: '1.2',
    schema: 'core',
    merge: false,
    resolveKnownTags: false,
    stringKeys: true,
    // Checked by `walk`, in linear time and with positions.
    uniqueKeys: false,
    prettyErrors: false,
    // With `silent` the parser ignores a second document.
    logLevel: 'error',
    lineCounter: lines,
  };
}

/** Findings of a walk through a document. */
interface Walk {
  readonly at: (offset: number) => Position;
  readonly anchors: Set<string>;
  /** Aliases without an anchor before them. */
  readonly aliases: Problem[];
  /** Duplicate keys, and `__proto__`, which programs that convert maps to objects ignore. */
  readonly keys: Problem[];
}

/** Walks through a node. `visit` of the library takes a third of the time of a parse. */
function walk(node: unknown, path: Path, found: Walk): void {
  const at = (part: unknown) => found.at(startOf(part) ?? 0);
  if (isAlias(node) && !found.anchors.has(node.source)) {
    const message = 'an alias (*…) has no anchor before it; a text that begins with * needs quotes';
    found.aliases.push({ ...at(node), path: [], message });
  } else if (isNode(node) && node.anchor !== undefined) found.anchors.add(node.anchor);
  if (isMap(node)) {
    const firstOf = new Map<string, unknown>();
    for (const { key, value } of node.items) {
      const name = keyOf(key);
      const inner = [...path, name];
      const first = firstOf.get(name);
      if (first !== undefined) {
        const message = `is here twice, first on line ${at(first).line}`;
        found.keys.push({ ...at(key), path: inner, message });
      } else if (name === '__proto__')
        found.keys.push({ ...at(key), path: inner, message: 'is not a name for anything' });
      firstOf.set(name, first ?? key);
      walk(key, inner, found);
      walk(value, inner, found);
    }
  } else if (isSeq(node)) node.items.forEach((item, index) => walk(item, [...path, index], found));
}

function keyOf(key: unknown): string {
  return isScalar(key) ? String(key.value) : String(key);
}

function findOffset(document: Document.Parsed, path: Path, of: 'value' | 'key'): number {
  let node: Node | null = document.contents;
  let offset = startOf(node) ?? 0;
  for (const [index, step] of path.entries()) {
    if (isAlias(node)) node = node.resolve(document) ?? null;
    const pair = isMap(node) ? entriesOf(node).get(String(step)) : undefined;
    const item = isSeq(node) && typeof step === 'number' ? node.items[step] : undefined;
    const value: unknown = pair?.value ?? item ?? null;
    if (pair === undefined && item === undefined) return offset;
    const keyOffset = startOf(pair?.key);
    node = value as Node | null;
    const last = index === path.length - 1;
    // The position of a map that begins on a later line is that of its key.
    const pointAtKey = keyOffset !== undefined && (isMap(value) || startOf(value) === undefined);
    offset = (!last || of === 'key' || pointAtKey ? keyOffset : undefined) ?? startOf(value) ?? offset;
  }
  return offset;
}

const entries = new WeakMap<YAMLMap, ReadonlyMap<string, Pair>>();

/** Returns the first entry of each key of a map: linear search is slow in a large map. */
function entriesOf(map: YAMLMap): ReadonlyMap<string, Pair> {
  const pairs = entries.get(map) ?? new Map(map.items.toReversed().map((pair) => [keyOf(pair.key), pair]));
  entries.set(map, pairs);
  return pairs;
}

function startOf(node: unknown): number | undefined {
  return (node as ParsedNode | null | undefined)?.range?.[0];
}

/** The parser reports the line before a line that is indented too far as a key without an end. */
const implicitKey =
  'a key must end, with its colon, on the line that it begins on; or the next line is indented too far';

/** Descriptions of the errors of the parser. Others are `this is not valid YAML`. */
const descriptions: Partial<Record<YAMLError['code'], string>> = {
  TAB_AS_INDENT: 'a tab is used to indent; use spaces',
  BAD_INDENT: 'the indentation does not match the lines around it',
  TAG_RESOLVE_FAILED: 'a tag (!…) is not read here',
  MULTIPLE_DOCS: 'a second document (---) begins; there can be one',
  NON_STRING_KEY: 'a key must be plain text; one that begins with * needs quotes',
  BAD_ALIAS: 'an alias (*…) is malformed; a text that begins with * needs quotes',
  BAD_DIRECTIVE: 'a directive (%…) is not read here',
  BAD_DQ_ESCAPE: 'a backslash escape between double quotes is not one of YAML',
  BAD_SCALAR_START: 'a text that begins with this character needs quotes',
  MULTILINE_IMPLICIT_KEY: implicitKey,
  BLOCK_AS_IMPLICIT_KEY: implicitKey,
  BLOCK_IN_FLOW: 'a block cannot be inside { } or [ ]',
  MISSING_CHAR: 'a closing quote or bracket, a colon or a comma is missing',
  RESOURCE_EXHAUSTION: 'is nested too deeply to be read',
};

function describe({ code }: YAMLError): string {
  return descriptions[code] ?? 'this is not valid YAML';
}
