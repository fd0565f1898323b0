import { describe, expect, it } from 'vitest';
import { everything, reachesGrant, type Binding } from '../../../src/domain/lease.ts';
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
