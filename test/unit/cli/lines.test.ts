import { PassThrough } from 'node:stream';
import { describe, expect, test } from 'vitest';
import { openLines } from '../../../src/cli/terminal.ts';

const none = new PassThrough();

describe('lines of standard input', () => {
  test('are returned once each, and null at the end', async () => {
    const stdin = new PassThrough();
    const lines = openLines(stdin, none);
    stdin.end('one\r\ntwo\nthree');
    expect(await lines.next('?')).toBe('one');
    expect(await lines.next('?')).toBe('two');
    expect(await lines.next('?')).toBe('three');
    expect(await lines.next('?')).toBeNull();
    expect(await lines.next('?')).toBeNull();
  });

  test('are returned before the end of input', async () => {
    const stdin = new PassThrough();
    const lines = openLines(stdin, none);
    const line = lines.next('?');
    stdin.write('one\n');
    expect(await line).toBe('one');
    lines.close();
  });

  test('are null for a waiting caller after close', async () => {
    const stdin = new PassThrough();
    const lines = openLines(stdin, none);
    const line = lines.next('?');
    lines.close();
    expect(await line).toBeNull();
    expect(stdin.isPaused()).toBe(true);
  });

  test('are read only on request', () => {
    const stdin = new PassThrough();
    stdin.write('for another\n');
    openLines(stdin, none).close();
    expect(String(stdin.read())).toBe('for another\n');
  });

  test('have a prompt only at a terminal', async () => {
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

  test('end the line of an unanswered prompt', () => {
    const stdin = Object.assign(new PassThrough(), { isTTY: true, setRawMode: () => stdin });
    let shown = '';
    const terminal = new PassThrough().on('data', (chunk: Buffer) => (shown += chunk.toString()));
    const lines = openLines(stdin, terminal);
    void lines.next('What? ');
    lines.close();
    expect(shown.endsWith('\n')).toBe(true);
  });
});
