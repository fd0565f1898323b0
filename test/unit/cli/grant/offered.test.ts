import { expect, it } from 'vitest';
import { domainsOf, offeredBy, standingFor } from '../../../../src/cli/pick.ts';
import { type Domain, isPattern, parsePattern } from '../../../../src/policy/domain-map.ts';
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

it('a reference matches a grant by id or name before grants of a provider with that name', () => {
  expect(standingFor('github', grants)).toEqual([named]);
  expect(standingFor('github', [alice, bob])).toEqual([alice, bob]);
  expect(standingFor(bob.id, grants)).toEqual([bob]);
  expect(standingFor('other', grants)).toEqual([]);
});

it('a domain without a grant offers none', () => {
  expect(offeredBy(domain('a.example.com', null), grants)).toEqual([]);
  expect(offeredBy(domain('a.example.com', 'work'), grants)).toEqual([alice, bob]);
});

it('a grant is used only by the domains that offer it', () => {
  const domains = [
    domain('a.example.com', 'github'),
    domain('b.example.com', 'work'),
    domain('c.example.com', null),
  ];
  const uses = (grant: typeof named) => domainsOf(grant, grants, domains).map(({ origin }) => origin);
  expect([uses(named), uses(alice), uses(bob)]).toEqual([
    ['a.example.com'],
    ['b.example.com'],
    ['b.example.com'],
  ]);
});
