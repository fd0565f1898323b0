import { describe, expect, it } from 'vitest';
import { hashToken, readPresented, selectorsOf } from '../../../src/agents/authentication.ts';

const basic = (text: string) => ['Proxy-Authorization', `Basic ${Buffer.from(text).toString('base64')}`];
const none = { grant: null, user: null };

describe('what a caller shows', () => {
  it('is nothing without Proxy-Authorization', () => {
    expect(readPresented(['Authorization', 'Bearer x'])).toEqual({ kind: 'nothing' });
  });

  it('is a name and a token, and the token is hashed at once', () => {
    const presented = readPresented(basic('bot:s3cret:with:colons'));
    expect(presented).toEqual({
      kind: 'token',
      name: 'bot',
      tokenHash: hashToken('s3cret:with:colons'),
      selectors: none,
    });
    expect(JSON.stringify(presented)).not.toContain('s3cret');
  });

  it('is a token alone as Bearer, and as Basic without a name', () => {
    const expected = { kind: 'token', name: null, tokenHash: hashToken('tok'), selectors: none };
    expect(readPresented(['proxy-authorization', 'bearer tok'])).toEqual(expected);
    expect(readPresented(basic(':tok'))).toEqual(expected);
  });

  it('is a choice among grants behind the name', () => {
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
    ['a name alone', basic('bot')],
  ])('is malformed with %s', (_what, fields) => {
    expect(readPresented(fields)).toMatchObject({ kind: 'malformed' });
  });

  it('is never repeated: a token put where the name belongs stays secret', () => {
    for (const text of ['sk_live_secret', 'sk_live_secret:', 'bot+sk_live_secret:tok', '+sk_live_secret:'])
      expect(JSON.stringify(readPresented(basic(text)))).not.toContain('secret');
  });
});

describe('the selectors of a request', () => {
  it('are those of the proxy user name', () => {
    expect(selectorsOf([], { grant: 'a', user: 'b' })).toEqual({ grant: 'a', user: 'b' });
  });

  it('have the grant that the request names itself', () => {
    expect(selectorsOf(['Sidekey-Grant', 'work'], { grant: 'a', user: 'b' })).toEqual({
      grant: 'work',
      user: 'b',
    });
  });

  it.each([
    ['', ['Sidekey-Grant', '']],
    ['a line end', ['Sidekey-Grant', 'a\r\nX: y']],
    ['a line end at its end', ['Sidekey-Grant', 'a\n']],
    ['a NUL', ['Sidekey-Grant', 'a\0']],
    ['two names', ['Sidekey-Grant', 'a, b']],
    ['two fields', ['Sidekey-Grant', 'a', 'sidekey-grant', 'a']],
    ['a name of 65 characters', ['Sidekey-Grant', 'a'.repeat(65)]],
  ])('are refused with %s', (_what, fields) => {
    expect(selectorsOf(fields, none)).toMatchObject({ code: 'bad_request' });
  });
});
