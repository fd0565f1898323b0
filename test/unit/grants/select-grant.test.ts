import { expect, test } from 'vitest';
import { selectGrant } from '../../../src/grants/grant.ts';
import { grantRecord } from '../../support/grant-record.ts';

const grant = (name: string, user = 'default', provider = 'github') => grantRecord({ name, user, provider });
const named = grant('github');
const work = grant('github-work');
const alice = grant('github', 'alice');

test('the only candidate is selected, by name, provider or id', () => {
  for (const reference of ['github-work', 'github', work.id]) {
    expect(selectGrant([work], { reference })).toEqual({ kind: 'selected', grant: work });
  }
});

test('a grant of that name goes before others of a provider of that name', () => {
  expect(selectGrant([work, named], { reference: 'github' })).toEqual({ kind: 'selected', grant: named });
});

test('a selector chooses among what the domain offers', () => {
  expect(selectGrant([named, work], { reference: 'github', grant: 'github-work' })).toEqual({
    kind: 'selected',
    grant: work,
  });
  expect(selectGrant([named, work], { reference: 'github', grant: work.id })).toMatchObject({ grant: work });
});

test('a selector never reaches beyond what the domain offers', () => {
  const other = grant('gitlab', 'default', 'gitlab');
  expect(selectGrant([named, other], { reference: 'github', grant: 'gitlab' })).toEqual({ kind: 'missing' });
  expect(selectGrant([named, other], { reference: 'github', grant: other.id })).toEqual({ kind: 'missing' });
});

test('a user selects that user’s grant, and nobody else’s', () => {
  expect(selectGrant([named, alice], { reference: 'github', user: 'alice' })).toMatchObject({ grant: alice });
  expect(selectGrant([named, alice], { reference: 'github', user: 'bob' })).toEqual({ kind: 'missing' });
});

test('more than one that is left is ambiguous', () => {
  expect(selectGrant([named, alice], { reference: 'github' })).toEqual({
    kind: 'ambiguous',
    candidates: [named, alice],
  });
  const [a, b] = [grant('a'), grant('b')];
  expect(selectGrant([a, b], { reference: 'github' })).toEqual({ kind: 'ambiguous', candidates: [a, b] });
});

test('an id goes before a name that looks like it', () => {
  const trap = grant(work.id);
  expect(selectGrant([trap, work], { reference: work.id })).toMatchObject({ grant: work });
});

test('no candidate is missing', () => {
  expect(selectGrant([], { reference: 'github', grant: null, user: null })).toEqual({ kind: 'missing' });
});
