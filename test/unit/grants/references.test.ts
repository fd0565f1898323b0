import { expect, test } from 'vitest';
import { SidekeyError } from '../../../src/lib/errors.ts';
import type { Credential, OAuth2Credential } from '../../../src/domain/credential.ts';
import { allUnreadable, grantFiles, unreadableReferences } from '../../../src/grants/references.ts';
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
  const { registry } = await at.process({});
  const grant = await at.add(registry, credential);
  const opened = await registry.read(grant.id);
  const found = opened === null ? null : await unreadableReferences(opened, { ...parts, registry });
  expect(await allUnreadable({ ...parts, registry })).toEqual(found);
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
  const { registry } = await at.process({});
  const broken = await registry.add(
    { name: 'broken', user: 'default', provider: 'acme', scopes: [] },
    { credential: oauth2(), audience: acme.audience },
  );
  await at.add(registry, oauth2());
  const read = (id: string) =>
    id === broken.id ? Promise.reject(new SidekeyError('key_mismatch', 'Not this key.')) : registry.read(id);
  const found = await allUnreadable({ ...parts, registry: { ...registry, read } });
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
])('the files that %s names are found', async (_, credential, files) => {
  const at = await processesForTest();
  const { registry } = await at.process({});
  await registry.add(
    { name: 'desk', user: 'default', provider: 'acme', scopes: [] },
    { credential, audience: acme.audience },
  );
  expect(await grantFiles(registry, { file: '/home/alice/config/sidekey.yaml' })).toEqual(files);
});
