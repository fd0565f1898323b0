/**
 * Reading a text from left to right by hand: a regular expression with a group that repeats runs out of stack on a long
 * text.
 */

/** Where a pattern is found next; the length of the text where it is not. The pattern is global (`/…/g`). */
export function nextOf(pattern: RegExp, text: string, from: number): number {
  pattern.lastIndex = from;
  return pattern.exec(text)?.index ?? text.length;
}

/** What means something within quotes: their end, an escape, and the end of the line, which has to come later. */
const notable = /["\\\n\r]/g;

/** Behind the quote that ends what the quote at `start` begins, in JSON and in GraphQL; -1 where nothing ends it. */
export function endOfQuoted(text: string, start: number): number {
  let at = nextOf(notable, text, start + 1);
  while (text[at] === '\\' && !isLineEnd(text[at + 1])) at = nextOf(notable, text, at + 2);
  return text[at] === '"' ? at + 1 : -1;
}

function isLineEnd(character: string | undefined): boolean {
  return character === '\n' || character === '\r';
}
