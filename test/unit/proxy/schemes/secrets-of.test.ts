import { generateKeyPairSync } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { secretsOf } from '../../../../src/proxy/schemes/credential.ts';

const base64 = (text: string) => Buffer.from(text).toString('base64');

describe('the secrets of a credential', () => {
  it('are the token', () => {
    expect(secretsOf({ type: 'api_key', value: 'the-key' })).toEqual(['the-key']);
    const extra = { api_secret: 'its-sécret', organization_id: 'org-123' };
    expect(secretsOf({ type: 'api_key', value: 'the-key', extra })).toEqual(['the-key', 'its-s\xc3\xa9cret']);
  });

  it('are the password and the Basic form, without the user name', () => {
    expect(secretsOf({ type: 'basic', username: 'ann@example.com', password: 'pa55-wörd' })).toEqual([
      'pa55-w\xc3\xb6rd',
      base64('ann@example.com:pa55-wörd'),
    ]);
  });

  it.each(['', 'X', 'api_token', 'x-oauth-basic'])(
    'are the user name when the password is %j',
    (password) => {
      expect(secretsOf({ type: 'basic', username: 'key-0123456789', password })).toEqual([
        'key-0123456789',
        base64(`key-0123456789:${password}`),
      ]);
    },
  );

  it('are the field values, without the scheme before them', () => {
    const headers = [
      ['Authorization', 'Bot abc.def'],
      ['X-Key', 'plain'],
      ['X-Two', 'Token token="a", b'],
    ] as const;
    expect(secretsOf({ type: 'headers', headers })).toEqual(['abc.def', 'plain', 'token="a", b']);
  });

  it('are one distinctive line of each private key', () => {
    const lines = [0, 1].map(() => {
      const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2_048 });
      const pem = privateKey.export({ type: 'pkcs8', format: 'pem' });
      const credential = { type: 'client_certificate', certificate: '', privateKey: pem } as never;
      const [line = '', ...more] = secretsOf(credential);
      expect([more.length, line.length, pem.includes(line)]).toEqual([0, 64, true]);
      return line;
    });
    expect(lines[0]).not.toBe(lines[1]);
  });
});
