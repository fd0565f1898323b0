import { describe, expect, test } from 'vitest';
import type { Credential, SealedCredential } from '../../../../src/domain/credential.ts';
import type { Placement } from '../../../../src/domain/provider.ts';
import { applyScheme, fieldsFor } from '../../../../src/proxy/schemes/apply.ts';
import { oauth2 } from '../../grants/processes.ts';

const bearer: Placement = { kind: 'bearer' };
const header: Placement = { kind: 'header', name: 'X-Api-Key', prefix: '' };
const authority = { scheme: 'https', host: 'api.acme.test', port: 443 } as const;
const sealed = (credential: Credential): SealedCredential => ({ credential, audience: ['api.acme.test'] });
const key: Credential = { type: 'api_key', value: 'k' };
const empty = { path: '/', fields: [] };

/** Applies a scheme to fields given one per line. */
function injected(fields: string[], credential: Credential, plan = bearer): string[] {
  const flat = fields.flatMap((line) => line.split(/: ?/, 2));
  const { fields: result } = applyScheme(
    { path: '/', fields: flat },
    { sealed: sealed(credential), placement: plan, authority },
  );
  return result.flatMap((name, index) => (index % 2 === 0 ? [`${name}: ${result[index + 1]}`] : []));
}

describe('the injected value', () => {
  test.each<[Credential, Placement, (readonly [string, string])[]]>([
    [oauth2({ accessToken: 'a' }), bearer, [['Authorization', 'Bearer a']]],
    [key, bearer, [['Authorization', 'Bearer k']]],
    [key, header, [['X-Api-Key', 'k']]],
    // The form of git and registries: base64 of x-access-token:k.
    [
      key,
      { kind: 'basic', username: 'x-access-token', pairUsername: null },
      [['Authorization', 'Basic eC1hY2Nlc3MtdG9rZW46aw==']],
    ],
    [
      { type: 'basic', username: 'ann@acme.test', password: 'k' },
      { kind: 'basic', username: 'other', pairUsername: 'x-access-token' },
      [['Authorization', 'Basic eC1hY2Nlc3MtdG9rZW46aw==']],
    ],
    [
      { type: 'basic', username: 'Aladdin', password: 'open sesame' },
      { kind: 'basic', username: 'x-access-token', pairUsername: null },
      [['Authorization', 'Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==']],
    ],
    [key, { kind: 'header', name: 'Authorization', prefix: 'token ' }, [['Authorization', 'token k']]],
    [{ type: 'jwt', value: 'j', expiresAt: null }, header, [['X-Api-Key', 'j']]],
    // RFC 7617 §2.
    [
      { type: 'basic', username: 'Aladdin', password: 'open sesame' },
      header,
      [['Authorization', 'Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==']],
    ],
    // RFC 7617 §2.1.
    [
      { type: 'basic', username: 'test', password: '123£' },
      bearer,
      [['Authorization', 'Basic dGVzdDoxMjPCow==']],
    ],
    [{ type: 'headers', headers: [['X-A', '1'], ['X-B', '2']] }, bearer, [['X-A', '1'], ['X-B', '2']]], // prettier-ignore
  ])('of %j by %j', (credential, plan, fields) => {
    expect(fieldsFor(credential, plan)).toEqual(fields);
  });

  test('is refused when the grant has no access token', () => {
    expect(() => fieldsFor(oauth2({ accessToken: null }), bearer)).toThrow(
      expect.objectContaining({ code: 'internal' }),
    );
  });
});

test('is injected by each scheme that uses it, in any order', () => {
  const one = sealed(key);
  const basic: Placement = { kind: 'basic', username: 'x-access-token', pairUsername: null };
  const by = (plan: Placement) => applyScheme(empty, { sealed: one, placement: plan, authority }).fields;
  expect([by(bearer), by(basic), by(header), by(bearer)]).toEqual([
    ['Authorization', 'Bearer k'],
    ['Authorization', 'Basic eC1hY2Nlc3MtdG9rZW46aw=='],
    ['X-Api-Key', 'k'],
    ['Authorization', 'Bearer k'],
  ]);
});

