import { fold, percentDecoded } from '../policy/fold.ts';

/** More encodings upon each other than anybody undoes. */
const mostRounds = 8;
/** What makes a server find segments elsewhere than they stand: dots, backslashes, parameters, control characters. */
const moving = /[\\;\uFFFD]|\p{Cc}|\/\s*\.+\s*(?:\/|$)/u;

/**
 * Of a path that servers may read in another way than it stands there (`/x/../bot…`, `/%2562ot…`, `/;x/bot…`): what stands
 * before the first segment that one of the prefixes could end with, wherever that is. The rest may hold a credential, so it
 * is not answered. Null: the path has one reading, or none of its segments can be meant.
 *
 * @param target origin-form, with its query
 */
export function movedPlace(target: string, prefixes: readonly string[]): string | null {
  const path = target.split('?', 1)[0] ?? '';
  if (!isOdd(path)) return null;
  const ends = prefixes.map((prefix) => prefix.split('/').findLast((segment) => segment !== '') ?? '');
  const kept: string[] = [];
  for (const segment of path.slice(1).split('/')) {
    const end = ends.find((name) => couldBe(segment, name));
    if (end !== undefined) return `/${[...kept, end].join('/')}`;
    kept.push(segment);
  }
  return null;
}

/** Letters that nobody reads as others, in segments that are not made of dots alone: most paths are of these. */
const plain = /^(?:\/(?!\.*(?:\/|$))[\w.~-]+)*\/?$/;

/** An encoding of IIS alone: to every other server it is text. */
const wide = /%u[0-9a-f]{4}/i;

function isOdd(path: string): boolean {
  if (plain.test(path)) return false;
  if (wide.test(path)) return true;
  const bytes = inUtf8(percentDecoded(path));
  const read = fold(bytes);
  return read !== bytes.toLowerCase() || read !== decoded(read) || moving.test(read);
}

/** Whether a segment, in the reading that finds most, or a part of it begins with a name. */
function couldBe(segment: string, name: string): boolean {
  let read = fold(segment);
  for (let round = 0; round < mostRounds; round += 1) {
    const next = decoded(read);
    if (next === read) return read.split(/[/\\;]/).some((part) => part.trimStart().startsWith(fold(name)));
    read = next;
  }
  return true;
}

/** One decoding, that of IIS included. */
function decoded(text: string): string {
  return fold(inUtf8(percentDecoded(text)));
}

/** Bytes, one a character, as the text that they stand for. */
function inUtf8(text: string): string {
  // oxlint-disable-next-line no-control-regex -- all bytes
  return /^[\0-\xff]*$/.test(text) ? Buffer.from(text, 'latin1').toString('utf8') : text;
}
