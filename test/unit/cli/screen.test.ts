import { PassThrough } from 'node:stream';
import { describe, expect, it } from 'vitest';
import { createScreen } from '../../../src/cli/terminal.ts';
import { settle } from '../lib/manual-time.ts';

function terminal({
  isTTY = true,
  env = {},
}: { readonly isTTY?: boolean; readonly env?: NodeJS.ProcessEnv } = {}) {
  const modes: boolean[] = [];
  const stdin = Object.assign(new PassThrough(), {
    isTTY,
    setRawMode: (mode: boolean) => void modes.push(mode),
  });
  const written = { text: '' };
  const stdout = Object.assign(new PassThrough(), { isTTY, columns: 40, rows: 3 });
  stdout.on('data', (chunk: Buffer) => (written.text += chunk.toString()));
  const keys: string[] = [];
  const open = createScreen(stdin, stdout as unknown as NodeJS.WriteStream, env);
  const screen = open?.({ key: (key) => keys.push(key), resize: () => keys.push('resize') });
  return { stdin, stdout, modes, written, keys, open, screen };
}
const lines = (...text: readonly string[]) => ({ lines: text, bold: null });

describe('a full-screen page', () => {
  it('is created only with a terminal for input and output that is not dumb', () => {
    expect(terminal({ isTTY: false }).open).toBeNull();
    expect(terminal({ env: { TERM: 'dumb' } }).open).toBeNull();
  });

  it('restores the terminal once', async () => {
    const { stdin, modes, written, screen } = terminal();
    screen?.draw(lines('one'));
    screen?.close();
    screen?.close();
    screen?.draw(lines('late'));
    await settle();
    expect(modes).toEqual([true, false]);
    expect(stdin.isPaused()).toBe(true);
    expect(stdin.listenerCount('keypress')).toBe(0);
    expect(written.text).not.toContain('late');
    // Main screen, cursor, line wrap and paste mode are restored.
    for (const mode of ['1049', '25', '7', '2004']) {
      const changes = written.text.match(new RegExp(String.raw`\u001b\[\?${mode}[hl]`, 'g')) ?? [];
      expect(new Set(changes.map((change) => change.at(-1)))).toEqual(new Set(['h', 'l']));
      expect(changes).toHaveLength(2);
    }
  });

  it('restores the terminal when the process ends with an error', async () => {
    const before = process.listenerCount('exit');
    const { modes, written, screen } = terminal();
    const [restore] = process.listeners('exit').slice(before);
    (restore as () => void)();
    await settle();
    expect(modes).toEqual([true, false]);
    expect(written.text.endsWith('\u001b[?1049l')).toBe(true);
    screen?.close();
    expect(process.listenerCount('exit')).toBe(before);
  });

  it('fits the window, and escapes control characters', async () => {
    const { written, screen } = terminal();
    await settle();
    written.text = '';
    screen?.draw(lines('one\u001b[2J', 'two\r\n', '\u009b31mthree', 'four'));
    await settle();
    expect(written.text).toBe(
      '\u001b[Hone\\u001b[2J\u001b[K\r\ntwo\\u000d\\u000a\u001b[K\r\n\\u009b31mthree\u001b[K\u001b[J',
    );
    screen?.close();
  });

  it.each([
    [{}, true],
    [{ NO_COLOR: '' }, true],
    [{ NO_COLOR: '1' }, false],
  ])('with the environment %j highlights a line: %s', async (env, isBold) => {
    const { written, screen } = terminal({ env });
    screen?.draw({ lines: ['one', 'two'], bold: 1 });
    await settle();
    expect(written.text.includes('\u001b[1mtwo\u001b[22m')).toBe(isBold);
    screen?.close();
  });

  it('reads keys, even when their bytes arrive in pieces', async () => {
    const { stdin, keys, screen } = terminal();
    stdin.write('jy\u001b[A\u001bOB\r\n\u007f');
    stdin.write('\u001b');
    stdin.write('[B');
    stdin.write('\u0003\u0004');
    await settle();
    expect(keys).toEqual([
      'j',
      'y',
      'up',
      'down',
      'return',
      'return',
      'backspace',
      'down',
      'interrupt',
      'interrupt',
    ]);
    screen?.close();
  });

  it('ignores pasted text and unknown escape sequences', async () => {
    const { stdin, keys, screen } = terminal();
    stdin.write('\u001b[200~yes, please\ny\u001b[201~');
    stdin.write('\u001by\u0019\u001b[1;5A\u001b\r\u001b[1;3A');
    stdin.write('é😀 ');
    await settle();
    expect(keys).toEqual([]);
    stdin.write('y');
    await settle();
    expect(keys).toEqual(['y']);
    screen?.close();
  });

  it('reports a change of the window size and the loss of the terminal', async () => {
    const { stdin, stdout, keys, screen } = terminal();
    stdout.emit('resize');
    stdin.end();
    await settle();
    expect(keys).toEqual(['resize', 'interrupt']);
    screen?.close();
  });
});
