import { inspect } from 'node:util';
import { describe, expect, it } from 'vitest';
import { applyScheme } from '../../../../src/proxy/schemes/apply.ts';
import { secretsOf } from '../../../../src/proxy/schemes/credential.ts';
import { certificateShown } from '../../../../src/proxy/schemes/mtls.ts';
import { certificateOf } from '../../../support/certificate-grants.ts';
import { authorityOf } from '../policy/policy-for-test.ts';

const plan = { kind: 'client_certificate' } as const;
const credential = certificateOf('agents');
const sealed = () => ({ credential, audience: ['bank.example'] });
const authority = authorityOf('bank.example');
const request = { path: '/a?b', fields: ['Host', 'bank.example', 'Authorization', 'Bearer own'] };

const problem = (injection: Partial<Parameters<typeof applyScheme>[1]>) => () =>
  applyScheme(request, { sealed: sealed(), placement: plan, authority, allowPlainHttp: true, ...injection });

describe('a request with a client certificate', () => {
  it('is unchanged, including Authorization of the client, and gets the identity', () => {
    const injected = applyScheme(request, { sealed: sealed(), placement: plan, authority });
    expect(injected).toMatchObject(request);
    expect(injected.identity?.material()).toEqual({
      cert: credential.certificate,
      key: credential.privateKey,
    });
  });

  it('has the same identity as other requests with the same opened credential, and no others', () => {
    const [one, two] = [sealed(), sealed()];
    const of = (it: ReturnType<typeof sealed>) => certificateShown(it, authority);
    expect(of(one)).toBe(of(one));
    expect(of(two)).not.toBe(of(one));
    expect(of(two).id).not.toBe(of(one).id);
    of(one).end();
    expect([of(one).ended.aborted, of(two).ended.aborted]).toEqual([true, false]);
  });

  it('is refused outside the audience, over plain http, and with another kind of credential', () => {
    expect(problem({ authority: authorityOf('other.example') })).toThrow(/Wrong audience/);
    expect(
      problem({
        authority: authorityOf('bank.example', 'http'),
        sealed: { credential, audience: ['bank.example:80'] },
      }),
    ).toThrow(/plain http to bank\.example has none/);
    expect(
      problem({ sealed: { credential: { type: 'api_key', value: 'k' }, audience: ['bank.example'] } }),
    ).toThrow(/this grant has none/);
    expect(problem({ placement: { kind: 'bearer' } })).toThrow(/in TLS handshakes only/);
  });
});

it('a logged identity contains no key', () => {
  const { identity } = applyScheme(request, { sealed: sealed(), placement: plan, authority });
  const line = credential.privateKey.split('\n')[3]!;
  expect(line.length).toBeGreaterThan(40);
  const peer = { ...authority, identity };
  for (const text of [JSON.stringify(peer), inspect(peer, { depth: 9, showHidden: true })])
    expect(text).not.toContain(line);
});

it('lines of the key are secrets, and lines of the certificate are not', () => {
  const secrets = secretsOf(credential);
  expect(secrets).toHaveLength(1);
  expect(secrets.every((line) => credential.privateKey.includes(line))).toBe(true);
  expect(secrets.some((line) => line.includes('-----'))).toBe(false);
});
