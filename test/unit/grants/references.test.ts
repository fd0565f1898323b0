import { randomUUID } from 'node:crypto';
import { resolve } from 'node:path';
import { expect, test } from 'vitest';
import { SidekeyError } from '../../../src/lib/errors.ts';
import type { Credential, OAuth2Credential } from '../../../src/domain/credential.ts';
import { grantFiles, someUnreadable, unreadableReferences } from '../../../src/grants/references.ts';
import type { GrantRecord } from '../../../src/store/store.ts';
import { acme, oauth2, processesForTest } from './processes.ts';

const missing = (name: string) =>
  Promise.reject<string>(
    new SidekeyError('secret_missing', `env:${name} is not set.`, { hint: `set ${name}` }),
  );
const parts = {
  providers: () => ({ ...acme, clientSecret: () => missing('ACME_SECRET') }),
  readSecret: (reference: string) => missing(reference.slice('env:'.length)),
  sources: { check: () => Promise.resolve(null) },
};
const exchange = (clientId: string): OAuth2Credential =>
  oauth2({
    refreshToken: null,
    clientId,
    renewal: {
      kind: 'token_exchange',
      subjectToken: { reference: 'env:SUBJECT' },
      subjectTokenType: 'urn:ietf:params:oauth:token-type:jwt',
      actorToken: { reference: 'env:ACTOR' },
      actorTokenType: 'urn:ietf:params:oauth:token-type:jwt',
      requestedTokenType: null,
      scope: null,
      parameters: {},
    },
  });

/** The names in the sentences about a grant with this credential. */
async function namesIn(credential: OAuth2Credential) {
  const at = await processesForTest();
  const { registry, store } = await at.process({});
  const grant = await at.add(registry, credential);
  const opened = await registry.read(grant.id);
  const found = opened === null ? null : await unreadableReferences(opened, { ...parts, registry });
  expect(await someUnreadable({ ...parts, registry, store })).toEqual(found);
  return found?.map(({ sentence }) => /env:(\w+)/.exec(sentence)?.[1]);
}

test('each unreadable reference of a grant is named: tokens to exchange, and the client secret', async () => {
  expect(await namesIn(exchange(acme.clientId ?? ''))).toEqual(['ACME_SECRET', 'SUBJECT', 'ACTOR']);
});

test('a client secret that the grant does not use is not read', async () => {
  expect(await namesIn(exchange('another-client'))).toEqual(['SUBJECT', 'ACTOR']);
  expect(await namesIn(oauth2({ clientId: 'c', clientSecret: 's' }))).toEqual([]);
  expect(await namesIn(oauth2({ refreshToken: null }))).toEqual([]);
});

test('a grant that cannot be opened does not hide other grants', async () => {
  const at = await processesForTest();
  const { registry, store } = await at.process({});
  const broken = await registry.add(
    { name: 'broken', user: 'default', provider: 'acme', scopes: [] },
    { credential: oauth2(), audience: acme.audience },
  );
  await at.add(registry, oauth2());
  const openRecord = (record: GrantRecord) =>
    record.id === broken.id
      ? Promise.reject(new SidekeyError('key_mismatch', 'Not this key.'))
      : registry.openRecord(record);
  const found = await someUnreadable({ ...parts, store, registry: { ...registry, openRecord } });
  expect(found.map(({ sentence }) => sentence)).toEqual([
    'The running proxy cannot renew the grant "acme": env:ACME_SECRET is not set.',
  ]);
});

