import { describe, expect, it } from 'vitest';
import { hashToken, readPresented, selectorsOf } from '../../../src/agents/authentication.ts';

const basic = (text: string) => ['Proxy-Authorization', `Basic ${Buffer.from(text).toString('base64')}`];
const none = { grant: null, user: null };

describe('the proxy credentials of a caller', () => {
  it('are absent without Proxy-Authorization', () => {
    expect(readPresented(['Authorization', 'Bearer x'])).toEqual({ kind: 'nothing' });
  });

  it('are a name and a token, which is kept only as a hash', () => {
    const presented = readPresented(basic('bot:s3cret:with:colons'));
    expect(presented).toEqual({
      kind: 'token',
      name: 'bot',
      tokenHash: hashToken('s3cret:with:colons'),
      selectors: none,
    });
    expect(JSON.stringify(presented)).not.toContain('s3cret');
  });

  it('are a token without a name in Bearer, and in Basic with an empty name', () => {
    const expected = { kind: 'token', name: null, tokenHash: hashToken('tok'), selectors: none };
    expect(readPresented(['proxy-authorization', 'bearer tok'])).toEqual(expected);
    expect(readPresented(basic(':tok'))).toEqual(expected);
  });

  it('include selectors after the name', () => {
    expect(readPresented(basic('bot+grant=github-work+user=alice:tok'))).toMatchObject({
      name: 'bot',
      selectors: { grant: 'github-work', user: 'alice' },
    });
    expect(readPresented(basic('+user=alice:'))).toEqual({
      kind: 'selectors',
      selectors: { grant: null, user: 'alice' },
    });
  });

  it.each([
    ['another scheme', ['Proxy-Authorization', 'Digest abc']],
    ['no credentials', ['Proxy-Authorization', 'Basic']],
    ['two values', ['Proxy-Authorization', 'Bearer a b']],
    ['a control byte', ['Proxy-Authorization', 'Bearer a\0b']],
    ['two fields', [...basic('a:b'), ...basic('a:b')]],
    ['an unknown selector', basic('bot+scope=all:tok')],
    ['a selector twice', basic('bot+grant=a+grant=b:tok')],
    ['an empty selector', basic('bot+grant=:tok')],
    ['a selector with a line end', basic('bot+grant=a\r\nb:tok')],
    ['a selector with a NUL', basic('bot+grant=a\0b:tok')],
    ['a selector with a path', basic('bot+grant=../a:tok')],
    ['a name without a token', basic('bot:')],
    ['only a name', basic('bot')],
  ])('are malformed with %s', (_what, fields) => {
    expect(readPresented(fields)).toMatchObject({ kind: 'malformed' });
  });

  it('get a hint about the selector, not about a new agent, if a selector is wrong', () => {
    expect(readPresented(basic('bot+scope=all:tok'))).toMatchObject({
      hint: expect.stringContaining('http://AGENT+grant=GRANT:TOKEN@HOST:PORT'),
    });
  });

  it('are not repeated in the result when they are malformed', () => {
    for (const text of ['sk_live_secret', 'sk_live_secret:', 'bot+sk_live_secret:tok', '+sk_live_secret:'])
      expect(JSON.stringify(readPresented(basic(text)))).not.toContain('secret');
  });
});

describe('the selectors of a request', () => {
  it('are read from the proxy user name', () => {
    expect(selectorsOf([], { grant: 'a', user: 'b' })).toEqual({ grant: 'a', user: 'b' });
  });

  it('take the grant from Sidekey-Grant when the request has that field', () => {
    expect(selectorsOf(['Sidekey-Grant', 'work'], { grant: 'a', user: 'b' })).toEqual({
      grant: 'work',
      user: 'b',
    });
  });

  it.each([
    ['', ['Sidekey-Grant', '']],
    ['a line end', ['Sidekey-Grant', 'a\r\nX: y']],
    ['a trailing line end', ['Sidekey-Grant', 'a\n']],
    ['a NUL', ['Sidekey-Grant', 'a\0']],
    ['two names', ['Sidekey-Grant', 'a, b']],
    ['two fields', ['Sidekey-Grant', 'a', 'sidekey-grant', 'a']],
    ['a name of 65 characters', ['Sidekey-Grant', 'a'.repeat(65)]],
  ])('are refused with %s', (_what, fields) => {
    expect(selectorsOf(fields, none)).toMatchObject({ code: 'bad_request' });
  });
});
