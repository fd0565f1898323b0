import { styleText } from 'node:util';
import { visible } from '../lib/text.ts';

export type Display = ReturnType<typeof createDisplay>;

/** Returns the display of a stream. Reads the width on each use, because a window can change. */
export function createDisplay(
  stream: { readonly isTTY?: boolean; readonly columns?: number },
  env: NodeJS.ProcessEnv,
) {
  const isTerminal = stream.isTTY === true;
  // https://no-color.org: any value but the empty one
  const isColored = isTerminal && (env['NO_COLOR'] ?? '') === '' && env['TERM'] !== 'dumb';
  return {
    /** Columns of the terminal; Infinity: no terminal, so texts have their full length. */
    get width() {
      if (!isTerminal) return Infinity;
      return (stream.columns ?? 0) > 0 ? Number(stream.columns) : 80;
    },
    /** Returns the text in a style if the stream has colors. */
    paint: (style: 'green' | 'red' | 'yellow' | 'bold', text: string) =>
      isColored ? styleText(style, text, { validateStream: false }) : text,
  };
}

/** Columns between two cells. */
const gap = 2;

interface TableShape {
  /** Headings of columns to shorten on a narrow terminal. If that is not enough, drops the first ones. */
  readonly least?: readonly string[];
  /** Columns that a shortened cell keeps. */
  readonly floor?: number;
  /** Maximum width of a column if nothing is shortened. Wider cells do not widen it. */
  readonly widest?: number;
}

/**
 * Creates a table within the width of a display, whose columns widen with its rows. Escapes control
 * characters, as cells may be untrusted.
 */
export function createTable(
  { width, paint }: Display,
  headings: readonly string[],
  { least = [], floor = 12, widest = Infinity }: TableShape = {},
) {
  const wanted = headings.map(widthOf);
  const order = least.map((heading) => headings.indexOf(heading)).filter((index) => index >= 0);
  let widths: readonly number[] | null = null;

  /** Shortens the widest of the least important columns until the table fits, then drops them in order. */
  function fit(): readonly number[] {
    for (let dropped = 0; ; dropped += 1) {
      const left = new Set(order.slice(0, dropped));
      const fitted = wanted.map((room, index) => (left.has(index) ? 0 : room));
      let over = fitted.reduce((sum, room) => sum + (room === 0 ? 0 : room + gap), -gap) - width;
      for (; over > 0; over -= 1) {
        const above = order.slice(dropped).filter((index) => (fitted[index] ?? 0) > floor);
        const [widest] = above.toSorted((a, b) => (fitted[b] ?? 0) - (fitted[a] ?? 0));
        if (widest === undefined) break;
        fitted[widest] = (fitted[widest] ?? 0) - 1;
      }
      if (over <= 0 || dropped === order.length) return fitted;
    }
  }
  function line(cells: readonly string[], paintCell: (text: string, heading: string) => string): string {
    const rooms = (widths ??= fit());
    return cells
      .flatMap((cell, index) => {
        const room = rooms[index] ?? 0;
        if (room === 0 && wanted[index] !== 0) return [];
        const text = width === Infinity ? visible(cell) : ending(visible(cell), room);
        return [paintCell(text, headings[index] ?? '') + ' '.repeat(Math.max(0, room - widthOf(text)))];
      })
      .join(' '.repeat(gap))
      .trimEnd();
  }
  return {
    /** Widens the columns to fit the cells. */
    add: (cells: readonly string[]): void => {
      for (const [index, cell] of cells.entries()) {
        const most = width === Infinity ? widest : Infinity;
        const room = Math.max(wanted[index] ?? 0, Math.min(most, widthOf(visible(cell))));
        if (room !== wanted[index]) widths = null;
        wanted[index] = room;
      }
    },
    head: () => line(headings, (text) => paint('bold', text)),
    /** Returns a row after `add`. */
    line: (cells: readonly string[]) =>
      line(cells, (text, heading) => (stated.has(heading) ? paintState(paint, text) : text)),
  };
}

/** Rows under headings. */
export function table(
  display: Display,
  headings: readonly string[],
  rows: readonly (readonly string[])[],
  shape: TableShape = {},
): string {
  const made = createTable(display, headings, shape);
  for (const row of rows) made.add(row);
  return [made.head(), ...rows.map(made.line)].join('\n');
}

/** Columns that show a state. */
const stated: ReadonlySet<string> = new Set(['STATE', 'GRANT NOW', 'RESULT']);

const states = [
  ['green', /(^|: )(active|enabled|[23]\d\d|ok)(?=$|,| by )/g],
  ['red', /(^|: )(expired|revoked|disabled|MISSING|deny|failed|aborted|[45]\d\d)(?=$|[ ,])/g],
  ['yellow', /(^|: )(reauth_required|used up)(?=$|,)/g],
] as const;

