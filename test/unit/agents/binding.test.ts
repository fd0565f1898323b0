import { describe, expect, it } from 'vitest';
import { everything, placeOf, reachesGrant, scopeOf, type Binding } from '../../../src/domain/lease.ts';
import { grantRecord } from '../../support/grant-record.ts';

const labels = ['staging'];
const alices = { ...grantRecord({ name: 'work', user: 'alice', provider: 'github' }), labels };
const bobs = { ...grantRecord({ name: 'work', user: 'bob', provider: 'github' }), labels };

describe('the grants that an agent reaches', () => {
  it('are none without a binding', () => {
    expect(reachesGrant([], null, alices)).toBe(false);
    expect(reachesGrant([], 'alice', alices)).toBe(false);
  });

  it.each<[Binding, boolean, boolean]>([
    [{ kind: 'grant', value: alices.id }, true, false],
    [{ kind: 'grant', value: 'work' }, false, false],
    [{ kind: 'user', value: 'alice' }, true, false],
    [{ kind: 'provider', value: 'github' }, true, true],
    [{ kind: 'provider', value: 'git' }, false, false],
    [{ kind: 'label', value: 'staging' }, true, true],
    [{ kind: 'label', value: 'prod' }, false, false],
    [everything, true, true],
    [{ kind: 'egress', value: 'api.github.com' }, false, false],
  ])('are matched exactly by the binding %j', (binding, one, other) => {
    expect(reachesGrant([binding], null, alices)).toBe(one);
    expect(reachesGrant([binding], null, bobs)).toBe(other);
  });

  it('are those of its user, unless a binding names a grant by id or by user', () => {
    for (const kind of ['provider', 'label'] as const) {
      const binding: Binding = { kind, value: kind === 'provider' ? 'github' : 'staging' };
      expect(reachesGrant([binding], 'alice', alices)).toBe(true);
      expect(reachesGrant([binding], 'alice', bobs)).toBe(false);
    }
    expect(reachesGrant([{ kind: 'user', value: 'bob' }], 'alice', bobs)).toBe(true);
    expect(reachesGrant([{ kind: 'grant', value: bobs.id }], 'alice', bobs)).toBe(true);
    expect(reachesGrant([everything], 'alice', bobs)).toBe(true);
  });
});

describe('the scope of an agent', () => {
  const owners = ['alice', 'bob', 'carol', 'default'];
  const grants = owners.flatMap((user) => {
    const grant = grantRecord({ name: 'work', user, provider: 'github' });
    return [grant, { ...grant, labels }];
  });
  const bindings: readonly Binding[] = [
    { kind: 'label', value: 'staging' },
    { kind: 'provider', value: 'github' },
    { kind: 'user', value: 'bob' },
    { kind: 'user', value: 'carol' },
    { kind: 'grant', value: grants[2]!.id },
    everything,
  ];
  const sets = Array.from({ length: 2 ** bindings.length }, (_, bits) =>
    bindings.filter((_each, n) => (bits & (2 ** n)) !== 0),
  );

  it('has each reached grant with a place', () => {
    for (const some of sets)
      for (const user of [null, 'alice']) {
        const caller = { bindings: some, user, lease: null };
        const scope = scopeOf(caller);
        if (scope === null) continue;
        const placed = grants.filter(
          (grant) => reachesGrant(some, user, grant) && placeOf(grant, caller) !== null,
        );
        const within = placed.filter(
          ({ id, user: of }) => scope.users.includes(of) || scope.ids.includes(id),
        );
        expect(within).toEqual(placed);
      }
  });

  it('with a binding by label is limited for an agent that acts for a user', () => {
    const [label] = bindings;
    const of = (user: string | null, ...more: readonly Binding[]) =>
      scopeOf({ bindings: [label!, ...more], user, lease: null });
    expect(of('alice')).toEqual({ users: ['alice', 'default'], ids: [] });
    expect(of(null)).toBeNull();
    expect(of('alice', everything)).toBeNull();
  });
});
