import { describe, expect, test } from 'vitest';
import type { Credential, SealedCredential } from '../../../src/grants/credential.ts';
import type { InjectPlan } from '../../../src/grants/provider.ts';
import { fieldsFor, inject } from '../../../src/inject/inject.ts';
import { oauth2 } from '../grants/house.ts';

const bearer: InjectPlan = { kind: 'bearer' };
const header: InjectPlan = { kind: 'header', name: 'X-Api-Key', prefix: '' };
const authority = { scheme: 'https', host: 'api.acme.test', port: 443 } as const;
const sealed = (credential: Credential): SealedCredential => ({ credential, audience: ['api.acme.test'] });
const key: Credential = { type: 'api_key', value: 'k' };

/** Runs with fields written one a line. */
function injected(fields: string[], credential: Credential, plan = bearer): string[] {
  const flat = fields.flatMap((line) => line.split(/: ?/, 2));
  const result = inject(flat, { sealed: sealed(credential), plan, authority });
  return result.flatMap((name, index) => (index % 2 === 0 ? [`${name}: ${result[index + 1]}`] : []));
}

describe('what is written', () => {
  test.each<[Credential, InjectPlan, (readonly [string, string])[]]>([
    [oauth2({ accessToken: 'a' }), bearer, [['Authorization', 'Bearer a']]],
    [key, bearer, [['Authorization', 'Bearer k']]],
    [key, header, [['X-Api-Key', 'k']]],
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
  ])('%j by %j', (credential, plan, fields) => {
    expect(fieldsFor(credential, plan)).toEqual(fields);
  });

  test('a grant without an access token is a fault, not an empty field', () => {
    expect(() => fieldsFor(oauth2({ accessToken: null }), bearer)).toThrow(
      expect.objectContaining({ code: 'internal' }),
    );
  });
});

describe('where it is written', () => {
  test('in the place of the first of the fields it replaces, whatever their case', () => {
    expect(
      injected(['Host: h', 'aUTHORIZATION: Bearer placeholder', 'Accept: */*', 'Authorization: x'], key),
    ).toEqual(['Host: h', 'Authorization: Bearer k', 'Accept: */*']);
  });

  test('right after Host where there is none of them', () => {
    expect(injected(['Accept: */*', 'hOST: h', 'X-A: 1', 'X-A: 2'], key)).toEqual([
      'Accept: */*',
      'hOST: h',
      'Authorization: Bearer k',
      'X-A: 1',
      'X-A: 2',
    ]);
  });

  test('at the end where there is no Host either', () => {
    expect(injected(['Accept: */*'], key)).toEqual(['Accept: */*', 'Authorization: Bearer k']);
    expect(injected([], key)).toEqual(['Authorization: Bearer k']);
  });

  test('the placeholder in Authorization goes, also where the credential is carried elsewhere', () => {
    expect(injected(['Host: h', 'X-API-KEY: mine', 'Authorization: Bearer mine'], key, header)).toEqual([
      'Host: h',
      'X-Api-Key: k',
    ]);
    expect(injected(['Authorization: mine', 'Host: h'], key, header)).toEqual(['X-Api-Key: k', 'Host: h']);
  });

  test('several fields stand together, in their order', () => {
    const headers: Credential = { type: 'headers', headers: [['X-A', '1'], ['X-B', '2']] }; // prettier-ignore
    expect(injected(['Host: h', 'x-b: mine', 'Accept: */*', 'x-a: mine'], headers)).toEqual([
      'Host: h',
      'X-A: 1',
      'X-B: 2',
      'Accept: */*',
    ]);
  });

  test('the request that came in is left as it is, and a field whose name only begins alike stays', () => {
    const fields = Object.freeze(['Host', 'h', 'Authorization-Info', 'x']);
    expect(inject(fields, { sealed: sealed(key), plan: bearer, authority })).toEqual([
      'Host',
      'h',
      'Authorization',
      'Bearer k',
      'Authorization-Info',
      'x',
    ]);
  });

  test('the same credential follows a plan that changes', () => {
    const one = sealed(key);
    expect(inject([], { sealed: one, plan: bearer, authority })).toEqual(['Authorization', 'Bearer k']);
    expect(inject([], { sealed: one, plan: header, authority })).toEqual(['X-Api-Key', 'k']);
  });
});
