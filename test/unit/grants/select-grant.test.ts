import { expect, test } from 'vitest';
import { selectGrant } from '../../../src/domain/grant.ts';
import { grantRecord } from '../../support/grant-record.ts';

const grant = (name: string, user = 'default', provider = 'github') => grantRecord({ name, user, provider });
const named = grant('github');
const work = grant('github-work');
const alice = grant('github', 'alice');

test('a single candidate is selected, by name, provider or id', () => {
  for (const reference of ['github-work', 'github', work.id]) {
    expect(selectGrant([work], { reference })).toEqual({ kind: 'selected', grant: work });
  }
});

test('a grant with the name precedes other grants of a provider with that name', () => {
  expect(selectGrant([work, named], { reference: 'github' })).toEqual({ kind: 'selected', grant: named });
});

test('a selector chooses among the grants of the domain', () => {
  expect(selectGrant([named, work], { reference: 'github', grant: 'github-work' })).toEqual({
    kind: 'selected',
    grant: work,
  });
  expect(selectGrant([named, work], { reference: 'github', grant: work.id })).toMatchObject({ grant: work });
});

test('a selector does not select a grant outside the domain', () => {
  const other = grant('gitlab', 'default', 'gitlab');
  expect(selectGrant([named, other], { reference: 'github', grant: 'gitlab' })).toEqual({ kind: 'missing' });
  expect(selectGrant([named, other], { reference: 'github', grant: other.id })).toEqual({ kind: 'missing' });
});

test('a user selects a grant of that user only', () => {
  expect(selectGrant([named, alice], { reference: 'github', user: 'alice' })).toMatchObject({ grant: alice });
  expect(selectGrant([named, alice], { reference: 'github', user: 'bob' })).toEqual({ kind: 'missing' });
});

test('several remaining candidates are ambiguous', () => {
  expect(selectGrant([named, alice], { reference: 'github' })).toEqual({
    kind: 'ambiguous',
    candidates: [named, alice],
  });
  const [a, b] = [grant('a'), grant('b')];
  expect(selectGrant([a, b], { reference: 'github' })).toEqual({ kind: 'ambiguous', candidates: [a, b] });
});

test('an id precedes a name with the same text', () => {
  const trap = grant(work.id);
  expect(selectGrant([trap, work], { reference: work.id })).toMatchObject({ grant: work });
});

test('an empty list of candidates is reported as missing', () => {
  expect(selectGrant([], { reference: 'github', grant: null, user: null })).toEqual({ kind: 'missing' });
});
