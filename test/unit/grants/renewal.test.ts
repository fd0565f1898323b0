import { describe, expect, test } from 'vitest';
import type { OAuth2Credential, Renewal } from '../../../src/domain/credential.ts';
import type { Grant } from '../../../src/domain/grant.ts';
import type { Registry } from '../../../src/grants/registry.ts';
import type { ReadyToken } from '../../../src/grants/token-result.ts';
import { acme, hour, processesForTest, oauth2, start, tokenOf, type ProcessesForTest } from './processes.ts';
import { settle } from '../lib/manual-time.ts';
import { hintOfText } from '../../support/hint.ts';
import { allGrants } from '../../support/all-grants.ts';

const clientCredentials: Renewal = { kind: 'client_credentials', scope: null, parameters: {} };
const exchange: Renewal = {
  kind: 'token_exchange',
  subjectToken: { value: 'the subject' },
  subjectTokenType: 'urn:ietf:params:oauth:token-type:jwt',
  actorToken: null,
  actorTokenType: null,
  requestedTokenType: null,
  scope: null,
  parameters: {},
};

/** A credential with a renewal, and a token obtained at `start` and valid for an hour. */
const renewing = (fields: Partial<OAuth2Credential> = {}, renewal: Renewal = clientCredentials) =>
  oauth2({ refreshToken: null, renewal, ...fields });

const stateOf = async (registry: Registry, { id }: Grant) => (await registry.read(id))?.grant.state;

describe('a grant that is renewed without a refresh token', () => {
  test('gets a token on first use, once for all waiting requests', async () => {
    const { process, add, provider } = await processesForTest();
    const { registry, source } = await process();
    const grant = await add(registry, renewing({ accessToken: null, expiresAt: null }));
    expect(grant.refreshable).toBe(true);
    const results = await Promise.all(Array.from({ length: 20 }, () => source.tokenFor(grant.id)));
    expect(new Set(results.map(tokenOf))).toEqual(new Set(['access-2']));
    expect(provider.requests).toMatchObject([{ kind: 'client_credentials' }]);
    expect((await registry.read(grant.id))?.sealed.credential).toMatchObject({
      accessToken: 'access-2',
      refreshToken: null,
      expiresAt: start + hour,
      renewal: clientCredentials,
    });
  });

  test('is renewed before expiry, and once by two processes', async () => {
    const { process, add, provider, time } = await processesForTest();
    const [here, there] = [await process(), await process()];
    const grant = await add(here.registry, renewing());
    await time.advance(hour - 60_000);
    expect(tokenOf(await here.source.tokenFor(grant.id))).toBe('access-1');
    await settle();
    expect(tokenOf(await here.source.tokenFor(grant.id))).toBe('access-2');
    await time.advance(hour);
    const both = [here.source.tokenFor(grant.id), there.source.tokenFor(grant.id)];
    await time.advance(1_000);
    expect((await Promise.all(both)).map(tokenOf)).toEqual(['access-3', 'access-3']);
    expect(provider.requests).toHaveLength(2);
  });

  test('is renewed at once after a 401', async () => {
    const { process, add, provider } = await processesForTest();
    const { registry, source } = await process();
    const grant = await add(registry, renewing());
    const refused = (await source.tokenFor(grant.id)) as ReadyToken;
    expect(tokenOf(await source.forceRefresh(refused))).toBe('access-2');
    expect(provider.requests).toHaveLength(1);
  });

  test('keeps the description of its account', async () => {
    const { process, time } = await processesForTest();
    const { registry, source } = await process();
    const grant = await registry.add(
      { name: 'acme', user: 'default', provider: 'acme', scopes: [] },
      { credential: renewing(), audience: acme.audience, details: { realmId: '4711' } },
    );
    await time.advance(hour);
    await source.tokenFor(grant.id);
    expect((await registry.read(grant.id))?.sealed).toMatchObject({
      details: { realmId: '4711' },
      credential: { accessToken: 'access-2' },
    });
  });

  test('stays active after a refusal, and a later request succeeds', async () => {
    const { process, add, provider, time } = await processesForTest();
    const { registry, source, events } = await process();
    const grant = await add(registry, renewing());
    await time.advance(hour);
    provider.script({ kind: 'refused', error: 'invalid_client', description: 'who are you' });
    expect(await source.tokenFor(grant.id)).toMatchObject({
      code: 'refresh_failed',
      message: expect.stringContaining('invalid_client: who are you'),
      hint: hintOfText(/check client_id, client_secret/),
    });
    expect(await stateOf(registry, grant)).toBe('active');
    await time.advance(30_000);
    expect(tokenOf(await source.tokenFor(grant.id))).toBe('access-2');
    expect(events.map(({ event }) => event)).toEqual(['grant.refresh_failed', 'grant.refreshed']);
  });

  test('becomes reauth_required when the provider refuses the token to be exchanged', async () => {
    const { process, add, provider, time } = await processesForTest();
    const { registry, source, events } = await process();
    const grant = await add(registry, renewing({}, exchange));
    await time.advance(hour);
    provider.script({ kind: 'refused', ends: 'grant', description: 'the subject has left' });
    expect(await source.tokenFor(grant.id)).toMatchObject({
      code: 'reauth_required',
      message:
        'The grant "acme" needs a new consent: the provider refused the token that was to be exchanged: the subject has left.',
      hint: hintOfText('sidekey connect acme --token-exchange'),
    });
    expect(events).toMatchObject([{ event: 'grant.reauth_required' }]);
    await source.tokenFor(grant.id);
    expect(provider.requests).toHaveLength(1);
  });
});

