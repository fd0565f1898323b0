import { expect, test } from 'vitest';
import { asTyped, commandName } from '../../../src/lib/log.ts';

test('commands are shown with npx in a checkout where npm runs the program', () => {
  expect(commandName('exec')).toBe('npx sidekey');
  expect(commandName('start')).toBe('npx sidekey');
  expect(commandName('test')).toBe('sidekey');
  expect(asTyped('sidekey domain list', 'npx sidekey')).toBe('npx sidekey domain list');
  expect(asTyped('To go on:\n  → sidekey start', 'npx sidekey')).toBe('To go on:\n  → npx sidekey start');
  expect(asTyped('sidekey status, or sidekey doctor', 'npx sidekey')).toBe(
    'npx sidekey status, or npx sidekey doctor',
  );
  expect(asTyped('sidekey agent bind, then: sidekey agent list', 'npx sidekey')).toBe(
    'npx sidekey agent bind, then: npx sidekey agent list',
  );
  expect(asTyped('as "sidekey status" says', 'npx sidekey')).toBe('as "npx sidekey status" says');
  expect(asTyped('eval "$(sidekey env)"', 'npx sidekey')).toBe('eval "$(npx sidekey env)"');
});

test('only the command is replaced, wherever it stands in a sentence', () => {
  for (const text of [
    'sidekey: it failed',
    'the file /etc/sidekey is there',
    'npx sidekey status',
    'name: sidekey',
  ])
    expect(asTyped(text, 'npx sidekey')).toBe(text);
  expect(asTyped('begin again: sidekey connect acme (`sidekey status` shows it)', 'npx sidekey')).toBe(
    'begin again: npx sidekey connect acme (`npx sidekey status` shows it)',
  );
});
