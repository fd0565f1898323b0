import { describe, expect, test } from 'vitest';
import { newDpopKey } from '../../../src/proxy/schemes/dpop-proof.ts';
import type { DpopKey, OAuth2Credential, Renewal } from '../../../src/domain/credential.ts';
import { erased } from '../../../src/grants/credential-shape.ts';
import type { Provider } from '../../../src/domain/provider.ts';
import type { RefreshOutcome } from '../../../src/grants/oauth/refresh.ts';
import { planRefresh } from '../../../src/grants/refresh-plan.ts';
import { readSealed, writeSealed } from '../../../src/grants/sealed-text.ts';
import { acme, hour, processesForTest, oauth2 } from './processes.ts';

const key = newDpopKey('ES256');
const binding: Provider = { ...acme, dpop: 'ES256' };

async function keyPlanned(credential: OAuth2Credential, provider: Provider): Promise<DpopKey | null> {
  const plan = await planRefresh(
    { provider: 'acme', credential, scopes: [] },
    {
      providers: () => provider,
      readSecret: () => Promise.resolve(''),
      registry: { read: () => Promise.resolve(null) },
    },
  );
  if (plan.kind === 'impossible') throw new Error(plan.reason);
  return plan.proofKey;
}

describe('the DPoP key of a grant', () => {
  test('is removed when the grant is revoked', () => {
    const sealed = { credential: oauth2({ dpop: { key, isBound: true } }), audience: ['acme.test'] };
    const left = erased(sealed);
    expect(JSON.stringify(left)).not.toContain(key.d);
    expect(readSealed(writeSealed(left), 'id')).toEqual(left);
  });
});

describe('the DPoP key of a refresh', () => {
  test('is the key of the grant, even if the definition no longer requires DPoP', async () => {
    const credential = oauth2({ dpop: { key, isBound: true } });
    expect(await keyPlanned(credential, binding)).toBe(key);
    expect(await keyPlanned(credential, acme)).toBe(key);
    expect(await keyPlanned(credential, { ...acme, dpop: 'EdDSA' })).toBe(key);
  });

  test('is created as the definition requires if the grant has none', async () => {
    expect(await keyPlanned(oauth2(), acme)).toBeNull();
    expect(await keyPlanned(oauth2(), binding)).toMatchObject({ crv: 'P-256' });
    expect(await keyPlanned(oauth2(), { ...acme, dpop: 'EdDSA' })).toMatchObject({ crv: 'Ed25519' });
    const renewal: Renewal = { kind: 'client_credentials', scope: null, parameters: {} };
    expect(await keyPlanned(oauth2({ refreshToken: null, renewal }), binding)).toMatchObject({
      crv: 'P-256',
    });
  });
});

/** One refresh with a response whose token is bound, or is not. */
async function refreshed(answer: object, credential: OAuth2Credential, provider = binding) {
  const { process, add, provider: server, time } = await processesForTest();
  const proved: (DpopKey | null)[] = [];
  const { registry, source, store } = await process({
    providers: () => provider,
    refresh: async (request, io) => {
      proved.push(io.proofKey);
      const outcome: RefreshOutcome = { ...(await server.refresh(request, io)), ...answer };
      return outcome;
    },
  });
  const grant = await add(registry, credential);
  await time.advance(hour);
  await source.tokenFor(grant.id);
  const stored = (await registry.read(grant.id))?.sealed.credential as OAuth2Credential;
  return { stored, proved, activity: await store.activity.get(grant.id) };
}

describe('the refresh of a DPoP-bound token', () => {
  test('sends a proof with the key of the grant, and keeps the key', async () => {
    const { stored, proved } = await refreshed({ isBound: true }, oauth2({ dpop: { key, isBound: true } }));
    expect(proved).toEqual([key]);
    expect(stored).toMatchObject({ accessToken: 'access-2', dpop: { key, isBound: true } });
  });

  test('stores a new key together with its tokens', async () => {
    const { stored, proved } = await refreshed({ isBound: true }, oauth2());
    expect(stored).toMatchObject({ accessToken: 'access-2', dpop: { key: proved[0], isBound: true } });
  });

  test('stores a new key with a refresh token that comes beside an unusable access token', async () => {
    const refused = {
      kind: 'refused',
      error: 'unsupported_token_type',
      description: 'a token of the type mac',
      unusable: { refreshToken: 'refresh-2', tokenType: 'mac' },
    } as const;
    const { stored, proved, activity } = await refreshed(refused, oauth2());
    expect(activity?.refreshedAt).toBeNull();
    expect(stored).toMatchObject({
      accessToken: 'access-1',
      refreshToken: 'refresh-2',
      dpop: { key: proved[0], isBound: false },
    });
  });

  test('keeps the key and the refresh token, and reports an error, if the new token is not bound', async () => {
    const { stored } = await refreshed({}, oauth2({ dpop: { key, isBound: true } }));
    expect(stored).toMatchObject({
      accessToken: 'access-2',
      refreshToken: 'refresh-2',
      dpop: { key, isBound: false },
    });
  });
});

const sealed = (credential: object) =>
  readSealed(Buffer.from(JSON.stringify({ v: 1, credential, audience: [] })), 'g').credential;

describe('a sealed credential', () => {
  test('is unchanged after it is sealed and opened, with and without a key', () => {
    for (const credential of [oauth2(), oauth2({ dpop: { key, isBound: false } })]) {
      const bytes = writeSealed({ credential, audience: ['api.acme.test'] });
      expect(readSealed(bytes, 'g').credential).toEqual(credential);
    }
  });

  test.each([
    ['null', null],
    ['a key without its private part', { key: { ...key, d: undefined }, isBound: true }],
    ['a key without isBound', { key }],
    ['an isBound that is no boolean', { key, isBound: 'yes' }],
  ])('is refused with %s', (_what, dpop) => {
    expect(() => sealed({ ...oauth2(), dpop })).toThrow(/has a form that this version/);
  });
});
