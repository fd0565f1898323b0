import { describe, expect, it } from 'vitest';
import { parseConnectTarget, parseAuthority } from '../../src/proxy/policy/authority.ts';
import { decide, decideConnect } from '../../src/proxy/policy/decide.ts';
import { isPattern, parsePattern } from '../../src/proxy/policy/domain-map.ts';
import { authorityOf, policyOf } from '../unit/proxy/policy/policy-for-test.ts';

const grant = { kind: 'grant', grant: 'google', allowPlainHttp: false } as const;
const policy = policyOf({
  'google.com': grant,
  '*.google.com': grant,
  '*.bücher.example': grant,
  '*.k.example': grant,
});

/** Decision of policy on a client's request for a host; `inject` adds the credential. */
function outcome(host: string): string {
  const target = parseConnectTarget(`${host}:443`);
  return target === null ? 'no authority' : decideConnect(policy, target).outcome;
}

describe('wildcard confusion', () => {
  it('nomoregoogle.com is not google.com', () => {
    for (const host of [
      'nomoregoogle.com',
      'no-google.com',
      'a.nomoregoogle.com',
      '-google.com',
      '_google.com',
    ])
      expect(outcome(host), host).toBe('deny');
  });

  it('google.com.attacker.example is not google.com', () => {
    for (const host of [
      'google.com.attacker.example',
      'a.google.com.attacker.example',
      'google.com-a.example',
      'google.comx',
    ])
      expect(outcome(host), host).toBe('deny');
  });

  it('*.x matches every depth below x, but never x itself', () => {
    const below = policyOf({ '*.google.com': grant });
    expect(decide(below, authorityOf('mail.google.com')).outcome).toBe('inject');
    expect(decide(below, authorityOf('a.b.c.mail.google.com')).outcome).toBe('inject');
    expect(decide(below, authorityOf('google.com')).outcome).toBe('deny');
  });

  it('a trailing dot neither loses a grant nor bypasses a refusal', () => {
    expect(outcome('mail.google.com.')).toBe('inject');
    const refused = policyOf({ '*.google.com': grant, 'evil.google.com': { kind: 'deny' } }, 'tunnel');
    for (const host of ['evil.google.com', 'evil.google.com.', 'EVIL.google.com.'])
      expect(decideConnect(refused, parseConnectTarget(`${host}:443`)!).outcome, host).toBe('deny');
    expect(outcome('mail.google.com..')).toBe('no authority');
  });

  it('upper and lower case are equal', () => {
    expect(outcome('MAIL.Google.COM')).toBe('inject');
    expect(outcome('MAIL.NoMoreGoogle.COM')).toBe('deny');
  });

  it('IDNA is applied before labels are compared', () => {
    for (const host of [
      'a.bücher.example',
      'a.BÜCHER.example',
      'a.xn--bcher-kva.example',
      'a.bu\u0308cher.example',
    ])
      expect(outcome(host), host).toBe('inject');
    // The Kelvin sign is the letter k, to IDNA and so to every program that dials it.
    expect(outcome('a.\u212a.example')).toBe('inject');
  });

  it('a look-alike in another script is a different name', () => {
    for (const host of [
      'mail.gооgle.com',
      'mail.xn--ggle-55da.com',
      'mail.goog\u217ae.com',
      'mail.google.c\u043em',
    ])
      expect(outcome(host), host).toBe('deny');
  });

  it('a character that only some programs read as a dot does not match a dot', () => {
    for (const dot of ['\u3002', '\uff0e', '\uff61', '\u2024', '%2e'])
      expect(outcome(`attacker${dot}google.com`), dot).not.toBe('inject');
  });

  it('a wildcard needs two labels, so that it never covers everything or a top-level domain', () => {
    for (const text of [
      '*',
      '*.',
      '*.com',
      '*.com.',
      '**.google.com',
      '*google.com',
      'mail.*.com',
      '*.*.com',
    ])
      expect(isPattern(parsePattern(text)), text).toBe(false);
  });

  it('an IP address cannot contain a wildcard', () => {
    for (const text of ['*.0.0.1', '*.127.0.0.1', '*.[::1]', '*.1', '1.*'])
      expect(isPattern(parsePattern(text)), text).toBe(false);
  });

  it('an asterisk in a request is not a valid host', () => {
    expect(parseAuthority('*.google.com', 'https')).toBeNull();
    expect(outcome('*')).toBe('no authority');
  });

  it('a port must match exactly', () => {
    const one = policyOf({ 'a.example:8443': grant });
    for (const port of [443, 844, 8444, 18443, 43]) {
      expect(decideConnect(one, parseConnectTarget(`a.example:${port}`)!).outcome, String(port)).toBe('deny');
    }
  });
});
