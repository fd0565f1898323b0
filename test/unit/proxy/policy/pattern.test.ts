import { describe, expect, it } from 'vitest';
import { isPattern, parsePattern } from '../../../../src/proxy/policy/domain-map.ts';

describe('a domain pattern', () => {
  it.each([
    ['API.example.com', { text: 'api.example.com', host: 'api.example.com', wildcard: false, port: null }],
    ['api.example.com.', { text: 'api.example.com', host: 'api.example.com', wildcard: false, port: null }],
    ['a.example:8443', { text: 'a.example:8443', host: 'a.example', wildcard: false, port: 8443 }],
    ['*.Example.com', { text: '*.example.com', host: 'example.com', wildcard: true, port: null }],
    ['*.example.com:8443', { text: '*.example.com:8443', host: 'example.com', wildcard: true, port: 8443 }],
    [
      '*.bücher.example',
      { text: '*.xn--bcher-kva.example', host: 'xn--bcher-kva.example', wildcard: true, port: null },
    ],
    ['[::1]:8443', { text: '[::1]:8443', host: '[::1]', wildcard: false, port: 8443 }],
    ['192.0.2.1', { text: '192.0.2.1', host: '192.0.2.1', wildcard: false, port: null }],
  ])('%s is parsed', (text, pattern) => {
    expect(parsePattern(text)).toEqual(pattern);
  });

  it.each([
    ['https://api.example.com', /URL/],
    ['api.example.com/v1', /path/],
    ['*', /covers every host/],
    ['*example.com', /first label/],
    ['api.*.com', /first label/],
    ['*.*.example.com', /first label/],
    ['*.com', /two labels/],
    ['*.com.', /two labels/],
    ['*.localhost', /two labels/],
    ['*.192.0.2.1', /wildcard before an IP address/],
    ['*.[::1]', /wildcard before an IP address/],
    ['*.0.0.1', /not a host name/],
    ['*.', /not a host name/],
    ['', /not a host name/],
    ['::1', /without brackets; write \[::1\]$/],
    ['a.example:{grant', /no space after the colon/],
    ['a.example:0', /port/],
    ['a.example:', /port/],
    ['a.example:443:444', /port/],
    ['user@a.example', /not a host name/],
    ['a b.example', /not a host name/],
    ['2130706433', /not a host name/],
  ])('%j is refused with a reason', (text, problem) => {
    const parsed = parsePattern(text);
    expect(isPattern(parsed)).toBe(false);
    expect(parsed).toEqual({ problem: expect.stringMatching(problem) });
  });
});
