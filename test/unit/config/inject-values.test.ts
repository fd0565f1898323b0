/**
 * The key `inject` of a provider definition: the parsed scheme of each value, and the problem of each invalid
 * one.
 */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { parse, stringify } from 'yaml';
import { parseConfig } from '../../../src/config/load.ts';
import { packageRoot } from '../../../src/lib/package-files.ts';

async function provider(definition: object) {
  const text = stringify({ version: 1, providers: { corp: { audience: ['api.corp.test'], ...definition } } });
  const { providers } = await parseConfig(text, '/x/sidekey.yaml', { env: {}, cwd: '/x' });
  return providers.get('corp')!;
}
const planOf = async (inject: unknown) => (await provider({ inject })).inject[0]?.as;
const hmac = { algorithm: 'sha256', sign: '{body}', headers: { 'X-Signed': '{signature}' } };
const basic = {
  label: 'key',
  parts: { id: { label: 'id' }, secret: { label: 'secret' } },
  inject: { basic: { username: '{id}', password: '{secret}' } },
};

describe('a valid value of inject is read:', () => {
  test.each<[unknown, object]>([
    [
      { headers: { 'X-Key': '{token}', 'X-B': '{{{token}}}' } },
      {
        kind: 'headers',
        headers: [
          ['X-Key', '{token}'],
          ['X-B', '{{{token}}}'],
        ],
      },
    ],
    [{ cookie: 'sid' }, { kind: 'cookie', name: 'sid' }],
    [{ json: 'api_key' }, { kind: 'json', path: ['api_key'] }],
    [{ json: '/a~1b/c~0d' }, { kind: 'json', path: ['a/b', 'c~d'] }],
    [{ form: 'key' }, { kind: 'form', name: 'key' }],
    [
      { hmac },
      {
        kind: 'hmac',
        algorithm: 'sha256',
        sign: '{body}',
        secret: 'utf8',
        encoding: 'hex',
        timestamp: 'seconds',
        headers: [['X-Signed', '{signature}']],
        query: [],
      },
    ],
  ])('%j', async (inject, plan) => {
    expect(await planOf(inject)).toEqual(plan);
  });

  test('a line break in a YAML string is part of the signed text', async () => {
    expect(await planOf({ hmac: { ...hmac, sign: '{method}\n{target}' } })).toMatchObject({
      sign: '{method}\n{target}',
    });
  });

  test('a value for a place is read like a value for all places', async () => {
    const { inject } = await provider({
      inject: [{ paths: ['/v1/**'], as: { form: 'key' } }, { as: 'bearer' }],
    });
    expect(inject.map(({ as }) => as.kind)).toEqual(['form', 'bearer']);
  });
});

