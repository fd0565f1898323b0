import { expect, test } from 'vitest';
import { lackedBy, lackedText } from '../../../../src/cli/grant/show.ts';
import type { Credential } from '../../../../src/grants/credential.ts';
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

test('what was missing counts until a later consent, and a refresh is none', () => {
  const refreshedSince = lacked(oauth2({ consentedAt: at - 1 }), ['write'], at + 5);
  expect(refreshedSince).toEqual({ at, scopes: ['write'], command: 'sidekey connect acme --scopes write' });
  expect(lacked(oauth2({ consentedAt: at }), ['write'])).toBeNull();
});

test('where no consent is known, it counts until the grant has it', () => {
  expect(lacked(oauth2(), ['read', 'write'])?.scopes).toEqual(['write']);
  expect(lacked(oauth2(), ['write'], at, ['read', 'write'])).toBeNull();
});

test('of what was pasted it counts until there is another', () => {
  expect(lacked(key, ['write'])?.scopes).toEqual(['write']);
  expect(lacked(key, ['write'], at)).toBeNull();
});

test('what is no scope, in a store that somebody wrote to, is not shown', () => {
  expect(lacked(key, ['write', '\u001b[31mred', 'a\nb'])?.scopes).toEqual(['write']);
  expect(lacked(key, ['\u001b[31mred'])).toBeNull();
});

test('nothing is missing where nobody said so', () => {
  const opened = { grant: grantRecord(), sealed: { credential: key, audience: [] } };
  expect(lackedBy(opened, null, provider)).toBeNull();
  expect(lackedBy(opened, { lackedAt: null, lacked: [] }, provider)).toBeNull();
});

test('a person sees the names and how long ago it was', () => {
  expect(lackedText(lacked(key, ['write', 'admin']), at + 7_200_000)).toBe('write admin (2 h ago)');
  expect(lackedText(lacked(key, []), at + 60_000)).toMatch(/^not named \(/);
  expect(lackedText(null, at)).toBeNull();
});