describe('the position of the injected field', () => {
  test('is the position of the first field that it replaces, in any case', () => {
    expect(
      injected(['Host: h', 'aUTHORIZATION: Bearer placeholder', 'Accept: */*', 'Authorization: x'], key),
    ).toEqual(['Host: h', 'Authorization: Bearer k', 'Accept: */*']);
  });

  test('is after Host if it replaces no field', () => {
    expect(injected(['Accept: */*', 'hOST: h', 'X-A: 1', 'X-A: 2'], key)).toEqual([
      'Accept: */*',
      'hOST: h',
      'Authorization: Bearer k',
      'X-A: 1',
      'X-A: 2',
    ]);
  });

  test('is the end when there is no Host', () => {
    expect(injected(['Accept: */*'], key)).toEqual(['Accept: */*', 'Authorization: Bearer k']);
    expect(injected([], key)).toEqual(['Authorization: Bearer k']);
  });

  test('does not depend on a placeholder in Authorization, which other schemes remove too', () => {
    expect(injected(['Host: h', 'X-API-KEY: mine', 'Authorization: Bearer mine'], key, header)).toEqual([
      'Host: h',
      'X-Api-Key: k',
    ]);
    expect(injected(['Authorization: mine', 'Host: h'], key, header)).toEqual(['X-Api-Key: k', 'Host: h']);
  });

  test('is the same for several fields, which stay together and in order', () => {
    const headers: Credential = { type: 'headers', headers: [['X-A', '1'], ['X-B', '2']] }; // prettier-ignore
    expect(injected(['Host: h', 'x-b: mine', 'Accept: */*', 'x-a: mine'], headers)).toEqual([
      'Host: h',
      'X-A: 1',
      'X-B: 2',
      'Accept: */*',
    ]);
  });

  test('does not change the received request or fields with a similar name', () => {
    const fields = Object.freeze(['Host', 'h', 'Authorization-Info', 'x']);
    expect(
      applyScheme({ path: '/', fields }, { sealed: sealed(key), placement: bearer, authority }).fields,
    ).toEqual(['Host', 'h', 'Authorization', 'Bearer k', 'Authorization-Info', 'x']);
  });

  test('changes with the scheme for the same credential', () => {
    const one = sealed(key);
    expect(applyScheme(empty, { sealed: one, placement: bearer, authority }).fields).toEqual([
      'Authorization',
      'Bearer k',
    ]);
    expect(applyScheme(empty, { sealed: one, placement: header, authority }).fields).toEqual([
      'X-Api-Key',
      'k',
    ]);
  });
});

describe('a credential in the path', () => {
  const plan: Placement = { kind: 'path', prefixes: ['/bot', '/file/bot'] };
  const token: Credential = { type: 'api_key', value: '123:AbC_d-e' };
  const path = (written: string, credential = token) =>
    applyScheme({ path: written, fields: [] }, { sealed: sealed(credential), placement: plan, authority })
      .path;

  test.each([
    ['/bot/getMe', '/bot123:AbC_d-e/getMe'],
    ['/botPLACEHOLDER/getMe?x=/bot', '/bot123:AbC_d-e/getMe?x=/bot'],
    ['/bot', '/bot123:AbC_d-e'],
    ['/bot?x=1', '/bot123:AbC_d-e?x=1'],
    ['/file/botX/documents/a%2Fb', '/file/bot123:AbC_d-e/documents/a%2Fb'],
  ])('%s becomes %s', (written, sent) => expect(path(written)).toBe(sent));

  test.each(['/', '/getMe', '/BOT/getMe', '/x/bot/getMe'])(
    'is refused without its place in the path: %s',
    (written) => {
      expect(() => path(written)).toThrow(expect.objectContaining({ code: 'policy_violation' }));
    },
  );

  test.each(['a/b', '..', '.', 'a?b', 'a#b', 'a%2fb', 'a b', ''])(
    'is refused when it would change the structure of the path: %j',
    (value) => {
      expect(() => path('/bot/getMe', { type: 'api_key', value })).toThrow(
        expect.objectContaining({ code: 'policy_violation' }),
      );
    },
  );

  test('removes the placeholder from Authorization too', () => {
    const request = { path: '/bot/getMe', fields: ['Host', 'h', 'Authorization', 'Bearer x'] };
    expect(applyScheme(request, { sealed: sealed(token), placement: plan, authority }).fields).toEqual([
      'Host',
      'h',
    ]);
  });
});

describe('a credential in the query', () => {
  const plan: Placement = { kind: 'query', name: 'key' };
  const path = (written: string, value = 'k&=1') =>
    applyScheme(
      { path: written, fields: [] },
      { sealed: sealed({ type: 'api_key', value }), placement: plan, authority },
    ).path;

  test.each([
    ['/v1', '/v1?key=k%26%3D1'],
    ['/v1?', '/v1?key=k%26%3D1'],
    ['/v1?a=1&b=%20', '/v1?a=1&b=%20&key=k%26%3D1'],
    ['/v1?key=placeholder&a=1', '/v1?key=k%26%3D1&a=1'],
    ['/v1?a=1&key=x&k%65y=y&key', '/v1?a=1&key=k%26%3D1'],
    ['/v1?keys=1', '/v1?keys=1&key=k%26%3D1'],
  ])('%s becomes %s', (written, sent) => expect(path(written)).toBe(sent));
});
