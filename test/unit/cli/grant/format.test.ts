import { expiryOf } from '../../../../src/operations/format.ts';
import { describe, expect, it } from 'vitest';
import { grantAnswer } from '../../../../src/operations/grant-answer.ts';
import { endsSoon, type Grant, stateNow, titleOf } from '../../../../src/domain/grant.ts';
import { grantOf } from '../../../../src/store/grants.ts';
import { replaceRemedy } from '../../../../src/grants/token-result.ts';
import { grantRecord } from '../../../support/grant-record.ts';
import { hintText } from '../../../../src/lib/hint.ts';

const now = 1_800_000_000_000;
const grant = (fields: Partial<Grant> = {}): Grant =>
  grantOf(grantRecord({ expiresAt: now + 600_000, ...fields }));

describe('the current state of a grant', () => {
  it.each([
    ['active', {}, 'active'],
    ['active', { expiresAt: now - 1, refreshable: false }, 'expired'],
    ['active', { expiresAt: now - 1, refreshable: true }, 'active'],
    ['active', { expiresAt: null, refreshable: false }, 'active'],
    // The clock was wrong when the grant was marked expired.
    ['expired', { refreshable: false }, 'active'],
    ['expired', { expiresAt: now, refreshable: false }, 'expired'],
    ['revoked', {}, 'revoked'],
    ['reauth_required', { expiresAt: now - 1 }, 'reauth_required'],
  ] as const)('%s with %j is %s', (state, fields, expected) => {
    expect(stateNow(grant({ ...fields, state }), now)).toBe(expected);
  });
});

describe('a token that nothing renews', () => {
  const [hour, day] = [3_600_000, 86_400_000];
  it.each([
    // The whole time, the time that is left, and whether it ends soon.
    [365 * day, 7 * day, {}, true],
    [365 * day, 7 * day + 1, {}, false],
    [10 * hour, 2 * hour, {}, true],
    [10 * hour, 2 * hour + 1, {}, false],
    [10 * hour, 0, {}, false],
    [10 * hour, hour, { refreshable: true }, false],
    [10 * hour, hour, { state: 'revoked' }, false],
    [10 * hour, hour, { expiresAt: null }, false],
    [10 * hour, hour, { parent: 'id' }, false],
  ] as const)('of %i ms that ends in %i ms with %j ends soon: %s', (time, left, fields, expected) => {
    const end = now + left;
    const stored = { refreshable: false, expiresAt: end, updatedAt: end - time };
    expect(endsSoon(grant({ ...stored, ...fields }), now)).toBe(expected);
  });
});

it('an expiry is shown with its effect', () => {
  expect(expiryOf(grant(), now)).toBe('in 10 min');
  expect(expiryOf(grant({ expiresAt: now - 60_000, refreshable: true }), now)).toBe(
    '60 s ago (refreshed on use)',
  );
  expect(expiryOf(grant({ expiresAt: now - 60_000, refreshable: false }), now)).toBe('60 s ago');
  expect(expiryOf(grant({ expiresAt: now - 60_000, state: 'revoked' }), now)).toBe('60 s ago');
  expect(expiryOf(grant({ expiresAt: null, refreshable: false }), now)).toBe('no end');
  expect(expiryOf(grant({ expiresAt: null, refreshable: true }), now)).toBe('not known');
});

it('the user is shown when it is not the default user', () => {
  expect(titleOf(grant())).toBe('github');
  expect(titleOf(grant({ user: 'alice' }))).toBe('github (user alice)');
  expect(hintText(replaceRemedy(grant()))).toBe(
    'sidekey grant import github --provider github --replace < token.json',
  );
  expect(hintText(replaceRemedy(grant({ user: 'alice' }), ['a.example.com', '*.b.example.com']))).toBe(
    "sidekey grant import github --user alice --provider github --replace --audience a.example.com '*.b.example.com' < token.json",
  );
});

it('the JSON has all public fields, and nothing sealed', () => {
  const record = grantRecord({ sealed: Buffer.from('sealed-bytes') });
  const json = grantAnswer(record, now);
  expect(Object.keys(json)).not.toContain('sealed');
  expect(JSON.stringify(json)).not.toContain('sealed-bytes');
  expect(json).toMatchObject({ expires_in: 0, expires_at: '2027-01-15T08:00:00.000Z' });
});