/** Requests a token; a person replaces the credential before the provider's response arrives. */
async function replacedMeanwhile(
  replacement: OAuth2Credential,
  { time, provider, process, add }: ProcessesForTest,
  credential: OAuth2Credential,
) {
  const person = await process();
  const { registry, source } = await process({
    refresh: async (request, io) => {
      const outcome = await provider.refresh(request, io);
      const stored = await person.registry.read(grant.id);
      if (stored !== null && stored.grant.revision === 1) {
        await person.registry.replaceCredential(stored.grant, { ...stored.sealed, credential: replacement });
      }
      return outcome;
    },
  });
  const grant = await add(registry, credential);
  await time.advance(hour);
  return { registry, grant, result: await source.tokenFor(grant.id) };
}

describe('a grant that was connected again during a renewal', () => {
  const anew: Renewal = { ...exchange, subjectToken: { value: 'another subject' } };

  test('does not store the token of the earlier connection', async () => {
    const at = await processesForTest();
    const replacement = renewing({ accessToken: 'new', expiresAt: start + 2 * hour }, anew);
    const { registry, grant, result } = await replacedMeanwhile(replacement, at, renewing({}, exchange));
    expect(tokenOf(result)).toBe('new');
    expect((await registry.read(grant.id))?.sealed.credential).toEqual(replacement);
  });

  test('stays active after a refusal of the earlier connection, and requests its own token', async () => {
    const at = await processesForTest();
    at.provider.script({ kind: 'refused', ends: 'grant', description: '' });
    const absent = { accessToken: null, expiresAt: null };
    const { registry, grant, result } = await replacedMeanwhile(
      renewing(absent, anew),
      at,
      renewing(absent, exchange),
    );
    expect(tokenOf(result)).toBe('access-2');
    expect(await stateOf(registry, grant)).toBe('active');
  });

  test('stores the token when only the description changed', async () => {
    const { process, add, time, provider } = await processesForTest();
    const { registry, store, source } = await process({
      refresh: async (request, io) => {
        const outcome = await provider.refresh(request, io);
        const [grant] = await allGrants(store);
        if (grant!.revision === 1) await registry.setState(grant!, 'expired', null);
        return outcome;
      },
    });
    const grant = await add(registry, renewing());
    await time.advance(hour);
    expect(tokenOf(await source.tokenFor(grant.id))).toBe('access-2');
    expect(provider.requests).toHaveLength(1);
  });
});

/** A grant whose new token the store refused; later writes succeed. */
async function keptToken() {
  const at = await processesForTest();
  let isFull = true;
  const one = await at.process({
    wrapStore: (store) => ({
      ...store,
      epoch: () => store.epoch(),
      close: () => store.close(),
      grants: {
        ...store.grants,
        replace: (...args) =>
          isFull ? Promise.reject(new Error('disk full')) : store.grants.replace(...args),
      },
    }),
  });
  const grant = await at.add(one.registry, renewing({}, exchange));
  await at.time.advance(hour);
  const first = one.source.tokenFor(grant.id);
  await at.time.advance(20_000);
  expect(tokenOf(await first)).toBe('refresh_failed');
  isFull = false;
  await at.time.advance(60_000);
  return { ...at, ...one, grant };
}

describe('a new token that the store did not accept', () => {
  test('is stored later, without another request to the provider', async () => {
    const { source, grant, provider } = await keptToken();
    expect(tokenOf(await source.tokenFor(grant.id))).toBe('access-2');
    expect(provider.requests).toHaveLength(1);
  });

  test('is not stored when the grant was connected again', async () => {
    const { registry, source, grant, provider } = await keptToken();
    const opened = await registry.read(grant.id);
    const anew: Renewal = { ...exchange, subjectToken: { value: 'another subject' } };
    const credential = renewing({ accessToken: null, expiresAt: null }, anew);
    await registry.replaceCredential(opened!.grant, { ...opened!.sealed, credential });
    expect(tokenOf(await source.tokenFor(grant.id))).toBe('access-3');
    expect(provider.requests).toMatchObject([{}, { subjectToken: 'another subject' }]);
    expect((await registry.read(grant.id))?.sealed.credential).toMatchObject({ renewal: anew });
  });
});

