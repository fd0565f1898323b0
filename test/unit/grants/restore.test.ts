import { describe, expect, it } from 'vitest';
import { restoreGrant } from '../../../src/grants/restored-grant.ts';
import { sealContext } from '../../../src/grants/sealed-text.ts';
import { readSealed, writeSealed } from '../../../src/grants/sealed-text.ts';
import type { GrantRecord } from '../../../src/store/store.ts';
import { grantRecord } from '../../support/grant-record.ts';
import { oauth2Credential } from '../../support/oauth2-credential.ts';
import { vaultForTest } from '../store/vault/vault-for-test.ts';

const [from, to] = [vaultForTest(), vaultForTest()];
const id = '0f7f2b1e-0000-4000-8000-000000000001';

/** A grant with a refresh token, at a revision. */
function grant(
  refreshToken: string | null,
  revision: number,
  vault = from,
  fields: Partial<GrantRecord> = {},
) {
  const record = grantRecord({ id, revision, ...fields });
  const credential = oauth2Credential({ refreshToken });
  return {
    ...record,
    sealed: vault.seal(sealContext(record), writeSealed({ credential, audience: ['acme.test'] })),
  };
}

const restored = (theirs: GrantRecord, mine: GrantRecord | null, rollBack = false) =>
  restoreGrant({ theirs, from, mine, to, rollBack });

/** The refresh token that the store has afterwards, at its revision. */
function tokenOf(record: GrantRecord | null): unknown {
  if (record === null) return null;
  const { credential } = readSealed(to.open(sealContext(record), record.sealed), id);
  return [credential.type === 'oauth2' ? credential.refreshToken : null, record.revision];
}

describe('a grant of a backup', () => {
  it.each([
    ['missing in the store', null, false, ['old', 3], 'check'],
    ['identical in the store', grant('old', 3, to), false, null, 'none'],
    ['newer in the store', grant('new', 5, to), false, null, 'newer'],
    ['newer in the store, to be rolled back', grant('new', 5, to), true, ['old', 6], 'consent'],
    ['newer with the same refresh token, to be rolled back', grant('old', 5, to), true, ['old', 6], 'none'],
    ['older in the store', grant('older', 2, to), false, ['old', 4], 'check'],
    ['revoked in the store', grant(null, 4, to, { state: 'revoked' }), false, null, 'newer'],
    [
      'revoked in the store, to be rolled back',
      grant(null, 4, to, { state: 'revoked' }),
      true,
      null,
      'newer',
    ],
    ['revoked in an older store', grant(null, 2, to, { state: 'revoked' }), false, null, 'newer'],
    [
      'unreadable in the store',
      { ...grant('new', 5, to), sealed: Buffer.alloc(200) },
      false,
      ['old', 6],
      'check',
    ],
    [
      'sealed for the same revision by another key',
      grant('new', 3, vaultForTest()),
      false,
      ['old', 4],
      'check',
    ],
  ])('%s', (_case, mine, rollBack, token, attention) => {
    const result = restored(grant('old', 3), mine, rollBack);
    expect([tokenOf(result.write), result.attention]).toEqual([token, attention]);
  });

  it('without a refresh token needs no attention', () => {
    expect(restored(grant(null, 3), null).attention).toBe('none');
  });

  it('is kept sealed if it does not open and no local grant exists, and then needs a consent', () => {
    const broken = { ...grant('old', 3), sealed: Buffer.alloc(200) };
    expect(restored(broken, null)).toEqual({ write: broken, attention: 'consent' });
    expect(restored(broken, { ...grant('new', 2, to), sealed: Buffer.alloc(200) }).write).toBeNull();
  });
});
