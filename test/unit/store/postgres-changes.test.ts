import { expect, test } from 'vitest';
import { createChangeLog, ofGrant } from '../../../src/store/postgres-changes.ts';

const nothing = { grants: [], others: false };
const anything = { grants: null, others: true };

test('the change log returns the changes since the epoch of a reader', () => {
  const log = createChangeLog();
  log.add(ofGrant('a'));
  const known = log.count();
  expect(log.since(known)).toEqual(nothing);
  log.add(ofGrant('b'));
  log.add(ofGrant('b'));
  expect(log.since(known)).toEqual({ grants: ['b'], others: false });
  log.add('agents');
  expect(log.since(known)).toEqual({ grants: ['b'], others: true });
  expect(log.since(0)).toEqual({ grants: ['a', 'b'], others: true });
});

test('a write of grants with unknown ids counts as a change of every grant', () => {
  const log = createChangeLog();
  log.add('grants');
  expect(log.since(0)).toEqual({ grants: null, others: false });
});

test('a write that does not affect requests counts as no change, or as a change of nothing', () => {
  const log = createChangeLog();
  log.add('locks');
  expect([log.count(), log.since(0)]).toEqual([0, nothing]);
  log.add('grant_activity');
  expect([log.count(), log.since(0)]).toEqual([1, nothing]);
});

test.each([
  ['lost notifications', (log: ReturnType<typeof createChangeLog>) => log.lose()],
  ['a notification that names nothing', (log: ReturnType<typeof createChangeLog>) => log.add('')],
])(
  'after %s everything counts as changed, and later changes are listed individually again',
  (_name, lose) => {
    const log = createChangeLog();
    log.add(ofGrant('a'));
    const before = log.count();
    lose(log);
    expect(log.count()).toBeGreaterThan(before);
    expect(log.since(before)).toEqual(anything);
    const known = log.count();
    log.add(ofGrant('c'));
    expect(log.since(known)).toEqual({ grants: ['c'], others: false });
  },
);

test('everything counts as changed for a reader that is more than 4,096 changes behind', () => {
  const log = createChangeLog();
  for (let n = 0; n < 20_000; n += 1) log.add(ofGrant(String(n)));
  expect(log.since(0)).toEqual(anything);
  expect(log.since(log.count() - 4_000).grants).toHaveLength(4_000);
  expect(log.since(log.count() - 1)).toEqual({ grants: ['19999'], others: false });
});
