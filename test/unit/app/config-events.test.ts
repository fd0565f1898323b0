import { expect, test } from 'vitest';
import type { AuditEvent } from '../../../src/domain/event.ts';
import { createConfigEvents } from '../../../src/app/workers.ts';

const reloaded = (reason: string): AuditEvent => ({ event: 'config.reloaded', reason });

function events() {
  const noted: (string | undefined)[] = [];
  return { noted, ...createConfigEvents({ note: ({ reason }) => void noted.push(reason) }) };
}

test('config events of several processes with the same content are recorded once, in any order', () => {
  const { noted, own, ofWorker } = events();
  ofWorker(reloaded('a → b'));
  own(reloaded('a → b'));
  ofWorker(reloaded('a → b'));
  own(reloaded('b → c'));
  ofWorker(reloaded('b → c'));
  expect(noted).toEqual(['a → b', 'b → c']);
});

test('config events of a worker that the supervisor did not receive are recorded', () => {
  const { noted, ofWorker } = events();
  ofWorker(reloaded('a → b'));
  ofWorker(reloaded('b → a'));
  expect(noted).toEqual(['a → b', 'b → a']);
});

test('a reload by a person is recorded again when nothing has changed', () => {
  const { noted, own } = events();
  own(reloaded('a → a'));
  own(reloaded('a → a'));
  expect(noted).toEqual(['a → a', 'a → a']);
});
