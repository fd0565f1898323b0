import { expect, test } from 'vitest';
import type { AuditEvent } from '../../../src/audit/event.ts';
import { createConfigEvents } from '../../../src/app/workers.ts';

const reloaded = (reason: string): AuditEvent => ({ event: 'config.reloaded', reason });

function events() {
  const noted: (string | undefined)[] = [];
  return { noted, ...createConfigEvents({ note: ({ reason }) => void noted.push(reason) }) };
}

test('the same news of several processes is on record once, whoever is first', () => {
  const { noted, own, ofWorker } = events();
  ofWorker(reloaded('a → b'));
  own(reloaded('a → b'));
  ofWorker(reloaded('a → b'));
  own(reloaded('b → c'));
  ofWorker(reloaded('b → c'));
  expect(noted).toEqual(['a → b', 'b → c']);
});

test('what only a worker ever had in force is on record too', () => {
  const { noted, ofWorker } = events();
  ofWorker(reloaded('a → b'));
  ofWorker(reloaded('b → a'));
  expect(noted).toEqual(['a → b', 'b → a']);
});

test('a person who reloads the same again is on record again', () => {
  const { noted, own } = events();
  own(reloaded('a → a'));
  own(reloaded('a → a'));
  expect(noted).toEqual(['a → a', 'a → a']);
});