const actor = { actorTokenType: null, scope: null } as const;
const source = { type: 'source', form: null, ttlMs: null } as const;
test.each<readonly [string, Credential, readonly string[]]>([
  ['a source', { ...source, from: 'file:/run/token' }, ['/run/token']],
  ['a source with a relative path', { ...source, from: 'file:../token' }, ['/home/alice/token']],
  ['a source that is a program', { ...source, from: 'command:cat /run/token' }, []],
  [
    'a token exchange',
    oauth2({
      renewal: {
        ...actor,
        kind: 'token_exchange',
        subjectToken: { reference: 'file:s' },
        subjectTokenType: 'jwt',
        actorToken: { reference: 'file:/a' },
        requestedTokenType: null,
        parameters: {},
      },
    }),
    ['/home/alice/config/s', '/a'],
  ],
  [
    'the assertion of an identity provider',
    oauth2({
      renewal: {
        ...actor,
        kind: 'id_jag',
        user: 'alice',
        identity: 'x',
        actorToken: { reference: 'file:a' },
      },
    }),
    ['/home/alice/config/a'],
  ],
  [
    'a source of a cloud',
    { ...source, from: 'azure-federation:a/b?token=file:/run/token&resource=https://vault.azure.net' },
    ['/run/token'],
  ],
  ['a source in Vault', { ...source, from: 'vault:kv/desk#token' }, []],
  ['a key with the text of a file', { type: 'api_key', value: 'file:/run/token' }, []],
  ['a refresh token', oauth2({ refreshToken: 'file:/run/token' }), []],
])(
  'the files that %s names are found, also if an earlier version stored it',
  async (_, credential, files) => {
    const at = await processesForTest();
    const { registry, store } = await at.process({});
    const { id } = await registry.add(
      { name: 'desk', user: 'default', provider: 'acme', scopes: [] },
      { credential, audience: acme.audience },
    );
    const unmarked = async () => (await store.grants.perhapsWithFiles('', 9)).map((grant) => grant.id);
    const marked = files.length === 0 ? [] : [id];
    const found = () => grantFiles({ grants: registry, store }, { file: '/home/alice/config/sidekey.yaml' });
    expect(await unmarked()).toEqual(marked);
    expect(await found()).toEqual(files);
    // An earlier version has no mark, or keeps that of the revision before.
    for (const filelessIn of [null, 0]) {
      const record = (await store.grants.get(id))!;
      await store.grants.remove(id);
      await store.grants.insert({ ...record, times: { dueAt: null, obtainedAt: null, filelessIn } });
      expect(await unmarked()).toEqual(record.type === 'api_key' ? [] : [id]);
      expect(await found()).toEqual(files);
      expect(await unmarked()).toEqual(marked);
    }
  },
);

test('the files of a new credential are found, and only grants with files are opened', async () => {
  const at = await processesForTest();
  const { registry, store } = await at.process({});
  const grant = await at.add(registry, oauth2());
  await registry.addAll(
    Array.from({ length: 300 }, (_, n) => ({
      grant: { name: `n${n}`, user: 'default', provider: 'acme', scopes: [] },
      sealed: { credential: oauth2(), audience: acme.audience },
      id: randomUUID(),
    })),
  );
  let opened = 0;
  const openRecord = (record: GrantRecord) => {
    opened += 1;
    return registry.openRecord(record);
  };
  const found = () => grantFiles({ grants: { openRecord }, store }, { file: '/sidekey.yaml' });
  expect(await found()).toEqual([]);
  expect(opened).toBe(0);
  const credential = { ...source, from: 'file:/run/token' };
  await registry.replaceCredential(grant, { credential, audience: acme.audience });
  expect(await found()).toEqual([resolve('/run/token')]);
  expect(opened).toBe(1);
});

test('a grant that cannot be opened is tried each time, and does not hide the files of others', async () => {
  const at = await processesForTest();
  const { registry, store } = await at.process({});
  const names = Array.from({ length: 260 }, (_, n) => `n${n}`);
  for (const name of names)
    await registry.add(
      { name, user: 'default', provider: 'acme', scopes: [] },
      { credential: { ...source, from: `file:/run/${name}` }, audience: acme.audience },
    );
  const openRecord = (record: GrantRecord) =>
    record.name === 'n7'
      ? Promise.reject(new SidekeyError('key_mismatch', 'Not this key.'))
      : registry.openRecord(record);
  const found = await grantFiles({ grants: { openRecord }, store }, { file: '/sidekey.yaml' });
  const others = names.filter((name) => name !== 'n7').map((name) => resolve(`/run/${name}`));
  expect(found.toSorted()).toEqual(others.toSorted());
  expect(await store.grants.perhapsWithFiles('', 999)).toHaveLength(260);
});
