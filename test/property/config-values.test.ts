import { expect, test } from 'vitest';
import { parseConfig } from '../../src/config/load.ts';
import { splitCommandLine } from '../../src/config/locate.ts';
import {
  formatDuration,
  formatSize,
  longestDuration,
  parseDuration,
  parseSize,
} from '../../src/config/scalar.ts';
import { parseSecretReference } from '../../src/config/secret-reference.ts';
import { SidekeyError } from '../../src/lib/errors.ts';
import * as fc from '../support/fast-check.ts';

test('a duration and a size are unchanged after formatting and parsing', () => {
  fc.assert(
    fc.property(fc.nat({ max: longestDuration }), (milliseconds) => {
      expect(parseDuration(formatDuration(milliseconds))).toBe(milliseconds);
    }),
  );
  fc.assert(
    fc.property(fc.maxSafeNat(), (bytes) => {
      expect(parseSize(formatSize(bytes))).toBe(bytes);
    }),
  );
});

test('a word in single quotes is kept literally, with any content', () => {
  const word = fc.string().map((text) => text.replaceAll("'", ''));
  fc.assert(
    fc.property(fc.array(word, { minLength: 1 }), (words) => {
      expect(splitCommandLine(words.map((text) => `'${text}'`).join(' '))).toEqual(words);
    }),
  );
});

test('parsing a secret reference never throws, and a problem never repeats the text', () => {
  const marked = fc.tuple(fc.string(), fc.string()).map(([a, b]) => `${a}hunter2${b}`);
  fc.assert(
    fc.property(marked, (text) => {
      const parsed = parseSecretReference(text);
      if ('problem' in parsed) expect(parsed.problem).not.toContain('hunter2');
    }),
  );
});

test('any text is accepted as config or fails with one error that has a line and column', async () => {
  const piece = fc.constantFrom(
    'version: 1\n',
    'proxy:\n',
    '  listen: ',
    'domains:\n',
    '  a.b: ',
    'tunnel\n',
    '{ grant: x }\n',
    '{}\n',
    '- ',
    '&a ',
    '*a',
    '!x ',
    '|\n',
    '"',
    '[',
    '}',
    '\t',
    '%YAML 1.1\n',
    '---\n',
    '...\n',
    '? ',
    ': ',
    '<<: ',
    '__proto__: ',
    'null\n',
    '#\n',
    '\r',
    '\uFEFF',
    '\0',
  );
  const text = fc.oneof(
    fc.string(),
    fc.array(piece, { maxLength: 12 }).map((pieces) => pieces.join('')),
  );
  await fc.assert(
    fc.asyncProperty(text, async (yaml) => {
      const error: unknown = await parseConfig(yaml, '/x/sidekey.yaml', { env: {}, cwd: '/x' }).then(
        () => null,
        (cause: unknown) => cause,
      );
      if (error === null) return;
      expect(error).toBeInstanceOf(SidekeyError);
      expect((error as SidekeyError).message).toMatch(/^sidekey\.yaml:[1-9]\d*:[1-9]\d*: /);
    }),
    { numRuns: 1_000 },
  );
});
