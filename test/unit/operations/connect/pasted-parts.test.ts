import { describe, expect, test } from 'vitest';
import { doubtOf, readParts } from '../../../../src/operations/connect/pasted.ts';
import type { PastedToken, TokenPart } from '../../../../src/domain/provider.ts';

const part = (name: string, prefixes: TokenPart['prefixes'] = []): TokenPart => ({
  name,
  label: name,
  secret: true,
  prefixes,
});

const token = (...names: string[]): PastedToken => ({
  label: 'API key',
  url: null,
  steps: [],
  parts: names.map((name) => part(name)),
  inject: { kind: 'inject' },
});

describe('a credential pasted on standard input', () => {
  test.each([
    ['  sk-123\n', token('token'), { token: 'sk-123' }],
    ['\uFEFFsk-123', token('token'), { token: 'sk-123' }],
    ['{"token":"sk-123"}', token('token'), { token: 'sk-123' }],
    ['sid=AC1\nsecret = a=b \r\n\n', token('sid', 'secret'), { sid: 'AC1', secret: 'a=b' }],
    ['{"sid":"AC1","secret":"s"}', token('sid', 'secret'), { sid: 'AC1', secret: 's' }],
  ])('is read: %j', (text, of, parts) => expect(readParts(text, of)).toEqual(parts));

  test.each([
    ['', token('token'), /empty/],
    ['sid=AC1', token('sid', 'secret'), /part secret is missing/],
    ['sid=AC1\nsid=AC2\nsecret=s', token('sid', 'secret'), /twice/],
    ['sid=AC1\nhunter2', token('sid', 'secret'), /a line that is not NAME=VALUE/],
    ['sid=AC1\nsecret=s\nhunter=2', token('sid', 'secret'), /a part that this provider has not/],
    ['{"sid":1,"secret":"s"}', token('sid', 'secret'), /not a text/],
    ['{"sid":', token('sid', 'secret'), /not valid JSON/],
  ])('is refused without its text in the message: %j', (text, of, message) => {
    let thrown: unknown;
    try {
      readParts(text, of);
    } catch (error) {
      thrown = error;
    }
    expect(thrown).toMatchObject({ code: 'input_invalid', message: expect.stringMatching(message) });
    expect(String(thrown)).not.toMatch(/hunter|AC1/);
  });
});

describe('the check of the form of a credential', () => {
  const key = part('key', [
    { prefix: 'sk-ant-', label: 'an Anthropic key', wrongKind: true },
    { prefix: 'sk-', label: 'a key', wrongKind: false },
    { prefix: 'pk-', label: 'a public key', wrongKind: true },
  ]);

  test.each([
    ['sk-1', null],
    ['sk-ant-1', 'This looks like an Anthropic key, which does not fit here.'],
    ['pk-1', 'This looks like a public key, which does not fit here.'],
    ['whatever', 'The key usually begins with sk-; this does not.'],
  ])('%s: %s', (value, doubt) => expect(doubtOf(value, key)).toBe(doubt));

  test('accepts any value when the provider has no known form', () => {
    expect(doubtOf('whatever', part('key'))).toBeNull();
  });
});
