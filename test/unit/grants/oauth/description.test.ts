import { describe as group, expect, it } from 'vitest';
import { describe } from '../../../../src/grants/oauth/description.ts';

const secret = 'client-secret~0123456789/abcdef';
const basic = (id: string) => Buffer.from(`${id}:${secret}`).toString('base64');

group('what a provider says of a request', () => {
  it.each(['a', 'ab', 'abc', 'sidekey'])(
    'an error description loses every part of a secret that it quotes as the client %s sent it',
    (id) => {
      const said = describe(`unknown client in "Basic ${basic(id)}"`, [secret]);
      expect(said).toMatch(/^unknown client in "Basic .{0,12}\[redacted\].{0,4}"$/);
      const [, left = ''] = /Basic (.*)\[redacted\]/.exec(said) ?? [];
      expect(Buffer.from(left, 'base64').toString()).not.toContain(secret.slice(0, 3));
    },
  );

  it.each([
    ['unchanged', secret],
    ['in URL encoding', encodeURIComponent(secret)],
    ['in form encoding', new URLSearchParams({ secret }).toString().slice(7)],
    ['in hexadecimal', Buffer.from(secret).toString('hex')],
    ['in base64url', Buffer.from(`>${secret}`).toString('base64url')],
  ])('an error description loses a secret that it quotes %s', (_form, quoted) => {
    const said = describe(`x ${quoted} y`, [secret]);
    expect(said.split('[redacted]').join('').length).toBeLessThan('x  y'.length + 8);
  });

  it('an error description loses a secret with different base64url forms at each offset', () => {
    const odd = '>>>???'.repeat(4);
    const quoted = Buffer.from(`a:${odd}`).toString('base64url');
    expect(describe(quoted, [odd]).replace('[redacted]', '').length).toBeLessThan(6);
  });

  it('an error description without a secret is unchanged', () => {
    expect(describe('the refresh token was used before', [secret])).toBe('the refresh token was used before');
  });
});
