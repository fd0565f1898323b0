import { expect, test } from 'vitest';
import { createChangeLog, ofGrant, ofRight, writeNotes } from '../../../src/store/change-log.ts';

const nothing = { grants: [], names: [], rights: [], others: false };
const anything = { grants: null, names: [], rights: null, others: true };

test('the change log returns the changes since the epoch of a reader', () => {
  const log = createChangeLog();
  log.add(ofGrant('a'));
  const known = log.count;
  expect(log.since(known)).toEqual(nothing);
  log.add(ofGrant('b'));
  log.add(ofGrant('b'));
  expect(log.since(known)).toEqual({ ...nothing, grants: ['b'] });
  log.add('agents');
  expect(log.since(known)).toEqual({ ...nothing, grants: ['b'], others: true });
  expect(log.since(0)).toEqual({ ...nothing, grants: ['a', 'b'], others: true });
});

test('the change log returns the names of grants that were added', () => {
  const log = createChangeLog();
  log.addGrant('a', { name: 'work', user: 'alice', provider: 'github' });
  log.addGrant('b', null);
  expect(log.since(0)).toEqual({
    ...nothing,
    grants: ['a', 'b'],
    names: [{ name: 'work', user: 'alice', provider: 'github' }],
  });
});

test('the change log returns the agents and leases that were changed, or null for any right', () => {
  const log = createChangeLog();
  log.add(ofRight('agent', 'ci'));
  log.add(ofRight('lease', 'one'));
  const rights = [
    { kind: 'agent', key: 'ci' },
    { kind: 'lease', key: 'one' },
  ];
  expect(log.since(0)).toEqual({ ...nothing, rights });
  log.add(ofRight());
  expect(log.since(0)).toEqual({ ...nothing, rights: null });
  // A table of rights, which older processes understand: the rows are in notifications of their own.
  log.add('leases');
  expect(log.since(log.count - 1)).toEqual({ ...nothing, others: true });
});

test('the notes of writes have the tables of a transaction when it commits, and what a removal cascades to', () => {
  const wrote: (readonly string[])[] = [];
  const note = writeNotes((tables) => wrote.push(tables));
  note('insert into "grants" ("id") values (?)');
  note('insert into "agents" ("name") values (?)');
  for (const text of ['begin immediate', 'update "leases" set x', 'update "grants" set x', 'rollback'])
    note(text);
  for (const text of ['begin', 'delete from "leases" where x', 'update "meta" set x', 'commit']) note(text);
  note('update "leases" set x');
  for (const text of ['begin', 'update "grants" set "due_at" = ? where x', 'commit']) note(text);
  expect(wrote).toEqual([['agents'], ['leases', 'grants', 'meta'], ['leases'], []]);
});

test('a write of grants with unknown ids counts as a change of every grant', () => {
  const log = createChangeLog();
  log.add('grants');
  expect(log.since(0)).toEqual({ ...nothing, grants: null });
});

test('a write that does not affect requests counts as no change, or as a change of nothing', () => {
  const log = createChangeLog();
  log.add('locks');
  expect([log.count, log.since(0)]).toEqual([0, nothing]);
  log.add('grant_activity');
  expect([log.count, log.since(0)]).toEqual([1, nothing]);
});

test.each([
  ['lost notifications', (log: ReturnType<typeof createChangeLog>) => log.lose()],
  ['a notification that names nothing', (log: ReturnType<typeof createChangeLog>) => log.add('')],
])(
  'after %s everything counts as changed, and later changes are listed individually again',
  (_name, lose) => {
    const log = createChangeLog();
    log.add(ofGrant('a'));
    const before = log.count;
    lose(log);
    expect(log.count).toBeGreaterThan(before);
    expect(log.since(before)).toEqual(anything);
    const known = log.count;
    log.add(ofGrant('c'));
    expect(log.since(known)).toEqual({ ...nothing, grants: ['c'] });
  },
);

test('everything counts as changed for a reader that is more than 4,096 changes behind', () => {
  const log = createChangeLog();
  for (let n = 0; n < 20_000; n += 1) log.add(ofGrant(String(n)));
  expect(log.since(0)).toEqual(anything);
  expect(log.since(log.count - 4_000).grants).toHaveLength(4_000);
  expect(log.since(log.count - 1)).toEqual({ ...nothing, grants: ['19999'] });
});
