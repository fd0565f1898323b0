/** A new credential for a grant that exists. */
import { describe, expect, onTestFinished, test, vi } from 'vitest';
import { createDatabase, postgresMissing } from '../../support/postgres.ts';
import type { GrantRecord } from '../../../src/store/store.ts';
import { startService } from '../../support/service.ts';
import { allGrants } from '../../support/all-grants.ts';

const audience = ['eu.acme.test'];

/** Grants `desk` of alice and of bob for one host of a provider that has two, and a key for each user. */
async function twoUsers() {
  const at = await startService({
    config: { providers: { acme: { audience: ['eu.acme.test', 'us.acme.test'] } } },
  });
  for (const user of ['alice', 'bob']) {
    const credential = { api_key: `key-of-${user}-0123` };
    const body = { name: 'desk', user, provider: 'acme', credential, audience, verify: false };
    expect((await at.call('POST /v2/grants', { body })).status).toBe(201);
  }
  const policy = { max_ttl: '60d', expires: '30d', labels: ['prod'], metadata: { team: 'core' } };
  await at.call('PATCH /v2/grants/desk?user=alice', { body: policy });
  const alice = await at.key({ role: 'user', user: 'alice' });
  const reader = await at.key({ scopes: ['grants:read', 'tokens:read'] });
  const shown = async () => (await at.call('GET /v2/grants/desk?user=alice')).body;
  const valueOf = async (user: string) =>
    (await at.call(`GET /v2/users/${user}/tokens/desk`, { key: reader })).body.token_data?.api_key as unknown;
  return { ...at, alice, shown, valueOf };
}

const next = { api_key: 'key-of-alice-4567' };

describe('a replaced credential', () => {
  test.each([
    ['PUT /v2/grants/desk/credential', { credential: next, verify: false }],
    [
      'POST /v2/users/alice/tokens',
      { integration_key: 'desk', provider: 'acme', token_type: 'api_key', token_data: next },
    ],
  ])('by %s leaves the ID, the hosts and the settings of the grant', async (request, body) => {
    const { call, alice, shown, sidekey, valueOf } = await twoUsers();
    const before = await shown();
    const { status } = await call(request, { body, key: alice });
    expect(status).toBeLessThan(300);
    const { updated_at: _, revision: __, fingerprint, ...kept } = await shown();
    expect(fingerprint).not.toBe(before.fingerprint);
    expect(before).toMatchObject(kept);
    expect(kept).toMatchObject({ audience, settings: { labels: ['prod'], metadata: { team: 'core' } } });
    expect([await valueOf('alice'), await valueOf('bob')]).toEqual([next.api_key, 'key-of-bob-0123']);
    expect((await sidekey.audit()).findLast(({ event }) => event === 'grant.added')).toMatchObject({
      grant: before.id,
      user: 'alice',
      reason: 'replaced',
    });
  });

  test('makes a revoked grant active, with the hosts of the provider', async () => {
    const { call, alice, shown, valueOf } = await twoUsers();
    await call('POST /v2/grants/desk/revoke', { body: { local: true }, key: alice });
    const body = { credential: next, verify: false };
    expect((await call('PUT /v2/grants/desk/credential', { body, key: alice })).status).toBe(200);
    expect(await shown()).toMatchObject({ state: 'active', audience: [...audience, 'us.acme.test'] });
    expect(await valueOf('alice')).toBe(next.api_key);
  });

  test.each([
    ['of another provider', { ...next, provider: 'github' }, 400],
    ['of another provider as text', JSON.stringify({ ...next, provider: 'github' }), 400],
    ['with a policy that the caller may not set', { ...next, policy: { max_ttl: '90d' } }, 403],
    ['with an end after the maximum', { ...next, policy: { expires: '90d' } }, 400],
    ['of two entries', JSON.stringify([next, next]), 400],
  ])('%s is refused, and the old one stays', async (_, credential, status) => {
    const { call, alice, shown, valueOf } = await twoUsers();
    const before = await shown();
    const body = { credential, verify: false };
    expect((await call('PUT /v2/grants/desk/credential', { body, key: alice })).status).toBe(status);
    expect(await shown()).toEqual(before);
    expect(await valueOf('alice')).toBe('key-of-alice-0123');
  });

  test('of bob is refused to alice', async () => {
    const { call, alice, sidekey, valueOf } = await twoUsers();
    const grants = await allGrants(sidekey.proxy.state.store);
    const { id } = grants.find(({ user }) => user === 'bob')!;
    const body = { credential: next, verify: false };
    for (const path of [id, 'desk?user=bob', `${id}?user=alice`]) {
      const [grant, query = ''] = path.split('?');
      const request = `PUT /v2/grants/${grant}/credential?${query}`;
      expect((await call(request, { body, key: alice })).status, path).toBe(404);
    }
    expect(await valueOf('bob')).toBe('key-of-bob-0123');
  });

  test('names a user in its entry that is not the owner, without effect', async () => {
    const { call, alice, valueOf } = await twoUsers();
    const body = { credential: { ...next, user: 'bob', name: 'other' }, verify: false };
    expect((await call('PUT /v2/grants/desk/credential', { body, key: alice })).status).toBe(200);
    expect([await valueOf('alice'), await valueOf('bob')]).toEqual([next.api_key, 'key-of-bob-0123']);
  });
});

