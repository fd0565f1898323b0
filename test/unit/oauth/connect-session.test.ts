import { expect, test } from 'vitest';
import { newDpopKey } from '../../../src/schemes/dpop-proof.ts';
import {
  readSession,
  sessionId,
  writeSession,
  type ConnectSession,
} from '../../../src/cli/connect/flows/print-url.ts';

const session: ConnectSession = {
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
  allowedDomains: null,
  widen: false,
  domains: true,
};

test('a session reads back as written', () => {
  const bound = { ...session, proofKey: newDpopKey('ES256') };
  for (const each of [session, bound, { ...session, codeVerifier: null, allowedDomains: ['a.b'] }]) {
    expect(readSession(writeSession(each))).toEqual(each);
  }
});

test('the name of a session does not reveal its state', () => {
  expect(sessionId('a-state')).toMatch(/^[0-9a-f]{64}$/);
  expect(sessionId('a-state')).not.toBe(sessionId('b-state'));
});

test.each<[string, unknown]>([
  ['another version', { v: 2, ...session }],
  ['no version', session],
  ['a missing field', { v: 1, ...session, redirectUri: undefined }],
  ['invalid scopes', { v: 1, ...session, scopes: 'read' }],
  ['an invalid key', { v: 1, ...session, proofKey: { d: 'x' } }],
  ['a list', []],
  ['nothing', null],
])('%s is refused', (_what, value) => {
  expect(readSession(Buffer.from(JSON.stringify(value)))).toBeNull();
});

test('text that is not JSON is refused', () => {
  expect(readSession(Buffer.from('{'))).toBeNull();
});