function paintState(paint: Display['paint'], text: string): string {
  return states.reduce(
    (painted, [style, words]) =>
      painted.replace(words, (_, before: string, word: string) => before + paint(style, word)),
    text,
  );
}

/** Rows as lines, each column as wide as its widest cell. A terminal wraps the words of the last column. */
export function columns({ width, paint }: Display, rows: readonly (readonly string[])[]): string[] {
  const lines = rows.map((row) => row.map(visible));
  const count = Math.max(0, ...lines.map((line) => line.length));
  const widths = Array.from({ length: count }, (_, column) =>
    Math.max(...lines.map((line) => widthOf(line[column] ?? ''))),
  );
  const before = widths.slice(0, -1).reduce((sum, room) => sum + room + gap, 0);
  return lines.flatMap((line) => {
    const text = line
      .map((cell, column) => cell + ' '.repeat((widths[column] ?? 0) - widthOf(cell)))
      .join(' '.repeat(gap))
      .trimEnd();
    const [first = '', ...rest] =
      widthOf(text) <= width || line.length < count || width - before < 20
        ? [text]
        : wrapWords(text, width, ' '.repeat(before));
    return [first.replace(marks, (mark) => paint(mark.includes('✓') ? 'green' : 'red', mark)), ...rest];
  });
}

/** Result of a check at the start of a line. */
const marks = /^ *[✓✗](?= )/;

/** Names and values, one per line, below a title. Omits values that are null. */
export function details(
  display: Display,
  title: string,
  facts: Readonly<Record<string, string | null>>,
): string {
  const rows = Object.entries(facts).flatMap(([name, value]) =>
    value === null ? [] : [[`  ${name}`, value]],
  );
  return [display.paint('bold', visible(title)), ...columns(display, rows)].join('\n');
}

/**
 * Splits a text between its words or the given parts into lines of at most `width` columns. Lines after the
 * first begin with `indent`.
 */
export function wrapWords(text: string | readonly string[], width: number, indent: string): string[] {
  const lines: string[] = [];
  let line = '';
  for (const word of typeof text === 'string' ? text.split(/(?<=[^ ]) /) : text) {
    const longer = line === '' ? word : `${line} ${word}`;
    if (line === '' || widthOf(longer) <= width) line = longer;
    else {
      lines.push(line.trimEnd());
      line = indent + word.trimStart();
    }
  }
  return [...lines, line];
}

/** Wraps each line of a message at its words. Keeps a command whole, so that it can be copied. */
export function wrapMessage(text: string, { width }: Pick<Display, 'width'>): string {
  return text
    .split('\n')
    .flatMap((line) =>
      widthOf(line) <= width
        ? [line]
        : wrapWords(
            isHint.test(line) ? piecesOf(line) : line,
            width,
            /^ *(?:[→·-] )?/.exec(line)?.[0].replace(/[^ ]/g, ' ') ?? '',
          ),
    )
    .join('\n');
}

/** A line of a message with a command. */
const isHint = /^ *(?:(?:npx )?sidekey |→)/;

/** Splits a hint into words and whole commands, which end at a comma, semicolon, colon or parenthesis. */
function piecesOf(line: string): readonly string[] {
  return line
    .split(/(?<=[,;:]) | (?=\()/)
    .flatMap((part) => (isCommand.test(part) ? [part] : part.split(/(?<=[^ ]) /)));
}

const isCommand = /sidekey(?:\.js)? [a-z-]|[|<$]|^ *→ [a-z]+ [-/~]/;

/** Returns a text in at most `most` columns. A shortened text ends in `…`. */
export function ending(text: string, most: number): string {
  return widthOf(text) <= most ? text : `${fitting(text, most - 1).trimEnd()}…`;
}

/** Returns the start of a text, in at most `most` columns. */
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

/** East Asian wide characters and emoji take two columns; ambiguous characters count as two. */
const wide =
  /[\u1100-\u115f\u2e80-\ua4cf\ua960-\ua97f\uac00-\ud7ff\uf900-\ufaff\ufe30-\ufe6f\uff00-\uff60\uffe0-\uffe6\u{16fe0}-\u{1b2ff}\u{1f000}-\u{1faff}\u{20000}-\u{3fffd}]|\p{Emoji_Presentation}/u;

/** A fast path: nearly every text matches, and testing each character would dominate a command. */
const narrow = /^[ -~]*$/;

/** Returns the maximum number of columns of the text. */
export function widthOf(text: string): number {
  if (narrow.test(text)) return text.length;
  let width = 0;
  for (const character of text) width += wide.test(character) ? 2 : 1;
  return width;
}