describe('an invalid value of inject is refused:', () => {
  test.each<[object, RegExp]>([
    [{ inject: { headers: {} } }, /inject\.headers: is empty/],
    [
      { inject: { headers: { Host: '{token}' } } },
      /inject\.headers\.Host: is a field that a credential may not become/,
    ],
    [
      { inject: { headers: { 'X-A': '{token}', 'x-a': '{token}' } } },
      /x-a: is here twice, in upper and lower case/,
    ],
    [{ inject: { headers: { 'X-A': 'constant' } } }, /inject\.headers: name neither \{token\} nor/],
    [{ inject: { headers: { 'X-A': '{token}', 'X-B': '{password}' } } }, /no credential has all of these/],
    [{ inject: { headers: { 'X-A': '{secret}' } } }, /names \{secret\}, which has no meaning here/],
    [{ inject: { headers: { 'X-A': '{token' } } }, /has a brace that belongs to no name/],
    [{ inject: { headers: { 'X-A': '{token}\n' } } }, /is not a value of a header field/],
    [{ inject: { jsno: 'key' } }, /inject: must be bearer, .*\{ json: NAME \}/],
    [{ inject: { cookie: 'sid', json: 'key' } }, /inject\.json: is not a key here; there are cookie/],
    [{ inject: { json: 'key', prefx: 'a' } }, /inject\.prefx: is not a key here; there are json/],
    [{ inject: { cookie: 'a b' } }, /inject\.cookie: is not a name of a cookie/],
    [{ inject: { json: '/a//b' } }, /inject\.json: is not a name of a member/],
    [{ inject: { json: '/a~2' } }, /inject\.json: has a ~ that is neither/],
    [{ inject: { form: 'a[b]' } }, /inject\.form: is not a name of a parameter/],
    [{ inject: { hmac: { ...hmac, sign: '{signature}' } } }, /sign: names \{signature\}/],
    [{ inject: { hmac: { ...hmac, sign: '{header:a b}' } } }, /sign: names \{header:a b\}/],
    [
      { inject: { hmac: { ...hmac, sign: '{header:x-signed}' } } },
      /sign: names a field that has \{signature\} in it/,
    ],
    [{ inject: { hmac: { ...hmac, sign: 'a\0' } } }, /sign: has a control character/],
    [
      { inject: { hmac: { ...hmac, headers: { 'X-A': '{timestamp}' } } } },
      /hmac: sends \{signature\} nowhere/,
    ],
    [{ inject: { hmac: { ...hmac, headers: { 'X-A': '{signature}{body}' } } } }, /X-A: names \{body\}/],
    [{ inject: { hmac: { ...hmac, query: { 'a=b': '{nonce}' } } } }, /is not a name of a parameter/],
    [{ inject: { hmac: { ...hmac, algorithm: 'md5' } } }, /algorithm/],
    [
      { inject: { headers: { 'X-A': '{password}' } }, token: { label: 'key' } },
      /inject: names a user name and a password/,
    ],
    [
      { inject: { hmac: { ...hmac, sign: '{key}' } }, token: { label: 'key' } },
      /inject: names a user name and a password/,
    ],
    [{ inject: { json: 'key' }, token: basic }, /inject: carries one value, and what is connected is none/],
    [{ inject: { headers: { 'X-A': '{token}' } }, token: basic }, /inject: carries one value/],
    [
      { inject: { hmac }, token: { label: 'key', inject: { headers: { 'X-A': '{token}' } } } },
      /inject: signs with one value/,
    ],
    [
      { token: { label: 'key', inject: { headers: { 'X-A': '{token} {' } } } },
      /has a brace that belongs to no name/,
    ],
  ])('%j', async (definition, problem) => {
    await expect(provider(definition)).rejects.toMatchObject({
      code: 'config_invalid',
      message: expect.stringMatching(problem),
    });
  });

  test.each<object>([
    { inject: { headers: { 'X-A': '{username}', 'X-B': '{password}' } }, token: basic },
    { inject: { hmac: { ...hmac, sign: '{key}' } }, token: basic },
    { inject: { hmac }, token: { label: 'key' } },
    { inject: { cookie: 'sid' }, token: { label: 'key' } },
    { inject: { headers: { 'X-A': '{username}' } } },
  ])('a valid value is accepted: %j', async (definition) => {
    await expect(provider(definition)).resolves.toBeDefined();
  });
});

test('the examples of docs/auth-schemes.md are valid', async () => {
  const page = await readFile(join(packageRoot, 'docs', 'auth-schemes.md'), 'utf8');
  const blocks = [...page.matchAll(/```yaml\n([^]*?)```/g)].map(([, text = '']) => parse(text) as object);
  expect(blocks).toHaveLength(6);
  for (const block of blocks) {
    if ('inject' in block) await expect(provider(block)).resolves.toBeDefined();
    else
      await expect(
        parseConfig(stringify({ version: 1, ...block }), '/x/sidekey.yaml', { env: {}, cwd: '/x' }),
      ).resolves.toBeDefined();
  }
  const [, table = ''] = /\| `inject`[^]*?\n((?:\|.*\n)+)/.exec(page) ?? [];
  for (const [, written = ''] of table.matchAll(/`(\{ (?!headers|hmac)[^`]* \})`/g)) {
    await expect(provider({ inject: parse(written) })).resolves.toBeDefined();
  }
});
