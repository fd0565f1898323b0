import { describe, expect, test } from 'vitest';
import { startConnecting } from '../../support/connect-session.ts';

const all = ['openid', 'read:tickets', 'write:tickets'];

/** A grant of alice with a refresh token, from a real authorization server. */
async function connected() {
  const at = await startConnecting();
  const session = await at.session({ name: 'desk', scopes: all });
  const browser = at.browser();
  await browser.open(await browser.consent(session.connect_url));
  const scopesNow = async () => (await at.call('GET /v2/grants/desk')).body.scopes as readonly string[];
  expect(await scopesNow()).toEqual(expect.arrayContaining(all));
  const narrow = (...scopes: readonly string[]) => at.call('PATCH /v2/grants/desk', { body: { scopes } });
  return { ...at, narrow, scopesNow };
}

describe('scopes that are removed from a grant', () => {
  test('are removed at the provider too, and every later token lacks them', async () => {
    const { call, narrow, scopesNow, sidekey } = await connected();
    expect((await narrow('read:tickets')).body.scopes).toEqual(['read:tickets']);
    expect((await call('POST /v2/grants/desk/refresh', { body: { force: true } })).body.renewed).toBe(true);
    expect(await scopesNow()).toEqual(['read:tickets']);
    expect(await sidekey.audited(({ reason }) => reason?.startsWith('scopes ') === true)).toMatchObject({
      event: 'grant.changed',
      reason: expect.stringMatching(/^scopes read:tickets \(was .*write:tickets.*\)$/),
    });
  });

  test('cannot be added again by narrowing', async () => {
    const { narrow, scopesNow } = await connected();
    await narrow('read:tickets');
    const { status, body } = await narrow('read:tickets', 'write:tickets');
    expect([status, body.code]).toEqual([400, 'input_invalid']);
    expect(await scopesNow()).toEqual(['read:tickets']);
  });

  test.each([
    ['leaves the scopes as they are', { status: 200, scope: all.join(' ') }, 'did not reduce them'],
    ['names no scope', { status: 200 }, 'did not reduce them'],
    ['refuses fewer scopes', { status: 400, error: 'invalid_scope' }, 'invalid_scope'],
  ])('stay on record if the provider %s; the hint names the next step', async (_what, answer, why) => {
    const { call, helpdesk, narrow, scopesNow } = await connected();
    const { status: code, ...members } = answer;
    const tokens = { access_token: 'another-token', token_type: 'Bearer', expires_in: 300 };
    helpdesk.failTokenEndpoint(() => ({
      status: code,
      body: code === 200 ? { ...tokens, ...members } : members,
    }));
    const { status, body } = await narrow('read:tickets');
    expect([status, body.code]).toEqual([502, 'provider_refused']);
    expect(body.detail).toContain(why);
    expect(body.hint).toBe(
      'sidekey grant revoke desk --user alice; sidekey connect acme --name desk --user alice --scope read:tickets',
    );
    expect(body.remedies).toEqual([{ operation: 'grant.revoke', input: { grant: 'desk', user: 'alice' } }]);
    expect(await scopesNow()).toEqual(expect.arrayContaining(all));
    helpdesk.failTokenEndpoint(null);
    await call('POST /v2/grants/desk/refresh', { body: { force: true } });
    expect(await scopesNow()).toEqual(expect.arrayContaining(all));
  });

  test('are refused for a token that no refresh can reduce', async () => {
    const { call, sidekey } = await connected();
    await sidekey.proxy.state.grants.add(
      { name: 'key', user: 'default', provider: 'acme', scopes: ['read', 'write'] },
      { credential: { type: 'api_key', value: 'k'.repeat(20) }, audience: ['api.acme.test'] },
    );
    const { status, body } = await call('PATCH /v2/grants/key', { body: { scopes: ['read'] } });
    expect([status, body.code, body.detail]).toEqual([
      400,
      'input_invalid',
      'The scopes of key stay as they are: it has no refresh token.',
    ]);
    expect(body.hint).toContain('the new one needs: read');
  });
});
