import { describe, expect, it } from 'vitest';
import { requestFields } from '../../src/proxy/http/fields.ts';
import type { InterceptedTunnel } from '../../src/proxy/http/message.ts';
import type { RequestHead } from '../../src/proxy/http/head.ts';
import { authorityText, parseAbsoluteTarget, parseConnectTarget } from '../../src/proxy/policy/authority.ts';
import { decide, decideConnect } from '../../src/proxy/policy/decide.ts';
import { targetOf } from '../../src/proxy/target.ts';
import { authorityOf, policyOf } from '../unit/proxy/policy/policy-for-test.ts';

const allowed: InterceptedTunnel = {
  authority: authorityOf('allowed.example'),
  serverName: 'allowed.example',
  presented: { kind: 'nothing' },
};
const head = (
  fields: readonly string[],
  target = '/',
  version: RequestHead['version'] = '1.1',
): RequestHead => ({
  method: 'GET',
  target,
  version,
  fields,
});
const host = (...values: string[]) => values.flatMap((value) => ['Host', value]);

describe('authority confusion in the target', () => {
  const texts = [
    'allowed.example:x@attacker.example:443',
    'allowed.example:443@attacker.example:443',
    'allowed.example@attacker.example:443',
    'user:word@allowed.example:443',
    'attacker.example\0.allowed.example:443',
    'attacker.example\0allowed.example:443',
    'attacker.example%00.allowed.example:443',
    'attacker.example#.allowed.example:443',
    'attacker.example#@allowed.example:443',
    'attacker.example?.allowed.example:443',
    'attacker.example/.allowed.example:443',
    'attacker.example\\.allowed.example:443',
    'attacker.example\\@allowed.example:443',
    'attacker.example\t.allowed.example:443',
    'attacker.example\r\nHost: allowed.example:443',
    'attacker.example allowed.example:443',
    'attacker.example,allowed.example:443',
    'attacker.example:443:443',
    'allowed.example:443:attacker.example',
    'allowed.example:443\0',
    'allowed.example:',
    'allowed.example:+443',
    'allowed.example:0443',
    'allowed.example:443 ',
    ' allowed.example:443',
    'allowed.example:65979',
    '::1:443',
    'fe80::1:443',
    '[::1]443',
    '[::1]:443]:443',
    '[allowed.example]:443',
    '[::1].allowed.example:443',
    '[::1%25allowed.example]:443',
    '//allowed.example:443',
    'https://allowed.example:443',
  ];

  it.each(texts)('CONNECT %j is not a valid authority', (text) => {
    expect(parseConnectTarget(text)).toBeNull();
  });

  it.each(texts.filter((text) => !/^(https:)?\/\//.test(text)))(
    'https://%j is not a valid authority, or is read as the attacker’s',
    (text) => {
      const target = parseAbsoluteTarget(`https://${text}`);
      // What a slash or a question mark ends is an authority by any reading: the one before it.
      if (target !== null) expect(target.authority.host).toBe('attacker.example');
    },
  );

  it('an IPv6 address is split from its port at the bracket', () => {
    expect(parseConnectTarget('[2001:db8::1:443]:8443')).toEqual(authorityOf('[2001:db8::1:443]:8443'));
    expect(parseConnectTarget('[2001:db8::1]:443')?.host).toBe('[2001:db8::1]');
  });
});

describe('authority confusion inside a tunnel', () => {
  it.each([
    'attacker.example',
    'allowed.example:8443',
    'allowed.example:80',
    'allowed.example.attacker.example',
    'xallowed.example',
    'allowed.example:x@attacker.example',
    'attacker.example@allowed.example',
    'attacker.example\0.allowed.example',
    'allowed.example, attacker.example',
    'https://allowed.example',
    'allowed.example/',
    '',
    ' ',
  ])('a Host of %j is refused', (value) => {
    expect(targetOf(head(host(value)), allowed)).toMatchObject({ code: 'authority_mismatch', status: 421 });
  });

  it('two Host fields are refused, even if they agree', () => {
    for (const fields of [
      host('allowed.example', 'attacker.example'),
      host('attacker.example', 'allowed.example'),
      ['Host', 'allowed.example', 'hOST', 'allowed.example'],
    ])
      expect(targetOf(head(fields), allowed)).toMatchObject({ code: 'bad_request', status: 400 });
  });

  it('a request without Host is refused', () => {
    expect(targetOf(head([]), allowed)).toMatchObject({ code: 'bad_request' });
  });

  it.each([
    'https://attacker.example/',
    'https://allowed.example:8443/',
    'http://allowed.example/',
    'http://allowed.example:443/',
  ])('a target of %s is refused with any Host', (target) => {
    for (const value of ['allowed.example', 'attacker.example'])
      expect(targetOf(head(host(value), target), allowed)).toMatchObject({ code: 'authority_mismatch' });
  });

  it('a TLS server name of another host is refused, whatever the request names', () => {
    for (const serverName of [
      'attacker.example',
      'allowed.example.attacker.example',
      'xallowed.example',
      '\0',
    ])
      expect(targetOf(head(host('allowed.example')), { ...allowed, serverName })).toMatchObject({
        code: 'authority_mismatch',
      });
    expect(
      targetOf(head(host('allowed.example')), { ...allowed, serverName: 'ALLOWED.example.' }),
    ).toMatchObject({
      path: '/',
    });
  });

  it('a path that only looks like another host stays a path', () => {
    for (const path of [
      '//attacker.example/',
      '/\\attacker.example',
      '/@attacker.example',
      '/https://attacker.example',
    ])
      expect(targetOf(head(host('allowed.example'), path), allowed)).toEqual({
        authority: allowed.authority,
        path,
      });
  });
});

describe('authority confusion outside a tunnel', () => {
  it('a Host that differs from the target is refused', () => {
    for (const value of ['attacker.example', 'allowed.example:443', ''])
      expect(targetOf(head(host(value), 'http://allowed.example/'), null)).toMatchObject({
        code: 'authority_mismatch',
      });
  });

  it('a forwarded request names only the checked authority, instead of the Host that the client sent', () => {
    const sent = ['Host', 'attacker.example', 'X', '1', 'host', 'attacker.example'];
    expect(requestFields(sent, authorityText(allowed.authority))).toEqual([
      'Host',
      'allowed.example',
      'X',
      '1',
    ]);
  });
});

describe('cleartext', () => {
  const grant = { kind: 'grant', grant: 'acme', allowPlainHttp: false } as const;

  it('an entry with only a host sends no credential to http://', () => {
    const policy = policyOf({
      'a.example': grant,
      'a.example:80': grant,
      '*.b.example': grant,
      'c.example:8080': grant,
    });
    for (const text of ['a.example', 'x.b.example', 'c.example:8080'])
      expect(decide(policy, authorityOf(text, 'http')), text).toMatchObject({ code: 'insecure_transport' });
  });

  it('an entry without a port sends no credential to port 80, by https or CONNECT', () => {
    const policy = policyOf({ 'a.example': grant });
    expect(decide(policy, authorityOf('a.example:80', 'https')).outcome).toBe('deny');
    expect(decideConnect(policy, parseConnectTarget('a.example:80')!).outcome).toBe('deny');
  });

  it('plain http inside a tunnel does not count as https', () => {
    const policy = policyOf({ 'a.example': grant });
    const target = parseConnectTarget('a.example:443')!;
    expect(decideConnect(policy, target).outcome).toBe('inject');
    expect(decide(policy, { ...target, scheme: 'http' }).outcome).toBe('deny');
  });
});
