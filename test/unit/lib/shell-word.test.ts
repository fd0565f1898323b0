import { execFileSync } from 'node:child_process';
import { sample, string } from '../../support/fast-check.ts';
import { expect, test } from 'vitest';
import { shellWord } from '../../../src/lib/text.ts';

test('a word without special characters is unchanged', () => {
  for (const text of ['a.example.com:1', '/var/lib/sidekey-1/ca_x.crt', 'user@host']) {
    expect(shellWord(text)).toBe(text);
  }
});

test('a word with glob characters is quoted', () => {
  expect(['*.example.com', '[::1]:443'].map(shellWord)).toEqual(["'*.example.com'", "'[::1]:443'"]);
});

test('a shell parses the quoted word as the original word', () => {
  const words = sample(string({ unit: 'grapheme' }), { numRuns: 100, seed: 1 }).map((text) =>
    text.replaceAll('\0', ''),
  );
  const all = [
    '*.example.com',
    '[::1]:443',
    "it's",
    '~',
    '',
    '$HOME',
    'a b',
    '`id`',
    'a\nb',
    '!x',
    '#x',
    'x=1',
    ...words,
  ];
  const printed = execFileSync('/bin/sh', ['-c', `printf '%s\\0' ${all.map(shellWord).join(' ')}`], {
    encoding: 'utf8',
  });
  expect(printed.split('\0').slice(0, -1)).toEqual(all);
});
