/**
 * Providers that do not keep to the RFCs, by their shipped definitions: what is asked of them, and what their
 * answers, in the form that their own documentation shows, are taken for.
 */
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { stringify } from 'yaml';
import { parseConfig } from '../../../src/config/load.ts';
import type { Provider } from '../../../src/domain/provider.ts';
import { planRefresh } from '../../../src/grants/refresh-plan.ts';
import { consented, readTokenAnswer } from '../../../src/grants/oauth/answer.ts';
import { authorizationUrl, exchangeCode } from '../../../src/grants/oauth/authorization-code.ts';
import { renew } from '../../../src/grants/oauth/renewal.ts';
import { tempFolder } from '../../support/temp-folder.ts';
import { fakeEndpoint } from '../../unit/grants/oauth/fake-endpoint.ts';

const redirectUri = 'https://example.com/callback';
const now = () => Date.parse('2026-11-21T12:00:00Z');

/** Settings that a person has after the registration of a client. */
async function shipped(
  name: string,
  settings: Readonly<Record<string, string>> = {},
  keys: object = {},
): Promise<Provider> {
  const own = { client_id: 'the-client', client_secret: 'env:CLIENT_SECRET', settings, ...keys };
  const text = stringify({ version: 1, providers: { [name]: own } });
  const file = join(await tempFolder(), 'sidekey.yaml');
  const { providers } = await parseConfig(text, file, { env: { CLIENT_SECRET: 'client-secret' } });
  const provider = providers.get(name);
  if (provider === undefined) throw new Error(name);
  return provider;
}

async function asked(provider: Provider, scopes: readonly string[] = ['a', 'b']) {
  const { url } = await authorizationUrl({ provider, redirectUri, scopes });
  return Object.fromEntries(new URL(url).searchParams);
}

/** A consent whose code is exchanged for this answer. */
async function connected(
  provider: Provider,
  answer: Response,
  callback: Readonly<Record<string, string>> = {},
) {
  const begun = await authorizationUrl({ provider, redirectUri, scopes: ['a', 'b'] });
  const { fetch, asked: requests, bodies } = fakeEndpoint(answer);
  const parameters = new URLSearchParams({ code: 'the-code', state: begun.state, ...callback });
  const exchange = { provider, callback: { kind: 'parameters', parameters }, ...begun, redirectUri } as const;
  const got = await exchangeCode({ ...exchange, scopes: ['a', 'b'], fetch, now });
  return { ...got, request: requests[0], body: bodies[0] };
}

/** The refresh of a grant that a consent brought. */
async function refreshed(provider: Provider, answer: Response) {
  const first = { access_token: 'old', refresh_token: 'refresh-1', expires_in: 60, ok: true };
  const tokens = readTokenAnswer(
    { kind: 'answer', status: 200, text: JSON.stringify(first), retryAfterMs: null },
    { dialect: provider.dialect, obtainedAt: 0, secrets: [] },
  );
  if (tokens.kind !== 'tokens') throw new Error(tokens.kind);
  const { credential } = consented(tokens, []);
  const plan = await planRefresh(
    { provider: provider.name, credential, scopes: ['Mail.Read', 'offline_access'] },
    {
      providers: () => provider,
      readSecret: () => Promise.reject(new Error('There is none.')),
      registry: { read: () => Promise.resolve(null) },
    },
  );
  if (plan.kind !== 'ask') throw new Error(plan.reason);
  const { fetch, asked: requests } = fakeEndpoint(answer);
  return { outcome: await renew(plan.request, { fetch, now }), request: requests[0] };
}

const tokens = () => Response.json({ access_token: 'at', refresh_token: 'rt', expires_in: 3_600 });
const basic = `Basic ${btoa('the-client:client-secret')}`;

describe('authorization requests', () => {
  test.each([
    ['google', { access_type: 'offline', prompt: 'consent', scope: 'a b' }],
    ['reddit', { duration: 'permanent' }],
    ['jira', { audience: 'api.atlassian.com', prompt: 'consent' }],
    ['slack', { scope: 'a,b' }],
    ['slack-user', { user_scope: 'a,b' }],
    ['tiktok', { client_key: 'the-client', scope: 'a,b' }],
    ['notion', { owner: 'user' }],
    ['dropbox', { token_access_type: 'offline' }],
  ])('contain the special parameters of %s', async (name, parameters) => {
    expect(await asked(await shipped(name))).toMatchObject(parameters);
  });

  test('contain the tenant of Microsoft and the shop of Shopify', async () => {
    const microsoft = await shipped('microsoft', { tenant: 'contoso.onmicrosoft.com' });
    expect(microsoft.tokenEndpoint).toBe(
      'https://login.microsoftonline.com/contoso.onmicrosoft.com/oauth2/v2.0/token',
    );
    expect((await shipped('shopify', { shop: 'acme' })).audience).toEqual(['acme.myshopify.com']);
  });
});

