import { describe, expect, it } from 'vitest';
import { pickGrant, pickOwnGrant } from '../../../src/operations/lookup.ts';
import { grantRecord } from '../../support/grant-record.ts';
import { hintOfText } from '../../support/hint.ts';

const alice = grantRecord({ name: 'work', user: 'alice', provider: 'github' });

const bob = grantRecord({ name: 'work', user: 'bob', provider: 'github' });

const single = grantRecord({ name: 'mail', provider: 'google' });

const grants = [single, alice, bob];

const pick = (grant: string, user?: string) => pickGrant(grants, { grant, user });

const pickOwn = (grant: string, user?: string) => pickOwnGrant(grants, { grant, user }, { user: 'alice' });

describe('the grant of a caller that is limited to the user alice', () => {
  it('is the grant of alice, even if bob has a grant of the same name', () => {
    expect(pickOwn('work')).toBe(alice);
    expect(pickOwn(alice.id, 'bob')).toBe(alice);
  });

  it.each([bob.id, single.id, 'mail', 'mial'])(
    'is missing for %s, and the message names no other grant',
    (text) => {
      expect(() => pickOwn(text)).toThrow(
        expect.objectContaining({ code: 'grant_missing', message: `There is no grant ${text}.` }),
      );
    },
  );
});

describe('the grant argument of a command', () => {
  it('finds a grant by name, by id, and by name and user', () => {
    expect(pick('mail')).toBe(single);
    expect(pick(alice.id)).toBe(alice);
    expect(pick('work', 'bob')).toBe(bob);
    expect(pick(bob.id, 'bob')).toBe(bob);
  });

  it('does not find a grant by its provider', () => {
    expect(() => pick('google')).toThrow(expect.objectContaining({ code: 'grant_missing' }));
  });

  it('is refused when several grants match', () => {
    expect(() => pick('work')).toThrow(
      expect.objectContaining({
        code: 'grant_ambiguous',
        message: 'Several users have a grant work: alice, bob.',
        hint: 'name the user: --user alice',
      }),
    );
  });

  it('is refused with the first five of many users', () => {
    const many = Array.from({ length: 2_000 }, (_, n) => grantRecord({ name: 'work', user: `u${n}` }));
    expect(() => pickGrant(many, { grant: 'work' })).toThrow(
      'Several users have a grant work: u0, u1, u2, u3, u4 and others.',
    );
    expect(() => pickGrant(many, { grant: 'work', user: 'x' })).toThrow(
      'u0, u1, u2, u3, u4 and others have.',
    );
  });

  it('selects the grant without an owner when users have grants of the same name', () => {
    const unowned = grantRecord({ name: 'work', provider: 'github' });
    expect(pickGrant([...grants, unowned], { grant: 'work' })).toBe(unowned);
  });

  it('without a match is refused, with the owner or a similar name', () => {
    expect(() => pick('work', 'carol')).toThrow('The user carol has no grant work; alice, bob have.');
    expect(() => pick(alice.id, 'bob')).toThrow('alice has.');
    expect(() => pick('mial')).toThrow('There is no grant mial; did you mean mail?');
    expect(() => pick('bad name: \u001b')).toThrow('There is no grant of that name.');
    expect(() => pickGrant([], { grant: 'x' })).toThrow(
      expect.objectContaining({ hint: hintOfText('sidekey connect PROVIDER') }),
    );
  });
});
