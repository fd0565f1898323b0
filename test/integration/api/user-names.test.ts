/** User IDs of products as names of users: e-mail addresses, IDs of Auth0 and Google, UUIDs. */
import { describe, expect, test } from 'vitest';
import { startService } from '../../support/service.ts';
import { notUserNames, userNames } from '../../support/user-names.ts';

const token = (value: string) => ({
  integration_key: 'gh',
  provider: 'github',
  token_type: 'api_key',
  token_data: { api_key: value },
});

/** Writes a user into a path or a query. */
const ways = { escaped: encodeURIComponent, raw: (text: string) => text };

describe.each(Object.entries(ways))('a user whose name is %s in a path', (_way, written) => {
  test('has tokens, grants and lines of the audit log of its own', async () => {
    const { call, key, sidekey } = await startService();
    for (const user of userNames) {
      const body = token(`token-of-${user}`);
      const stored = await call(`POST /v2/users/${written(user)}/tokens`, { body });
      expect(stored.status, user).toBe(201);
    }
    const values = new Set<string>();
    for (const user of userNames) {
      const path = `/v2/users/${written(user)}/tokens`;
      const reader = await key({ role: 'user', user, scopes: ['grants:read', 'tokens:read', 'audit:read'] });
      const read = await call(`GET ${path}/gh`, { key: reader });
      expect(read.status, user).toBe(200);
      values.add(JSON.stringify(read.body.token_data));
      const other = userNames.find((each) => each !== user)!;
      expect((await call(`GET /v2/users/${written(other)}/tokens/gh`, { key: reader })).status).toBe(404);
      const query = `user=${encodeURIComponent(user)}`;
      for (const who of [{}, { key: reader }]) {
        const grants = (await call(`GET /v2/grants?${query}`, who)).body.data;
        expect(grants).toMatchObject([{ user }]);
        expect((await call(`GET /v2/grants/gh?${query}`, who)).body.id).toBe(grants[0].id);
        const lines = (await call(`GET /v2/audit/events?event=token.read&${query}`, who)).body.data;
        expect(lines).toMatchObject([{ user }]);
      }
    }
    expect(values.size).toBe(userNames.length);
    const listed = (await sidekey.proxy.state.store.grants.find({})).map(({ user }) => user);
    expect(listed.toSorted()).toEqual(userNames.toSorted());
  });
});

const refused = 'use 1 to 128 letters, digits and . _ - @ | + ~, a letter or digit first';
const texts = notUserNames.filter((text) => text !== '' && text !== '..');

test('a text that names no user is refused wherever a request names one, and nothing is stored', async () => {
  const { call, sidekey } = await startService();
  for (const user of texts) {
    const escaped = encodeURIComponent(user);
    for (const [request, body] of [
      [`GET /v2/users/${escaped}/tokens`],
      [`GET /v2/users/${escaped}/tokens/gh`],
      [`POST /v2/users/${escaped}/tokens`, token('value')],
      [`GET /v2/grants?user=${escaped}`],
      [`GET /v2/grants/gh?user=${escaped}`],
      [`GET /v2/audit/events?user=${escaped}`],
      ['POST /v2/connect-sessions', { provider: 'github', user }],
      ['POST /v2/agents', { name: 'bot', acts_for: user }],
      ['POST /v2/agents', { name: 'bot', users: [user] }],
      ['POST /v2/api-keys', { name: 'app', role: 'user', user }],
      ['POST /v2/people', { name: 'ann', role: 'user', user }],
      ['POST /v2/people', { name: user, role: 'user' }],
    ] as const) {
      const answer = await call(request, body === undefined ? {} : { body });
      expect(answer.status, `${request} ${JSON.stringify(body)}`).toBe(400);
      expect(`${answer.body.detail} ${answer.body.hint}`, request).toContain(refused);
    }
  }
  const { grants, agents, people } = sidekey.proxy.state.store;
  for (const store of [await grants.find({}), await agents.list(), await people.list()])
    expect(store).toEqual([]);
});

test('a plus sign that is raw in a query is a blank, and is refused', async () => {
  const { call } = await startService();
  for (const path of ['/v2/grants', '/v2/audit/events']) {
    const { status, body } = await call(`GET ${path}?user=alice+tag@example.com`);
    expect([status, body.detail]).toEqual([400, expect.stringContaining(refused)]);
  }
});
