import { execFileSync } from 'node:child_process';
import { sample, string } from '../../support/fast-check.ts';
import { expect, test } from 'vitest';
import { shellWord } from '../../../src/lib/text.ts';

test('what a shell leaves alone stays as it is', () => {
  for (const text of ['a.example.com:1', '/var/lib/sidekey-1/ca_x.crt', 'user@host']) {
    expect(shellWord(text)).toBe(text);
  }
});

test('what a shell would look for files with stands in quotes', () => {
  expect(['*.example.com', '[::1]:443'].map(shellWord)).toEqual(["'*.example.com'", "'[::1]:443'"]);
});

test('a shell reads it as the one word that it was', () => {
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
