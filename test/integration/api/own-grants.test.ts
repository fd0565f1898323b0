/** Grants of other users, as a caller that is limited to one user sees and changes them. */
import { describe, expect, test } from 'vitest';
import { startService } from '../../support/service.ts';
import { allGrants } from '../../support/all-grants.ts';

/** A grant `shared` of alice and one of bob, a grant `private` of bob, and a key for alice's grants. */
async function twoUsers() {
  const at = await startService();
  const add = async (user: string, name: string): Promise<string> => {
    const grant = { name, user, provider: 'acme', scopes: [] };
    const sealed = {
      credential: { type: 'api_key', value: `key-of-${user}-${name}-0123` },
      audience: ['api.acme.test'],
    } as const;
    return (await at.sidekey.proxy.state.grants.add(grant, sealed)).id;
  };
  const own = await add('alice', 'shared');
  const other = await add('bob', 'shared');
  const hidden = await add('bob', 'private');
  const key = await at.key({ role: 'user', user: 'alice' });
  const asAlice = (request: string, body?: object) =>
    at.call(request, { key, ...(body === undefined ? {} : { body }) });
  return { ...at, asAlice, own, other, hidden };
}

const ids = ({ data }: { data: readonly { id: string }[] }) => data.map(({ id }) => id);

describe('a caller with the user alice', () => {
  test('lists the grants of alice', async () => {
    const { asAlice, own } = await twoUsers();
    const { status, body } = await asAlice('GET /v2/grants');
    expect([status, body.data.map(({ id }: { id: string }) => id)]).toEqual([200, [own]]);
    expect((await asAlice('GET /v2/grants?user=alice')).body.data).toHaveLength(1);
  });

  test('lists the grants from a name on, over pages', async () => {
    const { asAlice, call, own, other } = await twoUsers();
    expect(ids((await call('GET /v2/grants?start=q')).body)).toEqual([own, other]);
    const { body } = await call('GET /v2/grants?start=shared&limit=1');
    expect(ids(body)).toEqual([own]);
    const next = `GET /v2/grants?start=shared&limit=1&cursor=${body.next_cursor}`;
    expect((await call(next)).body).toMatchObject({ data: [{ id: other }], next_cursor: null });
    expect(ids((await asAlice('GET /v2/grants?start=private')).body)).toEqual([own]);
    expect(ids((await asAlice('GET /v2/grants?start=sharedd')).body)).toEqual([]);
  });

  test('gets the grant of alice by a name that bob has too', async () => {
    const { asAlice, own } = await twoUsers();
    expect((await asAlice('GET /v2/grants/shared?user=alice')).body.id).toBe(own);
    expect((await asAlice('GET /v2/grants/shared')).body.id).toBe(own);
  });

  test('changes the grant of alice by a name that bob has too', async () => {
    const { asAlice, own, other, sidekey } = await twoUsers();
    const { status, body } = await asAlice('PATCH /v2/grants/shared', { expires: '1h' });
    expect([status, body.id]).toEqual([200, own]);
    const { grantPolicies } = sidekey.proxy.state.store;
    expect((await grantPolicies.get(own))?.expiresAt).toBeGreaterThan(Date.now());
    expect(await grantPolicies.get(other)).toBeNull();
  });

  test.each(['max_ttl', 'max_lease_ttl'])('cannot change %s, which the operator sets', async (member) => {
    const { asAlice, own, sidekey } = await twoUsers();
    const { status, body } = await asAlice('PATCH /v2/grants/shared', { [member]: 'none' });
    expect([status, body.code]).toEqual([403, 'scope_missing']);
    expect(await sidekey.proxy.state.store.grantPolicies.get(own)).toBeNull();
  });

  test.each([{ labels: ['root'] }, { metadata: { team: 'x' } }])('cannot change %j', async (change) => {
    const { asAlice, own, sidekey } = await twoUsers();
    const { grants, store } = sidekey.proxy.state;
    const before = await grants.read(own);
    expect((await asAlice('PATCH /v2/grants/shared', change)).body.code).toBe('scope_missing');
    expect(await grants.read(own)).toEqual(before);
    expect(await store.grantPolicies.get(own)).toBeNull();
  });

  test.each(['private', 'shared?user=bob', 'ID', 'ID?user=bob', 'ID?user=alice'])(
    'neither sees nor changes the grant of bob at /v2/grants/%s',
    async (place) => {
      const { asAlice, hidden, sidekey } = await twoUsers();
      const path = `/v2/grants/${place.replace('ID', hidden)}`;
      for (const [request, body] of [
        [`GET ${path}`, undefined],
        [`PATCH ${path}`, { expires: '1h' }],
      ] as const) {
        const refused = await asAlice(request, body);
        expect([refused.status, refused.body.code], request).toEqual([404, 'not_found']);
        expect(refused.body.detail).toBe('There is nothing of that name for this caller.');
      }
      expect(await sidekey.proxy.state.store.grantPolicies.get(hidden)).toBeNull();
    },
  );

  test('does not learn of the grant of bob when three requests remove the grant of alice at once', async () => {
    const { asAlice, other, sidekey } = await twoUsers();
    const remove = () => asAlice('DELETE /v2/grants/shared?local=true');
    const answers = await Promise.all([remove(), remove(), remove()]);
    expect(answers.filter(({ status }) => status === 200)).toHaveLength(1);
    expect(JSON.stringify(answers.map(({ body }) => body))).not.toContain('bob');
    expect((await allGrants(sidekey.proxy.state.store)).map(({ id }) => id)).toContain(other);
  });

  test('does not list the grants of bob', async () => {
    const { asAlice } = await twoUsers();
    expect((await asAlice('GET /v2/grants?user=bob')).status).toBe(404);
  });

  test.each(['GET', 'DELETE'])('cannot %s a token of bob', async (method) => {
    const { asAlice, sidekey } = await twoUsers();
    expect((await asAlice(`${method} /v2/users/bob/tokens/private`)).status).toBe(404);
    expect(await allGrants(sidekey.proxy.state.store)).toHaveLength(3);
  });

  test('gets a placeholder for the token of alice', async () => {
    const { asAlice } = await twoUsers();
    const { body } = await asAlice('GET /v2/users/alice/tokens/shared');
    expect(body.placeholder).toContain('sidekey');
  });
});

test('a caller without a user gets the grant of the user that it names', async () => {
  const { call, own, other } = await twoUsers();
  expect((await call('GET /v2/grants/shared?user=alice')).body.id).toBe(own);
  expect((await call('GET /v2/grants/shared?user=bob')).body.id).toBe(other);
  expect((await call('GET /v2/grants/shared')).body.code).toBe('grant_ambiguous');
  expect((await call('GET /v2/grants')).body.data).toHaveLength(3);
});
