import { isJsonObject, type Json, type JsonObject, parseStrictJson } from '../../lib/json.ts';
import type { ReadQuery } from './path.ts';
import { endOfQuoted, fold, memberOf, nextOf, percentDecoded } from './text.ts';

/** An operation of a GraphQL document. */
export interface GraphqlOperation {
  readonly type: 'query' | 'mutation' | 'subscription';
  /** Empty for an anonymous operation. */
  readonly name: string;
}

/** Maximum number of operations in a request, and of calls in a batch: each rule checks all of them. */
export const maxOperations = 1_000;

/** Tokens except strings, and ignored characters between tokens: GraphQL, September 2025, §2.1. */
const lexeme = /[_A-Za-z][_0-9A-Za-z]*|-?[0-9][0-9A-Za-z_.+-]*|\.\.\.|[!$&():=@[\]{|}]/y;
const notIgnored = /[^\uFEFF\t \n\r,]/g;
const lineEnd = /[\n\r]/g;

function* lexemesOf(document: string): Generator<string> {
  for (let at = skipIgnored(document, 0); at < document.length; at = skipIgnored(document, at)) {
    const end = document[at] === '"' ? endOfText(document, at) : endOfLexeme(document, at);
    // An invalid token ends the iteration: see `operationsOf`.
    yield end < 0 ? '' : document.slice(at, end);
    if (end < 0) return;
    at = end;
  }
}

function skipIgnored(document: string, from: number): number {
  let at = nextOf(notIgnored, document, from);
  while (document[at] === '#') at = nextOf(notIgnored, document, nextOf(lineEnd, document, at));
  return at;
}

function endOfLexeme(document: string, start: number): number {
  lexeme.lastIndex = start;
  return lexeme.test(document) ? lexeme.lastIndex : -1;
}

/** Returns the end of a string, or of a block string, whose only escape is `\"""`. */
function endOfText(document: string, start: number): number {
  const block = '"""';
  if (!document.startsWith(block, start)) return endOfQuoted(document, start);
  let end = document.indexOf(block, start + 3);
  while (end >= 0 && document[end - 1] === '\\') end = document.indexOf(block, end + 3);
  return end < 0 ? -1 : end + 3;
}

/**
 * Reports whether a token is allowed in a selection set outside of arguments (§2.4). Strings and numbers are
 * not: a server that parses the document as JSON would run the content of the string.
 */
function isInSelection(token: string): boolean {
  return /^(?:[_A-Za-z]|\.\.\.$|[:(){}@]$)/.test(token);
}

const opening = new Set(['(', '[', '{']);
const closing: Readonly<Record<string, string>> = { ')': '(', ']': '[', '}': '{' };

/**
 * Returns all operations of an executable document (§2.3), because servers differ in how they select one.
 * Null if the document is invalid or has more than `maxOperations`. Skips selections.
 */
export function operationsOf(document: string): readonly GraphqlOperation[] | null {
  const operations: GraphqlOperation[] = [];
  const open: string[] = [];
  // Tokens of a definition before its selection set: `query`, and the name after it.
  let head: { readonly keyword: string; name: string; follows: boolean } | null = null;
  let described = false;
  for (const found of lexemesOf(document)) {
    if (found === '') return null;
    const atTop = open.length === 0;
    if (!atTop && !isInSelection(found) && open.every((bracket) => bracket === '{')) return null;
    if (closing[found] !== undefined) {
      if (open.pop() !== closing[found]) return null;
      if (open.length === 0 && found === '}') head = null;
    } else if (found === '{' && atTop) {
      const keyword: string = head?.keyword ?? 'query';
      if (head === null && described) return null;
      if (keyword !== 'fragment') {
        if (operations.length === maxOperations) return null;
        operations.push({ type: keyword as GraphqlOperation['type'], name: head?.name ?? '' });
      }
      described = false;
      head = { keyword, name: '', follows: false };
      open.push(found);
    } else if (atTop && head === null) {
      if (found.startsWith('"') && !described) described = true;
      else if (/^(?:query|mutation|subscription|fragment)$/.test(found)) {
        head = { keyword: found, name: '', follows: true };
      } else return null;
    } else if (opening.has(found)) {
      open.push(found);
      if (head !== null) head.follows = false;
    } else if (head?.follows === true) {
      if (/^[_A-Za-z]/.test(found)) head.name = found;
      head.follows = false;
    }
  }
  return open.length === 0 && head === null && !described && operations.length > 0 ? operations : null;
}

