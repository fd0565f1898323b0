import { emitKeypressEvents } from 'node:readline';
import { visible } from '../visible.ts';
import type { Input } from './input.ts';
import type { Streams } from './output.ts';

/** A page on a terminal. Control characters in its lines are written out, and none goes over the edge. */
export interface Page {
  readonly lines: readonly string[];
  /** The index of a line that stands out; null: none does. */
  readonly bold: number | null;
}

/** What the page hears of. */
export interface Listener {
  /** A key: the character that it types, or `up`, `down`, `return`, `escape`, `backspace`, `interrupt`. */
  readonly key: (key: string) => void;
  readonly resize: () => void;
}

/** A terminal that is drawn on, and read key by key. */
export interface Screen {
  readonly size: () => { readonly columns: number; readonly rows: number };
  readonly draw: (page: Page) => void;
  /** Leaves the terminal as it was. Idempotent. */
  readonly close: () => void;
}

export type OpenScreen = (listener: Listener) => Screen;

/** Another page than what stands there, no cursor, no line that goes on in the next one, pastes told from typing. */
const begin = '\u001b[?1049h\u001b[?25l\u001b[?7l\u001b[?2004h';
const end = '\u001b[?2004l\u001b[?7h\u001b[?25h\u001b[?1049l';

/** Null where input and output are no terminal on which one can draw. */
export function createScreen(
  stdin: Input & { setRawMode?: (mode: boolean) => unknown },
  stdout: Streams['stdout'],
  env: NodeJS.ProcessEnv,
): OpenScreen | null {
  if (stdin.isTTY !== true || stdout.isTTY !== true || env['TERM'] === 'dumb') return null;
  // https://no-color.org: any value but the empty one
  const style = (env['NO_COLOR'] ?? '') === '' ? { on: '\u001b[1m', off: '\u001b[0m' } : { on: '', off: '' };
  return ({ key, resize }) => {
    let isOpen = true;
    let isPaste = false;
    function press(text: string | undefined, { name, ctrl, meta }: Press): void {
      // What is pasted was typed for something else, and answers nothing.
      if (name === 'paste-start' || name === 'paste-end') isPaste = name === 'paste-start';
      else if (ctrl === true) {
        if (name === 'c' || name === 'd') key('interrupt');
      } else if (!isPaste && meta !== true) {
        const special = name === 'enter' ? 'return' : (name ?? '');
        if (specials.has(special)) key(special);
        else if (text !== undefined && /^[\x21-\x7e]$/.test(text)) key(text);
      }
    }
    const leave = () => key('interrupt');
    function close(): void {
      if (!isOpen) return;
      isOpen = false;
      stdin.off('keypress', press).off('end', leave);
      stdout.off?.('resize', resize);
      process.off('exit', close);
      stdin.setRawMode?.(false);
      stdin.pause();
      stdout.write(end);
    }
    emitKeypressEvents(stdin);
    stdin.on('keypress', press).once('end', leave);
    stdout.on?.('resize', resize);
    // Also where the process ends over an error that nobody expects.
    process.once('exit', close);
    stdin.setRawMode?.(true);
    stdin.resume();
    stdout.write(begin);
    const size = () => ({ columns: stdout.columns ?? 80, rows: stdout.rows ?? 24 });
    return {
      size,
      draw({ lines, bold }) {
        if (!isOpen) return;
        const shown = lines.slice(0, size().rows).map((line, index) => {
          const text = visible(line);
          return `${index === bold ? `${style.on}${text}${style.off}` : text}\u001b[K`;
        });
        stdout.write(`\u001b[H${shown.join('\r\n')}\u001b[J`);
      },
      close,
    };
  };
}

/** What Node says of a key besides its text. */
interface Press {
  readonly name?: string;
  readonly ctrl?: boolean;
  readonly meta?: boolean;
}

const specials: ReadonlySet<string> = new Set(['up', 'down', 'return', 'escape', 'backspace']);
