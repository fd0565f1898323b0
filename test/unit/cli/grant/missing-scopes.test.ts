import { expect, test } from 'vitest';
import { lackedText } from '../../../../src/cli/grant/show.ts';
import { lackedBy } from '../../../../src/operations/grant-facts.ts';
import type { Credential } from '../../../../src/domain/credential.ts';
import { grantRecord } from '../../../support/grant-record.ts';
import { aProvider } from '../../../support/provider.ts';
import { oauth2 } from '../../grants/processes.ts';

const at = Date.UTC(2027, 0, 1);
const provider = aProvider({ flows: ['authorization_code'] });
const key: Credential = { type: 'api_key', value: 'the-key' };
const lacked = (credential: Credential, scopes: readonly string[], updatedAt = at - 1, held = ['read']) =>
  lackedBy(
    {
      grant: grantRecord({ name: 'acme', provider: 'acme', type: credential.type, scopes: held, updatedAt }),
      sealed: { credential, audience: [] },
    },
    { lackedAt: at, lacked: scopes },
    provider,
  );

test('missing scopes are shown until a later consent, and a refresh does not clear them', () => {
  const refreshedSince = lacked(oauth2({ consentedAt: at - 1 }), ['write'], at + 5);
  expect(refreshedSince).toEqual({ at, scopes: ['write'], command: 'sidekey connect acme --scope write' });
  expect(lacked(oauth2({ consentedAt: at }), ['write'])).toBeNull();
});

test('missing scopes without a known consent are shown until the grant has them', () => {
  expect(lacked(oauth2(), ['read', 'write'])?.scopes).toEqual(['write']);
  expect(lacked(oauth2(), ['write'], at, ['read', 'write'])).toBeNull();
});

test('missing scopes of a pasted credential are shown until it is replaced', () => {
  expect(lacked(key, ['write'])?.scopes).toEqual(['write']);
  expect(lacked(key, ['write'], at)).toBeNull();
});

test('an invalid scope in the store is not shown', () => {
  expect(lacked(key, ['write', '\u001b[31mred', 'a\nb'])?.scopes).toEqual(['write']);
  expect(lacked(key, ['\u001b[31mred'])).toBeNull();
});

test('no scopes are missing when none were reported', () => {
  const opened = { grant: grantRecord(), sealed: { credential: key, audience: [] } };
  expect(lackedBy(opened, null, provider)).toBeNull();
  expect(lackedBy(opened, { lackedAt: null, lacked: [] }, provider)).toBeNull();
});

test('missing scopes are shown with their names and age', () => {
  expect(lackedText(lacked(key, ['write', 'admin']), at + 7_200_000)).toBe('write admin (2 h ago)');
  expect(lackedText(lacked(key, []), at + 60_000)).toMatch(/^not named \(/);
  expect(lackedText(null, at)).toBeNull();
});
