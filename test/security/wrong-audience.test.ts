/**
 * Provider A's token was sent to provider B; a host that a user named in the request decided the grant. A
 * credential carries its audience, which is checked again at injection, and a client secret goes to its own
 * provider alone.
 */
import { describe, expect, test } from 'vitest';
import type { OAuth2Credential, SealedCredential } from '../../src/domain/credential.ts';
import { planRefresh } from '../../src/grants/refresh-plan.ts';
import { selectGrant } from '../../src/domain/grant.ts';
import { applyScheme } from '../../src/proxy/schemes/apply.ts';
import { parseAuthority, type Scheme } from '../../src/proxy/policy/authority.ts';
import { acme, hour, processesForTest, oauth2, tokenOf } from '../unit/grants/processes.ts';

function send(
  audience: string[],
  target: string,
  scheme: Scheme = 'https',
  allowPlainHttp?: boolean,
): readonly string[] {
  const sealed: SealedCredential = { credential: { type: 'api_key', value: 'token' }, audience };
  const authority = parseAuthority(target, scheme);
  if (authority === null) throw new Error(target);
  return applyScheme(
    { path: '/', fields: ['Host', target] },
    {
      sealed,
      placement: { kind: 'bearer' },
      authority,
      ...(allowPlainHttp === undefined ? {} : { allowPlainHttp }),
    },
  ).fields;
}

const wrongAudience = expect.objectContaining({
  code: 'policy_violation',
  message: expect.stringMatching(/^Wrong audience: /),
});

describe('a credential goes to its audience', () => {
  test.each([
    [['api.acme.test'], 'api.acme.test'],
    [['api.acme.test'], 'API.ACME.TEST.:443'],
    [['api.acme.test:8443'], 'api.acme.test:8443'],
    [['*.acme.test'], 'a.b.acme.test'],
    [['other.test', '*.acme.test'], 'api.acme.test'],
  ])('%j: %s', (audience, target) => {
    expect(send(audience, target)).toContain('Bearer token');
  });
});

describe('a credential goes nowhere else', () => {
  test.each([
    [['api.acme.test'], 'api.other.test'],
    [['api.acme.test'], 'api.acme.test:8443'],
    [['api.acme.test'], 'xapi.acme.test'],
    [['api.acme.test'], 'api.acme.test.evil.test'],
    [['*.acme.test'], 'acme.test'],
    [['*.acme.test'], 'nomoreacme.test'],
    [['*.acme.test'], 'a.acme.test:8443'],
    [[], 'api.acme.test'],
    [['not a host', '*'], 'api.acme.test'],
  ])('%j: not to %s', (audience, target) => {
    expect(() => send(audience, target)).toThrow(wrongAudience);
  });

  test('even after an earlier request to the right host was served', () => {
    const sealed: SealedCredential = {
      credential: { type: 'api_key', value: 'token' },
      audience: ['a.test'],
    };
    const to = (host: string) =>
      applyScheme(
        { path: '/', fields: [] },
        { sealed, placement: { kind: 'bearer' }, authority: { scheme: 'https', host, port: 443 } },
      );
    expect(to('a.test').fields).toContain('Bearer token');
    expect(() => to('b.test')).toThrow(wrongAudience);
  });

  test('or over plain http, unless the domain allows plain http', () => {
    expect(() => send(['a.test'], 'a.test', 'http')).toThrow(
      expect.objectContaining({ code: 'insecure_transport' }),
    );
    expect(send(['a.test'], 'a.test', 'http', true)).toContain('Bearer token');
  });
});

test('the audience survives a refresh unchanged', async () => {
  const { process, add, time } = await processesForTest();
  const { registry, source } = await process();
  const grant = await add(registry, oauth2());
  await time.advance(hour);
  expect(tokenOf(await source.tokenFor(grant.id))).toBe('access-2');
  expect((await registry.read(grant.id))?.sealed.audience).toEqual(acme.audience);
});

test('a selector cannot bring another provider’s grant to a domain', async () => {
  const { process, add } = await processesForTest();
  const { registry } = await process();
  const grant = await add(registry, oauth2());
  const candidates = await registry.find('github');
  expect(selectGrant(candidates, { reference: 'github', grant: grant.id })).toEqual({ kind: 'missing' });
});

const planned = (credential: OAuth2Credential) =>
  planRefresh(
    { provider: 'acme', credential, scopes: [] },
    {
      providers: () => acme,
      readSecret: () => Promise.reject(new Error('nothing is referred to')),
      registry: { read: () => Promise.resolve(null) },
    },
  );

describe('a client secret of the provider definition', () => {
  test('is not sent to a token endpoint that came with a credential', async () => {
    const plan = await planned(oauth2({ tokenEndpoint: 'https://evil.test/token' }));
    expect(plan).toMatchObject({
      request: { endpoint: 'https://evil.test/token', client: { clientSecret: null } },
    });
  });

  test('is not sent for another client ID', async () => {
    const plan = await planned(oauth2({ clientId: 'somebody' }));
    expect(plan).toMatchObject({
      request: { client: { clientId: 'somebody', clientSecret: null, auth: 'none' } },
    });
  });
});
