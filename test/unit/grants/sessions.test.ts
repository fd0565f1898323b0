import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { z } from 'zod';
import { consentShape } from '../../../src/grants/consent.ts';
import { sessionId, sessionsOf } from '../../../src/grants/sessions.ts';
import { newDpopKey } from '../../../src/proxy/schemes/dpop-proof.ts';
import { openSqliteStore } from '../../../src/store/sqlite.ts';
import { createVault } from '../../../src/store/vault/vault.ts';
import { masterKey } from '../../../src/store/vault/key-source.ts';
import { tempFolder } from '../../support/temp-folder.ts';

async function parts() {
  const clock = { now: 1_000 };
  const store = await openSqliteStore(join(await tempFolder(), 'sidekey.db'), { now: () => clock.now });
  onTestFinished(() => store.close());
  return { clock, store, vault: createVault(masterKey(randomBytes(32))), now: () => clock.now };
}

const consent = {
  provider: 'acme',
  authorizationEndpoint: 'https://acme.test/authorize',
  tokenEndpoint: 'https://acme.test/token',
  clientId: 'sidekey',
  redirectUri: 'http://127.0.0.1:8765/callback',
  state: 'a-state',
  codeVerifier: 'a-verifier',
  scopes: ['read'],
  name: 'acme',
  user: 'default',
};

test('a record is returned unchanged, once, and until it expires', async () => {
  const at = await parts();
  const sessions = sessionsOf('consent', consentShape, at);
  const bound = { ...consent, proofKey: newDpopKey('ES256') };
  await sessions.put('key', bound, 2_000);
  expect(await sessions.get('key')).toEqual(bound);
  expect(await sessions.get('other')).toBeNull();
  expect(await sessionsOf('other', consentShape, at).get('key')).toBeNull();
  const taken = await Promise.all([sessions.take('key'), sessions.take('key')]);
  expect(taken.filter((it) => it !== null)).toEqual([bound]);
  await sessions.put('key', bound, 2_000);
  at.clock.now = 2_000;
  expect(await sessions.get('key')).toBeNull();
});

test('the id of a record does not reveal its key, and differs between kinds', () => {
  expect(sessionId('a', 'key')).toMatch(/^[0-9a-f]{64}$/);
  expect(sessionId('a', 'key')).not.toBe(sessionId('b', 'key'));
});

test('a record of another form is ignored', async () => {
  const at = await parts();
  await sessionsOf('consent', z.unknown(), at).put('key', { ...consent, scopes: 'read' }, 2_000);
  expect(await sessionsOf('consent', consentShape, at).take('key')).toBeNull();
});
