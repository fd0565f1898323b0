import { isJsonObject, type Json, type JsonObject, parseStrictJson } from '../lib/json.ts';
import type { ReadQuery } from './path.ts';
import { endOfQuoted, fold, memberOf, nextOf, percentDecoded } from './text.ts';

/** One operation of a GraphQL document. */
export interface GraphqlOperation {
  readonly type: 'query' | 'mutation' | 'subscription';
  /** '' where it has none. */
  readonly name: string;
}

/** More operations of one request, or more calls in one batch, are not read: each rule looks at all of them. */
export const maxOperations = 1_000;

/** Tokens other than texts, and what is ignored between tokens: GraphQL, edition of September 2025, §2.1. */
const lexeme = /[_A-Za-z][_0-9A-Za-z]*|-?[0-9][0-9A-Za-z_.+-]*|\.\.\.|[!$&():=@[\]{|}]/y;
const notIgnored = /[^\uFEFF\t \n\r,]/g;
const lineEnd = /[\n\r]/g;

function* lexemesOf(document: string): Generator<string> {
  for (let at = skipIgnored(document, 0); at < document.length; at = skipIgnored(document, at)) {
    const end = document[at] === '"' ? endOfText(document, at) : endOfLexeme(document, at);
    // What is no token ends the reading: see `operationsOf`.
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

/** Of a text in quotes, or of a block text: there, `\"""` is the one escape. */
function endOfText(document: string, start: number): number {
  const block = '"""';
  if (!document.startsWith(block, start)) return endOfQuoted(document, start);
  let end = document.indexOf(block, start + 3);
  while (end >= 0 && document[end - 1] === '\\') end = document.indexOf(block, end + 3);
  return end < 0 ? -1 : end + 3;
}

/**
 * Reports whether a token can stand in a selection set outside of arguments (§2.4). A text or a number cannot: a server
 * that takes the document for JSON would run what the text says.
 */
function isInSelection(token: string): boolean {
  return /^(?:[_A-Za-z]|\.\.\.$|[:(){}@]$)/.test(token);
}

const opening = new Set(['(', '[', '{']);
const closing: Readonly<Record<string, string>> = { ')': '(', ']': '[', '}': '{' };

/**
 * The operations of an executable document (§2.3), all of them: which one runs is said outside of it, in places that
 * servers look up in different order. Null where the text is no such document, or one of more than `maxOperations`.
 * Selections are not looked into.
 */
export function operationsOf(document: string): readonly GraphqlOperation[] | null {
  const operations: GraphqlOperation[] = [];
  const open: string[] = [];
  // What a definition has said so far, before its selection set: `query`, and the name after it.
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

/** GraphQL requests as clients send them (GraphQL over HTTP, §5): the document and what stands beside it. */

/** What clients call a document that the server knows already, as `documentName` writes it. */
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
 * A name as the most forgiving server reads it: `Query`, `query[]`, ` query` and `%71uery` are all `query`, and `doc_id` is
 * `docid`.
 */
function documentName(name: string): string {
  const [bare = ''] = fold(percentDecoded(name)).replace(/^\[+/, '').split(/[[\]]/, 1);
  return bare.replace(/[^\p{L}\p{N}]/gu, '');
}

/** One request of a body, or of a batch; null: it cannot be read. A document that is named by its hash cannot. */
export function operationsOfBody(request: JsonObject): readonly GraphqlOperation[] | null {
  const query = memberOf(request, 'query');
  const name = memberOf(request, 'operationName');
  if (typeof query !== 'string' || (name !== undefined && name !== null && typeof name !== 'string'))
    return null;
  // Beside a document, servers differ in which of the two they run.
  const namesDocument = [...request].some(([key, value]) => {
    const known = documentName(key);
    return value !== null && (hashNames.has(known) || (known === 'extensions' && hasDocumentName(value)));
  });
  if (namesDocument) return null;
  const operations = operationsOf(query);
  const isThere =
    typeof name !== 'string' || name === '' || operations?.some((it) => it.name === name) === true;
  return isThere ? operations : null;
}

/** Reports whether `extensions` name a document, as those of Apollo do (`persistedQuery.sha256Hash`), or cannot be read. */
function hasDocumentName(extensions: Json): boolean {
  const value = typeof extensions === 'string' ? parseStrictJson(extensions) : extensions;
  if (value === null) return false;
  if (!isJsonObject(value)) return true;
  return [...value].some(([key, inner]) => inner !== null && isDocumentName(key));
}

function isDocumentName(key: string): boolean {
  const known = documentName(key);
  return hashNames.has(known) || known.startsWith('persisted') || known.startsWith('apq');
}

/** The operations that a URL names, also none; null: it names some that cannot be read. */
export function urlOperations(query: ReadQuery): readonly GraphqlOperation[] | null {
  const documents = query.get('query') ?? [];
  for (const name of query.keys()) {
    if (name === 'query') continue;
    const known = documentName(name);
    const isHash =
      hashNames.has(known) ||
      (known === 'extensions' &&
        (documents.length === 0 || query.get(name)?.some((text) => hasDocumentName(text)) === true));
    if (isHash || known === 'query') return null;
  }
  const all: GraphqlOperation[] = [];
  for (const document of documents) {
    const operations = operationsOf(document);
    if (operations === null) return null;
    all.push(...operations);
  }
  return all;
}
