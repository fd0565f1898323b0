import { cp, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { loadCatalog } from '../../../src/config/catalog.ts';
import { shippedFile } from '../../../src/config/shipped.ts';
import { isPattern, parsePattern } from '../../../src/policy/pattern.ts';
import { tempFolder } from '../../support/temp-folder.ts';

describe('the shipped catalog', async () => {
  const catalog = await loadCatalog();

  test('holds the providers that are promised', () => {
    expect([...catalog.keys()]).toEqual([
      'acme',
      'anthropic',
      'github',
      'gitlab',
      'google',
      'linear',
      'notion',
      'openai',
      'slack',
      'stripe',
    ]);
  });

  test.each([...catalog])('%s sends its credential to named hosts only', (_, definition) => {
    expect(definition.title).toBeTruthy();
    expect(definition.client_secret).toBeUndefined();
    const audience = definition.audience ?? [];
    expect(audience.length).toBeGreaterThan(0);
    for (const pattern of audience) expect(isPattern(parsePattern(pattern.text))).toBe(true);
  });

  test.each([...catalog])('%s has both endpoints of a flow or none', (_, definition) => {
    expect(definition.authorization_endpoint === undefined).toBe(definition.token_endpoint === undefined);
  });

  test('Anthropic carries its key in a field of its own, the others as a bearer token', () => {
    const carried = [...catalog].filter(([, { inject }]) => inject !== undefined);
    expect(carried.map(([name, { inject }]) => [name, inject])).toEqual([
      ['anthropic', { kind: 'header', name: 'x-api-key', prefix: '' }],
    ]);
  });
});

describe('a catalog that is broken does not load', () => {
  test.each([
    [
      'with a secret',
      'corp.yaml',
      'title: Corp\naudience: [corp.test]\nclient_secret: env:X\n',
      /2|3:1: client_secret/,
    ],
    [
      'with an unknown key',
      'corp.yaml',
      'title: Corp\naudience: [corp.test]\ntoken_url: x\n',
      /3:1: token_url/,
    ],
    ['without an audience', 'corp.yaml', 'title: Corp\n', /1:1: audience: is missing/],
    [
      'with a key twice',
      'corp.yaml',
      'title: Corp\ntitle: Corp\naudience: [corp.test]\n',
      /2:1: title: is here twice/,
    ],
    ['with another kind of file', 'corp.yml', 'title: Corp\naudience: [corp.test]\n', /end in \.yaml/],
  ])('%s', async (_, file, text, message) => {
    const folder = join(await tempFolder(), 'providers');
    await cp(shippedFile('providers'), folder, { recursive: true });
    await writeFile(join(folder, file), text);
    await expect(loadCatalog(folder)).rejects.toMatchObject({
      code: 'config_invalid',
      message: expect.stringMatching(message),
    });
  });

  test('not there at all', async () => {
    await expect(loadCatalog(join(await tempFolder(), 'none'))).rejects.toMatchObject({
      code: 'config_missing',
    });
  });
});