describe('token responses', () => {
  test('from GitHub: a form, scopes with commas, no expiry', async () => {
    const form = new Response('access_token=gho_1&scope=repo%2Cgist&token_type=bearer');
    expect(await connected(await shipped('github'), form)).toMatchObject({
      credential: { accessToken: 'gho_1', refreshToken: null, expiresAt: null },
      scopes: ['repo', 'gist'],
      request: { form: { client_id: 'the-client', client_secret: 'client-secret' } },
    });
  });

  test('from GitHub: an error with status 200', async () => {
    const answer = Response.json({ error: 'bad_verification_code', error_description: 'It has expired.' });
    await expect(connected(await shipped('github'), answer)).rejects.toMatchObject({
      code: 'provider_refused',
      message: expect.stringContaining('bad_verification_code: It has expired.'),
    });
  });

  const slack = {
    ok: true,
    access_token: 'xoxb-1',
    token_type: 'bot',
    scope: 'commands,chat:write',
    team: { name: 'Softball Team', id: 'T1' },
    authed_user: { id: 'U1', scope: 'search:read', access_token: 'xoxp-1', token_type: 'user' },
  };

  test.each([
    ['slack', 'xoxb-1', ['commands', 'chat:write']],
    ['slack-user', 'xoxp-1', ['search:read']],
  ])('from Slack, to %s: the right token of two', async (name, accessToken, scopes) => {
    expect(await connected(await shipped(name), Response.json(slack))).toMatchObject({
      credential: { accessToken },
      scopes,
      details: { 'team.name': 'Softball Team', 'team.id': 'T1' },
    });
  });

  test('from Slack: `ok` is false', async () => {
    const answer = Response.json({ ok: false, error: 'invalid_code' });
    await expect(connected(await shipped('slack'), answer)).rejects.toMatchObject({
      code: 'provider_refused',
      message: expect.stringContaining('(invalid_code)'),
    });
  });

  test('from Notion, requested with JSON and Basic: a token without expiry, and the workspace', async () => {
    const answer = Response.json({ access_token: 'ntn_1', token_type: 'bearer', workspace_name: 'Acme' });
    const got = await connected(await shipped('notion'), answer);
    expect(got).toMatchObject({ credential: { expiresAt: null }, details: { workspace_name: 'Acme' } });
    expect(got.request?.headers).toMatchObject({ authorization: basic, 'notion-version': '2025-09-03' });
    expect(JSON.parse(got.body ?? '')).toEqual({
      grant_type: 'authorization_code',
      code: 'the-code',
      redirect_uri: redirectUri,
    });
  });

  test('from QuickBooks: the company ID beside the code', async () => {
    const got = await connected(await shipped('quickbooks'), tokens(), { realmId: '4620816365' });
    expect(got.details).toEqual({ realmId: '4620816365' });
    expect(got.request?.headers['authorization']).toBe(basic);
  });

  test('from Reddit, which requires a User-Agent', async () => {
    const { request } = await connected(await shipped('reddit'), tokens());
    expect(request?.headers).toMatchObject({ authorization: basic });
    expect(request?.headers['user-agent']).toBe('cli:sidekey:v1 (credential proxy)');
  });

  test('from a provider with a configured User-Agent, instead of the shipped one', async () => {
    const provider = await shipped('reddit', {}, { user_agent: 'web:acme:v2 (by /u/acme)' });
    const { request } = await connected(provider, tokens());
    expect(request?.headers['user-agent']).toBe('web:acme:v2 (by /u/acme)');
    expect(provider.probe?.headers).toEqual({ 'User-Agent': 'web:acme:v2 (by /u/acme)' });
  });

  test('from Square: an expiry time instead of a lifetime', async () => {
    const answer = Response.json({
      access_token: 'at',
      refresh_token: 'rt',
      expires_at: '2026-12-21T12:00:00Z',
    });
    expect(await connected(await shipped('square'), answer)).toMatchObject({
      credential: { expiresAt: Date.parse('2026-12-21T12:00:00Z') },
    });
  });
});

describe('refresh requests', () => {
  test('to Figma use its own endpoint', async () => {
    const { request } = await refreshed(await shipped('figma'), tokens());
    expect(request?.url).toBe('https://api.figma.com/v1/oauth/refresh');
    expect(request?.form).toMatchObject({ grant_type: 'refresh_token', refresh_token: 'refresh-1' });
  });

  test('to Microsoft repeat the scopes', async () => {
    const { request } = await refreshed(await shipped('microsoft'), tokens());
    expect(request?.form['scope']).toBe('Mail.Read offline_access');
  });

  test('to GitHub recognize the error code of an invalid refresh token', async () => {
    const answer = Response.json({ error: 'bad_refresh_token' });
    const { outcome } = await refreshed(await shipped('github'), answer);
    expect(outcome).toMatchObject({ kind: 'refused', ends: 'grant' });
  });
});
