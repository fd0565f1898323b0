import { PassThrough } from 'node:stream';
import { describe, expect, test } from 'vitest';
import { openLines } from '../../../src/cli/terminal.ts';

const none = new PassThrough();

describe('standard input, line by line', () => {
  test('gives each line once, and null at its end', async () => {
    const stdin = new PassThrough();
    const lines = openLines(stdin, none);
    stdin.end('one\r\ntwo\nthree');
    expect(await lines.next('?')).toBe('one');
    expect(await lines.next('?')).toBe('two');
    expect(await lines.next('?')).toBe('three');
    expect(await lines.next('?')).toBeNull();
    expect(await lines.next('?')).toBeNull();
  });

  test('does not wait for its end', async () => {
    const stdin = new PassThrough();
    const lines = openLines(stdin, none);
    const line = lines.next('?');
    stdin.write('one\n');
    expect(await line).toBe('one');
    lines.close();
  });

  test('answers who waits with null when it is closed', async () => {
    const stdin = new PassThrough();
    const lines = openLines(stdin, none);
    const line = lines.next('?');
    lines.close();
    expect(await line).toBeNull();
    expect(stdin.isPaused()).toBe(true);
  });

  test('reads nothing before it is asked for', () => {
    const stdin = new PassThrough();
    stdin.write('for another\n');
    openLines(stdin, none).close();
    expect(String(stdin.read())).toBe('for another\n');
  });

  test('asks at a terminal alone', async () => {
    for (const isTTY of [true, false]) {
      const stdin = Object.assign(new PassThrough(), { isTTY, setRawMode: () => stdin });
      let shown = '';
      const terminal = new PassThrough().on('data', (chunk: Buffer) => (shown += chunk.toString()));
      const lines = openLines(stdin, terminal);
      const line = lines.next('What? ');
      stdin.write('this\n');
      expect(await line).toBe('this');
      lines.close();
      expect(shown.includes('What? ')).toBe(isTTY);
    }
  });

  test('ends the line of a question that nobody answered', () => {
    const stdin = Object.assign(new PassThrough(), { isTTY: true, setRawMode: () => stdin });
    let shown = '';
    const terminal = new PassThrough().on('data', (chunk: Buffer) => (shown += chunk.toString()));
    const lines = openLines(stdin, terminal);
    void lines.next('What? ');
    lines.close();
    expect(shown.endsWith('\n')).toBe(true);
  });
});
