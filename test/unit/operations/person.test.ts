/** Who may change people. The tests of the API try the other refusals. */
import { describe, expect, test, vi } from 'vitest';
import { routes } from '../../../src/api/routes.ts';
import type { Scope } from '../../../src/domain/scopes.ts';
import { callerAtMachine, type Caller } from '../../../src/operations/caller.ts';
import { changePerson } from '../../../src/operations/person.ts';
import type { PersonRecord } from '../../../src/store/store.ts';

const alice: PersonRecord = {
  name: 'alice',
  role: 'none',
  user: null,
  disabledAt: null,
  createdAt: 1,
  identity: 'https://idp.example/ 1',
  generation: 0,
};

function link(caller: Caller) {
  const change = vi.fn<() => Promise<boolean>>().mockResolvedValue(true);
  const parts = {
    caller,
    config: { admin: { oidc: { issuer: 'https://idp.example/' } } },
    store: { people: { list: async () => [alice], change, passkeys: { list: async () => [] } } },
    audit: { append: async () => {} },
  };
  const work = changePerson.run(parts as never, { person: 'alice', subject: '2' }, 5);
  return { work, change };
}

describe('the account of a person', () => {
  test('is linked by a person at the machine', async () => {
    const { work, change } = link(callerAtMachine('root'));
    expect(await work).toMatchObject({ identity: 'https://idp.example/ 2' });
    expect(change).toHaveBeenCalledWith('alice', { identity: 'https://idp.example/ 2' }, 5);
  });

  test('is not linked by a caller of the API, whatever scopes the caller has', async () => {
    const scopes = new Set<Scope>(callerAtMachine('').scopes);
    const { work, change } = link({ ...callerAtMachine('key x'), isAtMachine: false, scopes });
    await expect(work).rejects.toMatchObject({ code: 'scope_missing' });
    expect(change).not.toHaveBeenCalled();
  });

  test('is no member of the body of the API', () => {
    const { body } = routes.find(({ id }) => id === 'changePerson')!;
    expect(body?.safeParse({ subject: '2' }).success).toBe(false);
    expect(body?.safeParse({ disabled: true }).success).toBe(true);
  });
});
