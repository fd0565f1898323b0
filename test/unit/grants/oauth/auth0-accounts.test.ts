import { describe, expect, it } from 'vitest';
import { plainDialect } from '../../../../src/config/provider-dialect.ts';
import { SidekeyError } from '../../../../src/lib/errors.ts';
import {
  type AccountApi,
  askForAccountToken,
  beginConnection,
  completeConnection,
  deleteAccount,
  listAccounts,
  listConnections,
} from '../../../../src/grants/oauth/auth0.ts';
import { errorResponse } from '../../../support/auth0-answers.ts';
import { type Auth0Options, startAuth0 } from '../../../support/auth0-server.ts';
import { testUpstreamClient } from '../../../support/upstream-fetch.ts';

const wish = {
  connection: 'google-oauth2',
  redirectUri: 'http://127.0.0.1:8379/callback',
  scopes: ['openid', 'calendar'],
};

async function tenant(options: Auth0Options = {}) {
  const auth0 = await startAuth0(options);
  const { fetch } = testUpstreamClient();
  const io = { fetch, now: () => 0 };
  const token = await askForAccountToken(
    {
      endpoint: auth0.tokenEndpoint,
      client: { ...auth0.client, auth: 'post' },
      dialect: plainDialect,
      refreshToken: auth0.refreshToken(),
    },
    io,
  );
  if (token.kind !== 'token') throw new Error(token.kind);
  const api: AccountApi = { at: auth0.tokenEndpoint, accessToken: token.accessToken, io };
  auth0.calls.length = 0;
  auth0.bodies.length = 0;
  return { auth0, api };
}

async function failureOf(promise: Promise<unknown>): Promise<SidekeyError> {
  const error = await promise.catch((failure: unknown) => failure);
  if (!(error instanceof SidekeyError)) throw new Error(`no SidekeyError: ${String(error)}`);
  return error;
}

describe('connecting an account', () => {
  it('opens the page with the ticket, and completes with the code and the stored session', async () => {
    const { auth0, api } = await tenant();
    const begun = await beginConnection(api, wish);
    expect(auth0.bodies).toEqual([
      {
        connection: 'google-oauth2',
        redirect_uri: wish.redirectUri,
        state: begun.state,
        code_challenge: expect.stringMatching(/^[A-Za-z0-9_-]{43}$/),
        code_challenge_method: 'S256',
        scopes: ['openid', 'calendar'],
      },
    ]);
    expect(begun.url).toMatch(new RegExp(`^${auth0.url}/connect\\?ticket=[0-9a-f]{32}$`));
    const { location } = await auth0.browse(begun.url);
    const callback = new URL(location ?? '').searchParams;
    expect(callback.get('state')).toBe(begun.state);
    const connectCode = callback.get('connect_code') ?? '';
    const account = await completeConnection(api, begun, connectCode);
    expect(account).toEqual({
      id: expect.stringMatching(/^cac_/),
      connection: 'google-oauth2',
      scopes: ['openid', 'calendar'],
    });
    expect(auth0.bodies[1]).toEqual({
      auth_session: begun.authSession,
      connect_code: connectCode,
      redirect_uri: wish.redirectUri,
      code_verifier: begun.codeVerifier,
    });
    expect(auth0.faults).toEqual([]);
    expect(auth0.calls).toEqual(['POST connect', 'POST complete']);
  });

  it('sends no scopes if none are requested, so the scopes of the connection apply', async () => {
    const { auth0, api } = await tenant();
    await beginConnection(api, { ...wish, scopes: [] });
    expect(auth0.bodies[0]).not.toHaveProperty('scopes');
    expect(auth0.faults).toEqual([]);
  });

  it.each([
    'http://api.acme.test/connect',
    'javascript:alert(1)',
    'https://user:secret@api.acme.test/connect',
    'connect',
    '',
  ])('refuses the connect page %j', async (connectUri) => {
    const { auth0, api } = await tenant();
    const body = { auth_session: 'x', connect_uri: connectUri, connect_params: { ticket: 't' } };
    auth0.refuse('connect', { status: 201, body });
    expect((await failureOf(beginConnection(api, wish))).code).toBe('provider_refused');
  });

  it.each([
    { connect_uri: 'https://api.acme.test/connect', connect_params: { ticket: 't' } },
    { auth_session: 'x', connect_uri: 'https://api.acme.test/connect' },
    { auth_session: 'x', connect_uri: 'https://api.acme.test/connect', connect_params: { ticket: '' } },
    [],
    'no JSON',
  ])('refuses the response %j', async (body) => {
    const { auth0, api } = await tenant();
    auth0.refuse('connect', { status: 201, body });
    expect((await failureOf(beginConnection(api, wish))).message).toContain('not of its form');
  });

  it('refuses a wrong code verifier', async () => {
    const { auth0, api } = await tenant();
    const begun = await beginConnection(api, wish);
    const { location } = await auth0.browse(begun.url);
    const code = new URL(location ?? '').searchParams.get('connect_code') ?? '';
    const failure = await failureOf(
      completeConnection(api, { ...begun, codeVerifier: 'w'.repeat(64) }, code),
    );
    expect(failure.code).toBe('provider_refused');
    expect(auth0.faults).toEqual(['complete: code_verifier']);
  });
});

