/** Characters that nobody sees. */
const unseen = /[\p{Cf}\p{Default_Ignorable_Code_Point}]/gu;
/** Marks in a row: to put n of them in their order takes the square of n (UAX #15 §13: 30 are enough for any script). */
const manyMarks = /[\p{M}\uff9e\uff9f]{30}/gu;
/** COMBINING GRAPHEME JOINER, which no mark goes past; nobody sees it. */
const joiner = '\u034f';
// oxlint-disable-next-line no-control-regex -- all of ASCII
const ascii = /^[\0-\x7f]*$/;

/** A text as the most forgiving server compares it: in lower case, compatible characters as one, without those that nobody sees. */
export function fold(text: string): string {
  const plain = ascii.test(text)
    ? text
    : text.replace(manyMarks, `$&${joiner}`).normalize('NFKC').replace(unseen, '');
  return plain.toLowerCase();
}

/** Each `%XX`, and each `%uXXXX` of IIS, as the character of that number: decoding that never fails, to find what may be meant. */
export function percentDecoded(text: string): string {
  return text.replace(/%(?:u([0-9A-Fa-f]{4})|([0-9A-Fa-f]{2}))/gi, (_, wide: string, hex: string) =>
    String.fromCharCode(Number.parseInt(wide ?? hex, 16)),
  );
}

/** A text without the dots and blanks at its end, which some file systems do not keep. */
export function withoutTail(text: string): string {
  // By hand: a regular expression takes the square of the length for a long run that is not at the end.
  let end = text.length;
  while (end > 0 && /[\s.]/.test(text[end - 1] ?? '')) end -= 1;
  return text.slice(0, end);
}
