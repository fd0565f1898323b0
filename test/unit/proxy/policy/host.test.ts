import { describe, expect, it } from 'vitest';
import { bareHost, canonicalHost, isAddress } from '../../../../src/proxy/policy/authority.ts';

describe('the canonical text of a host', () => {
  it.each([
    ['API.Example.COM', 'api.example.com'],
    ['api.example.com.', 'api.example.com'],
    ['bücher.example', 'xn--bcher-kva.example'],
    ['BÜCHER.example', 'xn--bcher-kva.example'],
    ['bu\u0308cher.example', 'xn--bcher-kva.example'],
    ['XN--BCHER-KVA.example', 'xn--bcher-kva.example'],
    ['_dmarc.example.com', '_dmarc.example.com'],
    ['localhost', 'localhost'],
    ['192.0.2.1', '192.0.2.1'],
    ['192.0.2.1.', '192.0.2.1'],
    ['[2001:DB8:0:0:0:0:0:1]', '[2001:db8::1]'],
    ['[::ffff:192.0.2.1]', '[::ffff:c000:201]'],
  ])('%s is %s', (text, canonical) => {
    expect(canonicalHost(text)).toBe(canonical);
  });

  it.each([
    ['an empty text', ''],
    ['a single dot', '.'],
    ['two trailing dots', 'example.com..'],
    ['an empty label', 'a..example.com'],
    ['a leading dot', '.example.com'],
    ['a label of 64 characters', `${'a'.repeat(64)}.example.com`],
    ['a name of 254 characters', `${'a.'.repeat(126)}aa`],
    ['user information', 'a@example.com'],
    ['a port', 'example.com:443'],
    ['a path', 'example.com/x'],
    ['a backslash', 'example.com\\x'],
    ['a percent sign', 'ex%61mple.com'],
    ['a blank', 'example .com'],
    ['a tab, which a URL parser would drop', 'exa\tmple.com'],
    ['a line end, which a URL parser would drop', 'exam\r\nple.com'],
    ['a NUL', 'attacker.example\0.example.com'],
    ['a soft hyphen, which IDNA would drop', 'exam\u00adple.com'],
    ['a zero-width joiner, which IDNA would drop', 'exam\u200dple.com'],
    ['an ideographic full stop, which IDNA takes for a dot', 'example\u3002com'],
    ['a digit with a full stop in it', '\u2488example.com'],
    ['a digit that becomes one in parentheses', '\u2474example.com'],
    ['an IPv6 address without brackets', '::1'],
    ['an IPv6 address with a zone', '[fe80::1%eth0]'],
    ['an IPv4 address in brackets', '[192.0.2.1]'],
    ['an open bracket', '[::1'],
    ['text after the bracket', '[::1].example.com'],
  ])('does not exist for %s', (_what, text) => {
    expect(canonicalHost(text)).toBeNull();
  });

  it.each([
    '2130706433',
    '0x7f000001',
    '0x7f.1',
    '017700000001',
    '0177.0.0.1',
    '127.1',
    '127.0.1',
    '010.0.0.1',
  ])('does not exist for %s, which some programs parse as an IPv4 address', (text) => {
    expect(canonicalHost(text)).toBeNull();
  });

  it('does not exist for an IPv4 address in digits of another script', () => {
    expect(canonicalHost('１２７.0.0.1')).toBeNull();
    expect(canonicalHost('①27.0.0.1')).toBeNull();
  });
});

describe('a canonical host', () => {
  it('is classified as an address or a name', () => {
    expect(['192.0.2.1', '[::1]', 'example.com', 'localhost'].map(isAddress)).toEqual([
      true,
      true,
      false,
      false,
    ]);
  });

  it('has no brackets for sockets and certificates', () => {
    expect(['[::1]', '192.0.2.1', 'example.com'].map(bareHost)).toEqual(['::1', '192.0.2.1', 'example.com']);
  });
});
