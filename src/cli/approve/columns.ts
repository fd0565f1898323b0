/** Text in the columns of a terminal. */

/** The text in at most so many columns: of a longer one the beginning and the end, and how much is left out. */
export function shorten(text: string, most: number): string {
  if (widthOf(text) <= most) return text;
  const left = ` …(${Array.from(text).length} characters in all)… `;
  const room = Math.max(2, most - left.length);
  const end = Math.floor(room / 3);
  return `${fitting(text, room - end)}${left}${fittingEnd(text, end)}`;
}

/** The beginning of a text, in at most so many columns. */
export function fitting(text: string, most: number): string {
  let taken = '';
  let width = 0;
  for (const character of text) {
    width += widthOf(character);
    if (width > most) break;
    taken += character;
  }
  return taken;
}

function fittingEnd(text: string, most: number): string {
  const characters = Array.from(text);
  let width = 0;
  let from = characters.length;
  while (from > 0 && (width += widthOf(characters[from - 1] ?? '')) <= most) from -= 1;
  return characters.slice(from).join('');
}

/** All of the text in lines of at most so many columns, broken wherever a line ends, as an address has to be. */
export function wrap(text: string, columns: number): string[] {
  const lines: string[] = [];
  let rest = text;
  do {
    // A character that is wider than the line has one for itself.
    const line = fitting(rest, columns) || (Array.from(rest)[0] ?? '');
    lines.push(line);
    rest = rest.slice(line.length);
  } while (rest !== '');
  return lines;
}

/** East Asian wide characters and emoji take two columns; what may take two is taken for two. */
const wide =
  /[\u1100-\u115f\u2e80-\ua4cf\ua960-\ua97f\uac00-\ud7ff\uf900-\ufaff\ufe30-\ufe6f\uff00-\uff60\uffe0-\uffe6\u{16fe0}-\u{1b2ff}\u{1f000}-\u{1faff}\u{20000}-\u{3fffd}]|\p{Emoji_Presentation}/u;

/** Columns that the text takes at most. */
export function widthOf(text: string): number {
  let width = 0;
  for (const character of text) width += wide.test(character) ? 2 : 1;
  return width;
}
