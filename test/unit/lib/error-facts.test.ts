import { readFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { describe, expect, it } from 'vitest';
import { errorFacts, errorPhrase, SidekeyError } from '../../../src/lib/errors.ts';

const secret = 'sk-live-0123456789';
const here = /error-facts\.test\.ts:\d+:\d+/;

const caught = async (work: () => unknown): Promise<unknown> => {
  try {
    await work();
  } catch (error) {
    return error;
  }
  throw new Error('It did not fail.');
};

describe('the log text of an error', () => {
  it('contains every fact of a SidekeyError', () => {
    const facts = errorFacts(new SidekeyError('rate_limited', 'Too many.', { cause: secret }));
    expect(facts).toMatchObject({ name: 'SidekeyError', code: 'rate_limited', message: 'Too many.' });
  });

  it('contains the message of a system call error', async () => {
    const missing = await caught(() => readFile('/nowhere/at/all'));
    expect(errorFacts(missing)).toMatchObject({
      code: 'ENOENT',
      message: "ENOENT: no such file or directory, open '/nowhere/at/all'",
    });
    const refused = await caught(
      () => new Promise((_resolve, reject) => void connect(1, '127.0.0.1').once('error', reject)),
    );
    expect(errorFacts(refused).message).toBe('connect ECONNREFUSED 127.0.0.1:1');
  });

  it.each<[string, () => unknown]>([
    ['a parser', () => JSON.parse(secret)],
    ['Node', () => Buffer.from({ secret } as unknown as string)],
    ['an argument check', () => Buffer.alloc(1).fill('a', secret as unknown as number)],
    ['a field check', () => new Headers({ a: `${secret}\0` })],
    ['a URL', () => new URL(secret)],
    [
      'whoever',
      () => Promise.reject(Object.assign(new Error(secret), { name: secret, code: secret, secret })),
    ],
    ['who throws no error', () => Promise.reject(secret)],
    [
      'who fakes a stack',
      () => Promise.reject(new Error(`a\n    at ${secret} (/${secret}:1:1)\n    at /${secret}:1:1`)),
    ],
  ])('contains nothing of the text that %s quotes', async (_who, work) => {
    const error = await caught(work);
    expect(JSON.stringify(errorFacts(error)) + errorPhrase(error)).not.toContain(secret);
    expect(errorFacts(error).message).toBeUndefined();
  });

  it('contains the location of an unexpected error', async () => {
    const error = await caught(() => JSON.parse(secret));
    expect(errorFacts(error)).toMatchObject({ name: 'SyntaxError' });
    expect(errorFacts(error).frames[0]).toMatch(here);
    expect(errorPhrase(error)).toMatch(/^SyntaxError in .*error-facts\.test\.ts:\d+:\d+/);
  });

  it.each(['file:///C:/app/input.ts', 'C:/app/input.ts', 'C:\\app\\input.cjs'])(
    'contains a location of Windows: %s',
    (path) => {
      const error = Object.assign(new TypeError(secret), {
        stack: `TypeError: ${secret}\n    at ${path}:1:2\n    at read (${path}:3:4)`,
      });
      expect(errorFacts(error).frames).toEqual([`${path}:1:2`, `read (${path}:3:4)`]);
    },
  );

  it('contains only the class if nothing else is safe', () => {
    expect(errorPhrase(Object.assign(new TypeError(secret), { stack: undefined }))).toBe('TypeError');
    expect(errorPhrase(null)).toBe('object');
  });
});
