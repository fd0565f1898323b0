/**
 * An agent that has a key of its own sends it to an allowed host, where it would act under another account.
 * The request is on record, loses the key, or is refused, as the domain says; no record has the key.
 */
import { gzipSync } from 'node:zlib';
import { describe, expect, test } from 'vitest';
import { startInjectProxy, valuesIn, type Asked, type ClientProtocol } from '../support/inject-proxy.ts';
import { bearerToken } from '../support/sidekey.ts';

const key = `ghp_${'a1B2'.repeat(9)}`;
const json = ['Content-Type', 'application/json'];
const body = JSON.stringify({ note: `use\n${key}` });
const versions: readonly ClientProtocol[] = ['HTTP/1.1', 'HTTP/2'];

const smuggled: readonly (readonly [string, Asked, string])[] = [
  ['a header', { fields: ['X-Api-Key', '5f0c1a7e9b3d4c2a'] }, 'the header x-api-key (of its kind)'],
  ['Authorization', { fields: ['Authorization', `Bearer ${key}`] }, 'the header authorization (ghp_…)'],
  ['a cookie', { fields: ['Cookie', `a=1; token=${key}`] }, 'the header cookie (ghp_…)'],
  ['the query', { path: `/a?b=1&token=${key}` }, 'the query (ghp_…)'],
  ['the body', { method: 'POST', fields: json, body }, 'the body (ghp_…)'],
  ['a chunked body', { method: 'POST', fields: json, body, isChunked: true }, 'the body (ghp_…)'],
];

async function proxy(setting: string | undefined, more: object = {}) {
  const domain = setting === undefined ? {} : { foreign_credentials: setting };
  const setup = await startInjectProxy('bearer', { domain, ...more });
  const silent = async () => {
    for (const said of [setup.sidekey.logged(), JSON.stringify(await setup.sidekey.audit())]) {
      expect(said).not.toContain(key);
      expect(said).not.toContain('5f0c1a7e9b3d4c2a');
    }
  };
  return { ...setup, silent };
}

describe.each(versions)('%s', (version) => {
  test.each(smuggled)('%s: refuse answers 403, and nothing is sent', async (_, asked, where) => {
    const { ask, seen, sidekey, silent } = await proxy('refuse');
    const answer = await ask(version, asked);
    expect(answer.status).toBe(403);
    expect(JSON.parse(answer.body)).toMatchObject({ code: 'foreign_credential', hint: expect.any(String) });
    expect(answer.body).not.toContain(key);
    expect(seen).toEqual([]);
    const line = await sidekey.audited(({ event }) => event === 'denied');
    expect(line).toMatchObject({ code: 'foreign_credential' });
    expect(line.foreign?.toLowerCase()).toBe(where);
    await silent();
  });

  test.each(smuggled)('%s: strip sends only the credential of the grant', async (_, asked, where) => {
    const { ask, seen, sidekey, silent } = await proxy('strip');
    expect((await ask(version, asked)).status).toBe(200);
    const [sent] = seen;
    expect(valuesIn(sent!, 'authorization')).toEqual([`Bearer ${bearerToken}`]);
    const all = `${sent!.url} ${sent!.fields.join(' ')} ${sent!.body.toString()}`;
    expect(all).not.toContain(key);
    expect(all).not.toContain('5f0c1a7e9b3d4c2a');
    if (asked.path !== undefined) expect(sent!.url).toBe('/a?b=1');
    if (asked.body !== undefined)
      expect(sent!.body.toString()).toBe(body.replace(key, '*'.repeat(key.length)));
    const line = await sidekey.audited(({ event }) => event === 'access');
    expect(line.foreign?.toLowerCase()).toBe(where);
    await silent();
  });
});

test.each(smuggled)('%s: record forwards the request and records the place', async (_, asked, where) => {
  const { ask, seen, sidekey, silent } = await proxy('record');
  expect((await ask('HTTP/1.1', asked)).status).toBe(200);
  expect(seen[0]?.body.toString()).toBe(asked.body ?? '');
  const line = await sidekey.audited(({ event }) => event === 'access');
  expect(line.foreign?.toLowerCase()).toBe(where);
  await silent();
});

test('without a setting the head is recorded and the body is not searched', async () => {
  const { ask, seen, sidekey } = await proxy(undefined);
  await ask('HTTP/1.1', { method: 'POST', path: `/?t=${key}`, fields: [...json, 'X-Api-Key', key], body });
  expect(valuesIn(seen[0]!, 'x-api-key')).toEqual([key]);
  expect(seen[0]).toMatchObject({ url: `/?t=${key}`, body: Buffer.from(body) });
  const { foreign } = await sidekey.audited(({ event }) => event === 'access');
  expect(foreign).toBe('the header X-Api-Key (ghp_…); the query (ghp_…)');
});

test.each([
  ['a placeholder of the catalog', ['Authorization', `Bearer ghp_sidekeyPlaceholder${'0'.repeat(18)}`]],
  ['a dummy of an SDK', ['Authorization', 'Bearer sk-no-key-required']],
  ['a word', ['X-Api-Key', 'unused']],
])('%s does not count as a credential, and refuse accepts the request', async (_, fields) => {
  const { ask, sidekey } = await proxy('refuse');
  expect((await ask('HTTP/1.1', { fields })).status).toBe(200);
  const line = await sidekey.audited(({ event }) => event === 'access');
  expect(line.foreign).toBeUndefined();
});

const post = (fields: readonly string[], sent: string): Asked => ({ method: 'POST', fields, body: sent });

describe.each(['strip', 'refuse'])('%s refuses a request body', (setting) => {
  test('that is compressed, and has the key in it', async () => {
    const { ask, seen } = await proxy(setting);
    const packed = gzipSync(body).toString('latin1');
    const answer = await ask('HTTP/2', post([...json, 'Content-Encoding', 'gzip'], packed));
    expect([answer.status, answer.body]).toEqual([403, expect.stringContaining('foreign_credential')]);
    expect(seen).toEqual([]);
  });

  test('that exceeds the search limit, and forwards a body of another type', async () => {
    const { ask, seen } = await proxy(setting, { config: { limits: { placeholder_body_bytes: 1_024 } } });
    const long = JSON.stringify({ pad: 'x y '.repeat(30_000), token: key });
    expect((await ask('HTTP/1.1', post(json, long))).status).toBe(413);
    expect(seen).toEqual([]);
    expect((await ask('HTTP/1.1', post(['Content-Type', 'image/png'], long))).status).toBe(200);
  });

  test('that writes the key with escapes', async () => {
    const { ask, seen } = await proxy(setting);
    const answer = await ask('HTTP/1.1', post(json, `{"token":"\\u0067${key.slice(1)}"}`));
    expect([answer.status, answer.body]).toEqual([403, expect.stringContaining('foreign_credential')]);
    expect(seen).toEqual([]);
  });
});

test('on a path where clients use their own credential, the credential is kept', async () => {
  const inject = [{ paths: ['/own/**'], as: 'own' }, { as: 'bearer' }];
  const { ask, seen } = await startInjectProxy(inject, { domain: { foreign_credentials: 'refuse' } });
  const fields = ['Authorization', `Bearer ${key}`];
  expect((await ask('HTTP/1.1', { path: '/own/a', fields })).status).toBe(200);
  expect(valuesIn(seen[0]!, 'authorization')).toEqual([`Bearer ${key}`]);
  expect((await ask('HTTP/1.1', { path: '/a', fields })).status).toBe(403);
});
