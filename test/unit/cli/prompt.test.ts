import { PassThrough } from 'node:stream';
import { describe, expect, test } from 'vitest';
import { createAsk, readInput } from '../../../src/cli/terminal.ts';

function terminal(isTTY = true) {
  const stdin = Object.assign(new PassThrough(), { isTTY, setRawMode() {} });
  let shown = '';
  const stderr = {
    write(text: string | Uint8Array) {
      shown += typeof text === 'string' ? text : Buffer.from(text).toString();
      return true;
    },
  };
  return { stdin, ask: createAsk(stdin, stderr), shown: () => shown };
}

describe('a prompt at the terminal', () => {
  test('returns a secret without echoing it', async () => {
    const { stdin, ask, shown } = terminal();
    const answer = ask?.('Key', { secret: true });
    stdin.write('hunter2\r');
    expect(await answer).toBe('hunter2');
    expect(shown()).toBe('Key: \n');
  });

  test('echoes an answer that is not secret', async () => {
    const { stdin, ask, shown } = terminal();
    const answer = ask?.('Account', { secret: false });
    stdin.write('AC1\r');
    expect(await answer).toBe('AC1');
    expect(shown()).toContain('AC1');
  });

  test('stays visible when the answer is edited', async () => {
    const { stdin, ask, shown } = terminal();
    const answer = ask?.('Account', { secret: false });
    stdin.write('AX\u007fC1\r');
    expect(await answer).toBe('AC1');
    expect(shown()).toContain('Account: A');
  });

  test.each(['\r', '\u0003', '\u0004'])('that ends with %j is refused with input_invalid', async (key) => {
    const { stdin, ask } = terminal();
    const answer = ask?.('Key', { secret: true });
    stdin.write(key);
    await expect(answer).rejects.toMatchObject({ code: 'input_invalid' });
  });

  test('is null when standard input is not a terminal', () => {
    expect(terminal(false).ask).toBeNull();
  });
});

test('reading all of standard input from a terminal is refused, and the message suggests a file', async () => {
  const { stdin } = terminal();
  await expect(readInput(stdin)).rejects.toMatchObject({
    code: 'input_invalid',
    hint: expect.stringContaining('< token.json') as string,
  });
});
