import { expect, test } from 'vitest';
import { asTyped, commandName } from '../../../src/lib/log.ts';

test('in a checkout, where npm runs the program, commands are shown as npx runs them', () => {
  expect(commandName('exec')).toBe('npx sidekey');
  expect(commandName('start')).toBe('npx sidekey');
  expect(commandName('test')).toBe('sidekey');
  expect(asTyped('sidekey domain list', 'npx sidekey')).toBe('npx sidekey domain list');
  expect(asTyped('To go on:\n  → sidekey start', 'npx sidekey')).toBe('To go on:\n  → npx sidekey start');
});

test('a word that only looks like the command stays', () => {
  expect(asTyped('sidekey: it failed', 'npx sidekey')).toBe('sidekey: it failed');
  expect(asTyped('the file sidekey is there', 'npx sidekey')).toBe('the file sidekey is there');
});
