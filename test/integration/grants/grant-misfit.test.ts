/** Credentials that no request can carry are stored, and a person is warned before a request is refused. */
import { expect, test } from 'vitest';
import { home } from '../../support/command-line.ts';

const providers = {
  shop: { audience: ['api.shop.test'], inject: { cookie: 'sid' } },
  exchange: {
    audience: ['api.exchange.test'],
    inject: {
      hmac: { algorithm: 'sha256', secret: 'hex', sign: '{body}', headers: { 'X-Sign': '{signature}' } },
    },
  },
};

test.each([
  ['shop', { type: 'api_key', value: 'two words' }],
  ['shop', { type: 'basic', username: 'ann', password: 'pa55-word' }],
  ['exchange', { type: 'api_key', value: 'no-hex-digits' }],
])('a credential that %s cannot carry is kept with a warning: %j', async (provider, credential) => {
  const at = await home({ providers });
  const ran = await at.run(['grant', 'import', 'work', '--provider', provider], {
    input: JSON.stringify(credential),
  });
  expect(ran.exit).toBe(0);
  expect(ran.stderr).toMatch(/No request can carry it: .+\n {2}→ .+/);
  expect(ran.stderr).not.toMatch(/two words|pa55-word|no-hex-digits/);
});

test('a credential that fits or has no token yet is kept without a warning', async () => {
  const at = await home({ providers });
  const key = JSON.stringify({ type: 'api_key', value: 'one-word-0123456789' });
  const ran = await at.run(['grant', 'import', 'work', '--provider', 'shop'], { input: key });
  expect(ran.exit).toBe(0);
  expect(ran.stderr).not.toContain('No request can carry it');
});
