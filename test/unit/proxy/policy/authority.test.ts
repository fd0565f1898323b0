import { describe, expect, it } from 'vitest';
import {
  authorityText,
  parseAbsoluteTarget,
  parseAuthority,
  parseConnectTarget,
  parsePort,
  sameAuthority,
  type Authority,
} from '../../../../src/proxy/policy/authority.ts';

const https = (host: string, port = 443): Authority => ({ scheme: 'https', host, port });

describe('an authority', () => {
  it('has the default port of its scheme', () => {
    expect(parseAuthority('example.com', 'https')).toEqual(https('example.com'));
    expect(parseAuthority('example.com', 'http')).toEqual({ scheme: 'http', host: 'example.com', port: 80 });
    expect(parseAuthority('[::1]', 'https')).toEqual(https('[::1]'));
  });

  it('splits an IPv6 address from its port after the bracket', () => {
    expect(parseAuthority('[2001:db8::8443]:8443', 'https')).toEqual(https('[2001:db8::8443]', 8443));
    expect(parseAuthority('2001:db8::8443', 'https')).toBeNull();
    expect(parseAuthority('[2001:db8::1]8443', 'https')).toBeNull();
    expect(parseAuthority('[2001:db8::1]:8443]:1', 'https')).toBeNull();
    expect(parseAuthority('[2001:db8::1', 'https')).toBeNull();
  });

  it.each(['', ':443', 'example.com:', 'example.com:0', 'example.com:65536', 'example.com:+443', 'a:1:2'])(
    'cannot be parsed from %j',
    (text) => {
      expect(parseAuthority(text, 'https')).toBeNull();
    },
  );

  it('is serialized with a port only if it is not the default', () => {
    expect(authorityText(https('example.com'))).toBe('example.com');
    expect(authorityText(https('example.com', 80))).toBe('example.com:80');
    expect(authorityText({ scheme: 'http', host: 'example.com', port: 443 })).toBe('example.com:443');
  });

  it('equals only an authority with the same host, port and scheme', () => {
    expect(sameAuthority(https('a.example'), https('a.example'))).toBe(true);
    expect(sameAuthority(https('a.example'), https('b.example'))).toBe(false);
    expect(sameAuthority(https('a.example'), https('a.example', 444))).toBe(false);
    expect(sameAuthority(https('a.example'), { ...https('a.example'), scheme: 'http' })).toBe(false);
  });
});

describe('a CONNECT target', () => {
  it('has a port', () => {
    expect(parseConnectTarget('example.com:443')).toEqual(https('example.com'));
    expect(parseConnectTarget('[::1]:443')).toEqual(https('[::1]'));
    expect(parseConnectTarget('example.com')).toBeNull();
    expect(parseConnectTarget('[::1]')).toBeNull();
  });

  it('cannot be a URI', () => {
    expect(parseConnectTarget('https://example.com:443')).toBeNull();
    expect(parseConnectTarget('example.com:443/')).toBeNull();
  });
});

describe('an absolute target', () => {
  it('keeps path and query unchanged', () => {
    const target = parseAbsoluteTarget('HTTPS://Example.com/a/../%2e%2e//b;x?q=%20&r=/é');
    expect(target).toEqual({ authority: https('example.com'), path: '/a/../%2e%2e//b;x?q=%20&r=/é' });
  });

  it('has the path / if none is present', () => {
    expect(parseAbsoluteTarget('http://example.com')?.path).toBe('/');
    expect(parseAbsoluteTarget('http://example.com?q')?.path).toBe('/?q');
  });

  it.each([
    'ftp://example.com/',
    '/path',
    '*',
    'example.com:443',
    'https:/example.com/',
    'https:example.com',
    'https:///path',
    'https://user@example.com/',
    'https://user:word@example.com/',
    'https://example.com\\@attacker.example/',
    'https://example.com/#fragment',
    ' https://example.com/',
  ])('cannot be parsed from %j', (text) => {
    expect(parseAbsoluteTarget(text)).toBeNull();
  });
});

describe('a port', () => {
  it('is a decimal number from 1 to 65535', () => {
    expect(['1', '443', '65535'].map(parsePort)).toEqual([1, 443, 65535]);
    for (const text of [
      '',
      '0',
      '00',
      '0443',
      '65536',
      '99999',
      '100000',
      '-1',
      '+1',
      '1.0',
      '1e3',
      ' 1',
      '1 ',
      '１',
    ])
      expect(parsePort(text), text).toBeNull();
  });
});
