import { stripVTControlCharacters, styleText } from 'node:util';

/** What is written to: a terminal, a pipe, or a test's own. */
export interface Display {
  readonly isTTY?: boolean | undefined;
  write(text: string): unknown;
}

type Style = Parameters<typeof styleText>[0];

/** The demo's page, written from top to bottom. */
export interface Screen {
  title(name: string, what: string): void;
  /** A numbered heading. */
  step(heading: string): void;
  /** What stands beside a label; more lines stand below the first. */
  field(label: string, ...lines: readonly string[]): void;
  /** What stands side by side under two headings. */
  columns(left: Column, right: Column): void;
  /** Lines that are not under a label. */
  lines(...lines: readonly string[]): void;
  /** A line that gives way to what is written next. Nothing where there is no terminal. */
  passing(text: string): void;
  /** The text in a style, where there are colours. */
  paint(style: Style, text: string): string;
}

/** One side of `columns`. */
export interface Column {
  readonly heading: string;
  readonly lines: readonly string[];
}

const margin = '   ';
const labelWidth = 16;
const leastColumn = 40;

/** Colours only on a terminal, and never where NO_COLOR is set to anything (no-color.org). */
export function createScreen(display: Display, env: NodeJS.ProcessEnv): Screen {
  const isTerminal = display.isTTY === true;
  const coloured = isTerminal && !env['NO_COLOR'];
  let steps = 0;
  let erasing = '';

  const paint: Screen['paint'] = (style, text) =>
    coloured ? styleText(style, text, { validateStream: false }) : text;
  const write = (...lines: readonly string[]): void => {
    display.write(`${erasing}${lines.map((line) => `${line.trimEnd()}\n`).join('')}`);
    erasing = '';
  };

  return {
    paint,
    title: (name, what) => write('', `${paint('bold', name)}  ${what}`),
    step(heading) {
      steps += 1;
      write(`${paint(['bold', 'cyan'], String(steps))}  ${paint('bold', heading)}`);
    },
    field(label, ...lines) {
      const labels = [
        paint('dim', label.padEnd(labelWidth)),
        ...lines.slice(1).map(() => ' '.repeat(labelWidth)),
      ];
      write(...lines.map((line, index) => `${margin}${labels[index]}${line}`));
    },
    columns(left, right) {
      const rows = Math.max(left.lines.length, right.lines.length);
      const width = Math.max(leastColumn, ...left.lines.map((line) => widthOf(line) + 2));
      const row = (one = '', other = ''): string => `${margin}${cell(one, width)}${other}`;
      write(
        row(paint('underline', left.heading), paint('underline', right.heading)),
        ...Array.from({ length: rows }, (_, index) => row(left.lines[index], right.lines[index])),
      );
    },
    lines: (...lines) => write(...lines.map((line) => `${margin}${line}`)),
    passing(text) {
      if (!isTerminal) return;
      display.write(`${erasing}${margin}${paint('dim', text)}`);
      erasing = '\r\u001b[2K';
    },
  };
}

/** The text and what brings the next column to its place. Styles are control sequences, and take no room. */
function cell(text: string, width: number): string {
  return text + ' '.repeat(Math.max(0, width - widthOf(text)));
}

function widthOf(text: string): number {
  return stripVTControlCharacters(text).length;
}
