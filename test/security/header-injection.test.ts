/**
 * CR/LF in a stored token or a selector. A credential with control bytes is refused on store, when a provider
 * sends it, and on injection.
 */
import { describe, expect, test } from 'vitest';
import { plainDialect } from '../../src/config/provider-dialect.ts';
import type { Credential } from '../../src/domain/credential.ts';
import { readCredential } from '../../src/grants/credential-input.ts';
import type { Placement } from '../../src/domain/provider.ts';
import { applyScheme } from '../../src/proxy/schemes/apply.ts';
import { refreshToken } from '../../src/grants/oauth/refresh.ts';
import { oauth2 } from '../unit/grants/processes.ts';

const attacks = [
  'x\r\nX-Evil: 1',
  'x\nX-Evil: 1',
  'x\rX-Evil: 1',
  'x\r\n\r\nGET / HTTP/1.1',
  'x\0',
  'x\u007f',
  'x\tx',
  'x\u0085x',
  // Each becomes CR LF where a writer cuts characters to bytes.
  'x\u010d\u010ax',
  'x\u560d\u560ax',
];

describe.each(attacks)('%j', (attack) => {
  test.each([
    { access_token: attack },
    { value: attack },
    { type: 'jwt', value: attack },
    { headers: { 'X-Key': attack } },
    { headers: { [attack]: 'x' } },
  ])('is refused when stored: %#', (input) => {
    expect(() => readCredential(JSON.stringify(input), { now: () => 0 })).toThrow(
      expect.objectContaining({ code: 'input_invalid' }),
    );
  });

  test.each<[Credential, Placement]>([
    [oauth2({ accessToken: attack }), { kind: 'bearer' }],
    [
      { type: 'api_key', value: attack },
      { kind: 'header', name: 'X-Key', prefix: '' },
    ],
    [{ type: 'jwt', value: attack, expiresAt: null }, { kind: 'bearer' }],
    [{ type: 'headers', headers: [['X-Key', attack]] }, { kind: 'bearer' }],
    [{ type: 'headers', headers: [[attack, 'x']] }, { kind: 'bearer' }],
    [
      { type: 'api_key', value: 'x' },
      { kind: 'header', name: attack, prefix: '' },
    ],
    [
      { type: 'api_key', value: 'x' },
      { kind: 'header', name: 'X-Key', prefix: attack },
    ],
  ])('is refused when injected: %#', (credential, plan) => {
    const authority = { scheme: 'https', host: 'a.test', port: 443 } as const;
    expect(() =>
      applyScheme(
        { path: '/', fields: [] },
        { sealed: { credential, audience: ['a.test'] }, placement: plan, authority },
      ),
    ).toThrow(
      expect.objectContaining({ code: 'policy_violation', message: expect.not.stringContaining('Evil') }),
    );
  });

  test('is refused in a token response of a provider', async () => {
    const outcome = await refreshToken(
      {
        endpoint: 'https://a.test/token',
        client: { clientId: 'c', clientSecret: null, auth: 'none' },
        dialect: plainDialect,
        refreshToken: 'r',
        scopes: [],
      },
      { fetch: async () => Response.json({ access_token: attack, token_type: 'bearer' }), now: () => 0 },
    );
    expect(outcome).toMatchObject({ kind: 'refused', error: 'invalid_access_token' });
  });
});

describe('control characters in a part of a credential that is not sent verbatim', () => {
  test.each([
    { username: 'u\n', password: 'p' },
    { username: 'u', password: 'p\r\n' },
    { refresh_token: 'r\0' },
    { access_token: 'a', client_id: 'c\n' },
    { access_token: 'a', client_secret: 's\u001b' },
    { refresh_token: 'r\ud800' },
  ])('are refused too: %j', (input) => {
    expect(() => readCredential(JSON.stringify(input), { now: () => 0 })).toThrow(
      expect.objectContaining({ code: 'input_invalid' }),
    );
  });
});

describe('a field for framing, routing or one hop', () => {
  test.each([
    'Host',
    'content-length',
    'Transfer-Encoding',
    'Connection',
    'Proxy-Authorization',
    'Sidekey-Grant',
  ])('cannot carry a credential: %s', (name) => {
    expect(() => readCredential(JSON.stringify({ headers: { [name]: 'x' } }), { now: () => 0 })).toThrow(
      expect.objectContaining({ code: 'input_invalid' }),
    );
    const authority = { scheme: 'https', host: 'a.test', port: 443 } as const;
    const sealed = { credential: { type: 'api_key', value: 'x' }, audience: ['a.test'] } as const;
    expect(() =>
      applyScheme(
        { path: '/', fields: [] },
        { sealed, placement: { kind: 'header', name, prefix: '' }, authority },
      ),
    ).toThrow(expect.objectContaining({ code: 'policy_violation' }));
  });
});
