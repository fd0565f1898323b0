import { endOfQuoted, nextOf } from './scan.ts';

/** One operation of a GraphQL document. */
export interface GraphqlOperation {
  readonly type: 'query' | 'mutation' | 'subscription';
  /** '' where it has none. */
  readonly name: string;
}

/** More operations of one request, or more calls in one batch, are not read: each rule looks at all of them. */
export const mostOperations = 1_000;

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
 * servers look up in different order. Null where the text is no such document, or one of more than `mostOperations`.
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
        if (operations.length === mostOperations) return null;
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