const connection = (via: string): Renewal => ({
  kind: 'auth0_connection',
  via,
  connection: 'google-oauth2',
  loginHint: null,
});

/** A login, and a connected account that depends on it. */
async function connected() {
  const at = await processesForTest();
  const one = await at.process();
  const login = await one.registry.add(
    { name: 'work', user: 'alice', provider: 'acme', scopes: [] },
    { credential: oauth2(), audience: acme.audience },
  );
  const account = await at.add(one.registry, renewing({}, connection(login.id)));
  await at.time.advance(hour - 1);
  await at.time.advance(1);
  return { ...at, ...one, login, account };
}

describe('the token of a connected account', () => {
  test('is requested with the refresh token, client and endpoint of the login', async () => {
    const { source, account, provider } = await connected();
    expect(tokenOf(await source.tokenFor(account.id))).toBe('access-2');
    expect(provider.requests).toMatchObject([
      {
        kind: 'auth0_connection',
        endpoint: 'https://helpdesk.acme.test/token',
        client: { clientId: 'sidekey', clientSecret: 'client-secret-of-acme' },
        refreshToken: 'refresh-1',
        connection: 'google-oauth2',
        loginHint: null,
      },
    ]);
  });

  test('is requested with the refresh token that the login has at that time', async () => {
    const { registry, process, login, account, store, time, provider } = await connected();
    await store.locks.acquire(`refresh/${account.id}`, 'another process', 5_000);
    const { source } = await process();
    const waiting = source.tokenFor(account.id);
    await time.advance(100);
    const opened = await registry.read(login.id);
    const credential = oauth2({ refreshToken: 'rotated' });
    await registry.replaceCredential(opened!.grant, { ...opened!.sealed, credential });
    await store.locks.release(`refresh/${account.id}`, 'another process');
    await time.advance(1_000);
    expect(tokenOf(await waiting)).toBe('access-2');
    expect(provider.requests).toMatchObject([{ refreshToken: 'rotated' }]);
  });

  test.each([
    ['revoked', 'is revoked'],
    ['reauth_required', 'is reauth_required'],
  ] as const)('is refused while the login is %s', async (state, why) => {
    const { registry, source, login, account, provider } = await connected();
    await registry.setState(login, state, null);
    expect(await source.tokenFor(account.id)).toMatchObject({
      code: 'refresh_failed',
      message: expect.stringContaining(`the login "work" that it lives on ${why}`),
      hint: hintOfText('sidekey connect acme --name work --user alice'),
    });
    expect(provider.requests).toEqual([]);
  });

  test('is refused when the login was removed', async () => {
    const { registry, source, login, account } = await connected();
    await registry.remove(login.id);
    expect(await source.tokenFor(account.id)).toMatchObject({
      code: 'refresh_failed',
      hint: hintOfText(/sidekey connect auth0/),
    });
  });

  test('sets the login instead of the account to reauth_required when the login has ended', async () => {
    const { registry, source, login, account, provider, events, time } = await connected();
    provider.script({ kind: 'refused', ends: 'login', description: 'expired' });
    expect(await source.tokenFor(account.id)).toMatchObject({
      code: 'refresh_failed',
      hint: hintOfText('sidekey connect acme --name work --user alice'),
    });
    expect(await stateOf(registry, login)).toBe('reauth_required');
    expect(await stateOf(registry, account)).toBe('active');
    expect(events).toMatchObject([
      { event: 'grant.reauth_required', grant: login.id },
      { event: 'grant.refresh_failed', grant: account.id },
    ]);
    const ended = await registry.read(login.id);
    const credential = oauth2({ refreshToken: 'of a new login' });
    await registry.replaceCredential(ended!.grant, { ...ended!.sealed, credential });
    await time.advance(30_000);
    expect(tokenOf(await source.tokenFor(account.id))).toBe('access-2');
  });

  test('sets the account to reauth_required when it is no longer connected', async () => {
    const { registry, source, login, account, provider } = await connected();
    provider.script({ kind: 'refused', ends: 'grant', description: '' });
    expect(tokenOf(await source.tokenFor(account.id))).toBe('reauth_required');
    expect(await stateOf(registry, login)).toBe('active');
  });
});
