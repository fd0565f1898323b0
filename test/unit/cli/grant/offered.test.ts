import { expect, it } from 'vitest';
import { domainsOf, offeredBy } from '../../../../src/operations/lookup.ts';
import { offeredGrants } from '../../../../src/domain/grant.ts';
import { type Domain, isPattern, parsePattern } from '../../../../src/proxy/policy/domain-map.ts';
import { grantRecord } from '../../../support/grant-record.ts';

function domain(text: string, grant: string | null): Domain {
  const pattern = parsePattern(text);
  if (!isPattern(pattern)) throw new Error(pattern.problem);
  return {
    pattern,
    origin: text,
    action: grant === null ? { kind: 'tunnel' } : { kind: 'grant', grant, allowPlainHttp: false },
  };
}

const named = grantRecord({ name: 'github', provider: 'gitlab' });

const alice = grantRecord({ name: 'work', user: 'alice', provider: 'github' });

const bob = grantRecord({ name: 'work', user: 'bob', provider: 'github' });

const grants = [named, alice, bob];

it('a reference matches the grants of each user by id or name before those of a provider with that name', () => {
  const [own, second] = ['gh', 'github'].map((name) =>
    grantRecord({ name, user: 'alice', provider: 'github' }),
  );
  expect(offeredGrants('github', grants)).toEqual(grants);
  expect(offeredGrants('github', [...grants, own!, second!])).toEqual([named, bob, second]);
  expect(offeredGrants(bob.id, grants)).toEqual([bob]);
  expect(offeredGrants('other', grants)).toEqual([]);
});

it('a domain without a grant offers none', () => {
  expect(offeredBy(domain('a.example.com', null), grants)).toEqual([]);
  expect(offeredBy(domain('a.example.com', 'work'), grants)).toEqual([alice, bob]);
});

it('a grant is used only by the domains that offer the grant', () => {
  const domains = [
    domain('a.example.com', 'github'),
    domain('b.example.com', 'work'),
    domain('c.example.com', null),
  ];
  const uses = (grant: typeof named) => domainsOf(grant, grants, domains).map(({ origin }) => origin);
  const both = ['a.example.com', 'b.example.com'];
  expect([uses(named), uses(alice), uses(bob)]).toEqual([['a.example.com'], both, both]);
});
