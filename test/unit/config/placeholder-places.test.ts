import { describe, expect, test } from 'vitest';
import { stringify } from 'yaml';
import { parseConfig } from '../../../src/config/load.ts';

async function provider(definition: object) {
  const text = stringify({ version: 1, providers: { corp: { audience: ['api.corp.test'], ...definition } } });
  const { providers } = await parseConfig(text, '/x/sidekey.yaml', { env: {}, cwd: '/x' });
  return providers.get('corp')!;
}

const hmac = { algorithm: 'sha256', sign: '{body}', headers: { 'X-Signed': '{signature}' } };

describe('the places where placeholders are replaced', () => {
  test('do not exist unless configured, or unless the credential is only carried by placeholder', async () => {
    expect((await provider({})).placeholders).toEqual([]);
    expect((await provider({ placeholders: ['query'] })).placeholders).toEqual(['query']);
    const all = ['header', 'path', 'query', 'body', 'websocket'];
    expect((await provider({ inject: 'placeholder' })).placeholders).toEqual(all);
    expect((await provider({ inject: 'placeholder', placeholders: ['header'] })).placeholders).toEqual([
      'header',
    ]);
    expect((await provider({ inject: [{ paths: ['/a'], as: 'placeholder' }] })).placeholders).toEqual(all);
  });

  test.each([
    [{ placeholders: ['cookie'] }, 'placeholders'],
    [{ placeholders: ['body'], inject: 'aws_sigv4' }, 'does not go with inject: aws_sigv4'],
    [{ placeholders: ['query'], inject: { hmac } }, 'does not go with inject: hmac'],
    [
      { placeholders: ['header'], inject: 'client_certificate' },
      'does not go with inject: client_certificate',
    ],
    [{ placeholders: ['path'], dpop: true }, 'names the path'],
  ])('are refused in %j', async (definition, words) => {
    await expect(provider(definition)).rejects.toThrow(words);
  });

  test('may be the query or the body with DPoP, because its proofs do not cover them', async () => {
    expect((await provider({ placeholders: ['query', 'body'], dpop: true })).placeholders).toHaveLength(2);
  });
});
