import { expect, it } from 'vitest';
import { domainsByGrant, offeredBy } from '../../../../src/operations/lookup.ts';
import type { Grant } from '../../../../src/domain/grant.ts';
import { indexGrants } from '../../../../src/domain/grant-index.ts';
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

const index = indexGrants(grants);

it('a reference matches the grants of each user by id or name before those of a provider with that name', () => {
  const [own, second] = ['gh', 'github'].map((name) =>
    grantRecord({ name, user: 'alice', provider: 'github' }),
  );
  expect(index.offered('github')).toEqual(grants);
  expect(indexGrants([...grants, own!, second!]).offered('github')).toEqual([named, bob, second]);
  expect(index.offered(bob.id)).toEqual([bob]);
  expect(index.offered('other')).toEqual([]);
});

it('a domain without a grant offers none', () => {
  expect(offeredBy(domain('a.example.com', null), index)).toEqual([]);
  expect(offeredBy(domain('a.example.com', 'work'), index)).toEqual([alice, bob]);
});

it('a grant is used only by the domains that offer the grant', () => {
  const domains = [
    domain('a.example.com', 'github'),
    domain('b.example.com', 'work'),
    domain('c.example.com', null),
  ];
  const domainsOf = domainsByGrant(domains, index);
  const uses = (grant: typeof named) => domainsOf(grant).map(({ origin }) => origin);
  const both = ['a.example.com', 'b.example.com'];
  expect([uses(named), uses(alice), uses(bob)]).toEqual([['a.example.com'], both, both]);
});

it('the domains of all grants, and the grants of all domains, read each grant a constant number of times', () => {
  let reads = 0;
  const many = Array.from({ length: 1_000 }, (_, place) => {
    const record = grantRecord({ name: `grant-${place}`, user: `user-${place % 7}`, provider: 'github' });
    return new Proxy<Grant>(record, {
      get(target, key) {
        reads += 1;
        return Reflect.get(target, key) as unknown;
      },
    });
  });
  const domains = many.map(({ name }) => domain(`${name}.example.com`, name));
  const all = indexGrants(many);
  const domainsOf = domainsByGrant(domains, all);
  expect(domains.map((each) => offeredBy(each, all).length)).toEqual(many.map(() => 1));
  expect(many.map((grant) => domainsOf(grant)[0])).toEqual(domains);
  expect(reads).toBeLessThan(40 * many.length);
});

it('a grant that a domain offers by its name and by its provider counts the domain once, in their order', () => {
  const own = grantRecord({ name: 'mine', provider: 'github' });
  const first = domain('a.example.com', 'mine');
  const both: Domain = {
    ...domain('b.example.com', 'github'),
    action: { kind: 'grant', grant: 'github', allowPlainHttp: false, also: [{ grant: 'mine' } as never] },
  };
  const last = domain('c.example.com', own.id);
  expect(domainsByGrant([last, both, first], indexGrants([own]))(own)).toEqual([last, both, first]);
});