/** GraphQL requests as clients send them (GraphQL over HTTP, §5): the document and its parameters. */

/** Parameter names for a document stored on the server, as `documentName` normalizes them. */
const hashNames = new Set([
  'id',
  'hash',
  'sha256',
  'sha256hash',
  'docid',
  'documentid',
  'documenthash',
  'documentname',
  'operationid',
  'operationhash',
  'operationkey',
  'queryid',
  'queryhash',
  'querykey',
  'mutationid',
  'persistedid',
  'persistedhash',
  'persistedquery',
  'persistedqueryid',
  'persistedqueryhash',
  'persisteddocument',
  'persisteddocumentid',
  'persistedoperation',
  'persistedoperationid',
  'trustedid',
  'trusteddocumentid',
]);

/**
 * Normalizes a name like the most lenient server: `Query`, `query[]`, ` query` and `%71uery` become `query`,
 * and `doc_id` becomes `docid`.
 */
function documentName(name: string): string {
  const [bare = ''] = fold(percentDecoded(name)).replace(/^\[+/, '').split(/[[\]]/, 1);
  return bare.replace(/[^\p{L}\p{N}]/gu, '');
}

/** Reads one request of a body or batch. Null if unreadable, such as a document named by its hash. */
export function operationsOfBody(request: JsonObject): readonly GraphqlOperation[] | null {
  const query = memberOf(request, 'query');
  const name = memberOf(request, 'operationName');
  if (typeof query !== 'string' || (name !== undefined && name !== null && typeof name !== 'string'))
    return null;
  // If there is a document too, servers differ in the one that they run.
  const namesDocument = [...request].some(([key, value]) => {
    const document = documentName(key);
    return (
      value !== null && (hashNames.has(document) || (document === 'extensions' && hasDocumentName(value)))
    );
  });
  if (namesDocument) return null;
  const operations = operationsOf(query);
  const isThere =
    typeof name !== 'string' || name === '' || operations?.some((it) => it.name === name) === true;
  return isThere ? operations : null;
}

/** Reports whether `extensions` name a document (Apollo's `persistedQuery.sha256Hash`) or are unreadable. */
function hasDocumentName(extensions: Json): boolean {
  const value = typeof extensions === 'string' ? parseStrictJson(extensions) : extensions;
  if (value === null) return false;
  if (!isJsonObject(value)) return true;
  return [...value].some(([key, inner]) => inner !== null && isDocumentName(key));
}

function isDocumentName(key: string): boolean {
  const document = documentName(key);
  return hashNames.has(document) || document.startsWith('persisted') || document.startsWith('apq');
}

/** Returns the operations of a URL, possibly none, or null if some are unreadable. */
export function urlOperations(query: ReadQuery): readonly GraphqlOperation[] | null {
  const documents = query.get('query') ?? [];
  for (const name of query.keys()) {
    if (name === 'query') continue;
    const key = documentName(name);
    const isHash =
      hashNames.has(key) ||
      (key === 'extensions' &&
        (documents.length === 0 || query.get(name)?.some((text) => hasDocumentName(text)) === true));
    if (isHash || key === 'query') return null;
  }
  const all: GraphqlOperation[] = [];
  for (const document of documents) {
    const operations = operationsOf(document);
    if (operations === null) return null;
    all.push(...operations);
  }
  return all;
}
