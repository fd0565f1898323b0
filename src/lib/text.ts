/** A text as one word of a POSIX shell, in quotes where the shell would act on it: for a line to paste. */
export function shellWord(text: string): string {
  return /^[A-Za-z0-9_./:@%+,-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`;
}

/** A text with its control characters written out: what others chose must not drive a person's terminal. */
export function visible(text: string): string {
  return text.replace(
    /[\p{Cc}\p{Cf}\u2028\u2029]/gu,
    (character) => `\\u${(character.codePointAt(0) ?? 0).toString(16).padStart(4, '0')}`,
  );
}

/** White space that is no blank, fillers that look like one, what has no meaning of its own, and heaps of marks. */
const deceptive =
  /(?! )[\p{Zs}\p{Co}\p{Cn}\p{Cs}\u115f\u1160\u2800\u3164\uffa0]|[\ufe00-\ufe0f\u{e0100}-\u{e01ef}]|\p{M}{4,}/gu;

/**
 * Text of agents before a person who is about to say yes: it must not act, look like something else of the page, or push
 * that out of sight. Everything that does is written out, and several blanks are one.
 */
export function untrusted(text: string): string {
  return visible(text)
    .replace(deceptive, (found) => Array.from(found, written).join(''))
    .replace(/ {2,}/g, ' ');
}

function written(character: string): string {
  const code = (character.codePointAt(0) ?? 0).toString(16);
  return code.length > 4 ? `\\u{${code}}` : `\\u${code.padStart(4, '0')}`;
}

/** Returns a sentence without its full stop, for use inside another. */
export function withoutStop(sentence: string): string {
  return sentence.replace(/\.$/, '');
}