/** Returns the config of a new database of PostgreSQL. */
async function postgresStore() {
  const { address, drop } = await createDatabase();
  onTestFinished(drop);
  return { store: `postgres://${address.user}@127.0.0.1:${address.port}/${address.database}` as never };
}

const databases = [
  ['SQLite', null, async () => ({})],
  ['PostgreSQL', postgresMissing, postgresStore],
] as const;

describe.each(databases)('in %s', (_, missing, configOf) => {
  const why = missing ?? '';
  test.skipIf(missing !== null)(
    `two first tokens of a key at once are stored one after the other${why}`,
    async () => {
      const { call, key, sidekey } = await startService({ config: await configOf() });
      const { grants } = sidekey.proxy.state.store;
      const insert = grants.insert.bind(grants);
      const both = Promise.withResolvers<void>();
      let calls = 0;
      vi.spyOn(grants, 'insert').mockImplementation(async (...records: readonly GrantRecord[]) => {
        calls += 1;
        if (calls === 2) both.resolve();
        await both.promise;
        return insert(...records);
      });
      const values = ['key-of-one-0123', 'key-of-other-4567'];
      const stored = await Promise.all(
        values.map((api_key) => {
          const token = { integration_key: 'openai', provider: 'openai', token_type: 'api_key' };
          return call('POST /v2/users/u/tokens', { body: { ...token, token_data: { api_key } } });
        }),
      );
      expect(stored.map(({ status }) => status)).toEqual([201, 201]);
      const [one, other] = stored.map((answer) => answer.body.grant_id as string);
      expect(one).toBe(other);
      const reader = await key({ scopes: ['grants:read', 'tokens:read'] });
      const { body } = await call('GET /v2/users/u/tokens/openai', { key: reader });
      const recorded = (await sidekey.audit()).filter(({ event }) => event === 'grant.added');
      // The last line is that of the replacement, whose value stays.
      expect(recorded.map(({ outcome, reason }) => [outcome, reason])).toEqual([
        ['allow', undefined],
        ['allow', undefined],
        ['failed', undefined],
        ['allow', 'replaced'],
      ]);
      expect(values).toContain(body.token_data.api_key);
      expect((await call('GET /v2/users/u/tokens')).body).toHaveLength(1);
    },
  );

  test.skipIf(missing !== null)(`a grant and its settings are stored in one write${why}`, async () => {
    const { call, sidekey } = await startService({ config: await configOf() });
    const { grantPolicies } = sidekey.proxy.state.store;
    vi.spyOn(grantPolicies, 'set').mockRejectedValue(new Error('killed before the second write'));
    const settings = { metadata: { team: 'core' }, policy: { labels: ['prod'], max_ttl: '60d' } };
    const imported = async (rest: object) => {
      const credential = { type: 'api_key', value: 'v', ...rest };
      const body = { name: 'b', provider: 'github', credential, verify: false, replace: true };
      expect((await call('POST /v2/grants', { body })).status).toBe(201);
      return (await call('GET /v2/grants/b')).body.settings as object;
    };
    const expected = { labels: ['prod'], max_ttl: 60 * 86_400, metadata: { team: 'core' } };
    expect(await imported(settings)).toMatchObject(expected);
    const next = await imported({ metadata: { team: '', tier: '1' }, policy: { max_lease_ttl: '8h' } });
    expect(next).toMatchObject({ labels: ['prod'], max_ttl: 60 * 86_400, max_lease_ttl: 8 * 3_600 });
    expect(next).toHaveProperty('metadata', { tier: '1' });
    const changes = (await sidekey.audit()).filter(({ event }) => event === 'grant.changed');
    expect(changes.map(({ reason }) => reason)).toHaveLength(2);
  });
});