const account = (id: string, connection = 'google-oauth2') => ({
  id,
  connection,
  scopes: ['calendar'],
  hint: id,
});

describe('the connected accounts', () => {
  it('are returned for the connection, from all pages', async () => {
    const { auth0, api } = await tenant({
      accounts: [account('cac_1'), account('cac_2', 'github'), account('cac_3'), account('cac_4')],
      pageSize: 1,
    });
    expect(await listAccounts(api, 'google-oauth2')).toEqual([
      { id: 'cac_1', connection: 'google-oauth2', scopes: ['calendar'] },
      { id: 'cac_3', connection: 'google-oauth2', scopes: ['calendar'] },
      { id: 'cac_4', connection: 'google-oauth2', scopes: ['calendar'] },
    ]);
    expect(auth0.calls).toEqual(['GET accounts', 'GET accounts', 'GET accounts']);
    expect(auth0.faults).toEqual([]);
  });

  it('are filtered when the API ignores the connection parameter', async () => {
    const { auth0, api } = await tenant();
    const body = { accounts: [{ id: 'cac_1', connection: 'github', scopes: [] }] };
    auth0.refuse('accounts', { status: 200, body });
    expect(await listAccounts(api, 'google-oauth2')).toEqual([]);
  });

  it('are read to a maximum number of pages', async () => {
    const { auth0, api } = await tenant();
    const body = { accounts: [{ id: 'cac_1', connection: 'google-oauth2' }], next: 'again' };
    auth0.refuse('accounts', ...Array.from({ length: 200 }, () => ({ status: 200, body })));
    expect(await listAccounts(api, 'google-oauth2')).toHaveLength(50);
  });

  it('have a list of possible connections', async () => {
    const { auth0, api } = await tenant();
    expect(await listConnections(api)).toEqual(['google-oauth2', 'github', 'acme-desk']);
    expect(auth0.faults).toEqual([]);
  });

  it('can be disconnected, even twice', async () => {
    const { auth0, api } = await tenant({ accounts: [account('cac_1'), account('cac_2')] });
    await deleteAccount(api, 'cac_1');
    await deleteAccount(api, 'cac_1');
    expect(auth0.accounts.map(({ id }) => id)).toEqual(['cac_2']);
    expect(auth0.calls).toEqual(['DELETE accounts/cac_1', 'DELETE accounts/cac_1']);
    expect(auth0.faults).toEqual([]);
  });

  it.each(['..', 'cac_1/../cac_2', '', 'cac_1?x'])(
    'are not disconnected with the invalid id %j',
    async (id) => {
      const { auth0, api } = await tenant();
      expect((await failureOf(deleteAccount(api, id))).code).toBe('internal');
      expect(auth0.calls).toEqual([]);
    },
  );
});

describe('the My Account API', () => {
  it.each([
    [401, 'let the application use the My Account API'],
    [403, 'let the application use the My Account API'],
    [400, 'check the connection'],
    [409, 'check the connection'],
  ])('has its refusal with HTTP %i reported with its message', async (status, hint) => {
    const { auth0, api } = await tenant();
    auth0.refuse('connect', { status, body: errorResponse(status, 'The connection is not enabled.') });
    const failure = await failureOf(beginConnection(api, wish));
    expect(failure).toMatchObject({
      code: 'provider_refused',
      message: `Auth0 said no (HTTP ${status}: The connection is not enabled.).`,
      hint: expect.stringContaining(hint),
    });
  });

  it('has its validation error reported with the member', async () => {
    const { auth0, api } = await tenant();
    const body = { ...errorResponse(400, 'Invalid'), validation_errors: [{ detail: 'scopes is too long' }] };
    auth0.refuse('connect', { status: 400, body });
    expect((await failureOf(beginConnection(api, wish))).message).toContain('Invalid; scopes is too long');
  });

  it('has secrets redacted from its error messages', async () => {
    const { auth0, api } = await tenant();
    const begun = await beginConnection(api, wish);
    const code = 'c0'.repeat(20);
    const secrets = [begun.codeVerifier, begun.authSession, code, api.accessToken];
    auth0.refuse('complete', { status: 400, body: errorResponse(400, `bad ${secrets.join(' and ')}`) });
    const failure = await failureOf(completeConnection(api, begun, code));
    expect(failure.message).toContain('bad [redacted] and');
    for (const secret of secrets) expect(failure.message).not.toContain(secret.slice(0, 12));
  });

  it('has its Retry-After reported', async () => {
    const { auth0, api } = await tenant();
    const headers = { 'retry-after': '9' };
    auth0.refuse('accounts', { status: 429, body: errorResponse(429, 'Too many'), headers });
    expect(await failureOf(listAccounts(api, 'github'))).toMatchObject({
      code: 'upstream_unreachable',
      hint: 'try again in 9 s',
    });
  });

  it('refuses a token for another audience without a request', async () => {
    const { api } = await tenant();
    const failure = await failureOf(listAccounts({ ...api, accessToken: 'other' }, 'github'));
    expect(failure.message).toContain('HTTP 401');
  });

  it('is not called after the caller has aborted', async () => {
    const { auth0, api } = await tenant();
    const signal = AbortSignal.abort(new Error('gone'));
    await expect(listAccounts({ ...api, io: { ...api.io, signal } }, 'github')).rejects.toThrow('gone');
    expect(auth0.calls).toEqual([]);
  });
});
