import { inputInvalid, SidekeyError } from '../lib/errors.ts';
import { type Hint, hintOf } from '../lib/hint.ts';
import { createRefreshNotes } from './activity.ts';
import { createRefreshCommits, oauthGrant, type OAuthGrant } from './refresh-commit.ts';
import { createRefreshLock, type LockedIo, type RefreshLock } from './refresh-lock.ts';
import type { RefreshParts } from './refresh.ts';
import type { OpenedGrant } from '../domain/credential.ts';
import { standingOf } from './token-result.ts';

/**
 * Uses the refresh token of a grant for other tokens than its own, such as those of other APIs for a login.
 * As in a refresh, there is one use at a time over all processes of the store, and a rotated refresh token is
 * stored before anything else happens.
 */

/** Parts of a refresh that are also needed here. */
type RefreshTokenUseParts = Pick<
  RefreshParts,
  'registry' | 'store' | 'now' | 'limits' | 'audit' | 'activity' | 'timers'
>;

/** One use of a grant's refresh token. */
export interface RefreshTokenUse<T> {
  readonly grantId: string;
  /** Purpose for the audit log: `for the My Account API`. */
  readonly purpose: string;
  /** Command that obtains a new refresh token, for hints. */
  readonly again: Hint;
  /**
   * Calls the provider once. Rejections are passed on. The signal aborts only after `answerMs`: the response
   * may have the only valid refresh token.
   */
  readonly ask: (grant: OAuthGrant, refreshToken: string, io: LockedIo) => Promise<UseOutcome<T>>;
}

/** The provider's response. */
export type UseOutcome<T> =
  | {
      readonly kind: 'done';
      readonly value: T;
      /** Rotated refresh token; null: the old one stays valid. */
      readonly refreshToken: string | null;
    }
  /** The response has no value. `refreshToken` is stored before `failure` is thrown. */
  | { readonly kind: 'failed'; readonly failure: SidekeyError; readonly refreshToken: string | null }
  /** The refresh token is no longer valid. */
  | { readonly kind: 'refused'; readonly description: string };

/**
 * Returns the value of `ask`.
 *
 * @param waiting aborted: no caller waits for the lock
 * @throws SidekeyError `grant_missing`, `grant_revoked`; `input_invalid`: the grant has no refresh token;
 * `reauth_required`: the token is no longer valid, and the store records that; `refresh_failed`: another
 * process holds the lock; `store_unavailable`: the rotated token could not be stored; the reason of `waiting`
 */
export async function useRefreshToken<T>(
  use: RefreshTokenUse<T>,
  parts: RefreshTokenUseParts,
  waiting?: AbortSignal,
): Promise<T> {
  const { grantId } = use;
  usable(await parts.registry.read(grantId), use, parts.now());
  const lock = createRefreshLock(parts);
  const taken = await lock.take(grantId, { patient: true, signal: waiting });
  waiting?.throwIfAborted();
  if (typeof taken === 'string') throw busy();
  try {
    const begun = parts.now();
    const found = await parts.registry.openRecord(taken.record);
    const { opened, refreshToken } = usable(found, use, begun);
    const outcome = await lock.ask(
      grantId,
      (io) => use.ask(opened, refreshToken, io),
      () => undefined,
    );
    if (outcome === null) throw busy();
    return await settle(use, { opened, refreshToken }, outcome, { ...parts, begun, lock });
  } finally {
    await lock.release(grantId);
  }
}

interface Usable {
  readonly opened: OAuthGrant;
  readonly refreshToken: string;
}

function busy(): SidekeyError {
  return new SidekeyError('refresh_failed', 'Another process is using the refresh token of this grant.', {
    hint: 'try again later',
  });
}

interface SettleParts {
  /** Start of the use, in milliseconds since the epoch. */
  readonly begun: number;
  readonly lock: RefreshLock;
}

/** Stores the provider's response before the value is returned. */
async function settle<T>(
  use: RefreshTokenUse<T>,
  { opened, refreshToken }: Usable,
  outcome: UseOutcome<T>,
  { begun, lock, ...parts }: RefreshTokenUseParts & SettleParts,
): Promise<T> {
  const { grant, credential } = opened;
  const commits = createRefreshCommits(parts.registry, parts.timers, lock);
  const notes = createRefreshNotes(parts);
  if (outcome.kind === 'refused') {
    const reason = `the provider refused the refresh token: ${outcome.description}`;
    const changed = await commits.requireReauth(opened, reason);
    if (changed !== null) await notes.reauthRequired(changed, begun, reason);
    throw new SidekeyError('reauth_required', `The grant "${grant.name}" has ended: ${reason}.`, {
      hint: use.again,
    });
  }
  const { refreshToken: rotated } = outcome;
  if (rotated !== null && rotated !== refreshToken) {
    const next = { ...credential, refreshToken: rotated };
    const tokens = { usedRefreshToken: refreshToken, next };
    const committed = await commits.commit(opened, tokens, outcome.kind === 'done');
    if (committed === 'kept') {
      const reason = 'the provider gave a new refresh token, and the store did not take it';
      await notes.failed(grant, begun, reason, 'store_unavailable');
      throw new SidekeyError(
        'store_unavailable',
        `The grant "${grant.name}" has lost its refresh token: ${reason}.`,
        { hint: hintOf`see that the store can be written, then ${use.again}` },
      );
    }
  }
  if (outcome.kind === 'failed') throw outcome.failure;
  void notes.refreshed(grant, begun, { purpose: use.purpose });
  return outcome.value;
}

/** Returns the grant, or throws if its refresh token cannot be used. */
function usable(
  found: OpenedGrant | null,
  { grantId, again }: Pick<RefreshTokenUse<unknown>, 'grantId' | 'again'>,
  now: number,
): Usable {
  const standing = standingOf(found, grantId, { now, skewMs: 0, unwanted: null });
  if (standing.kind === 'refused') {
    const hint = standing.grant === null ? standing.hint : again;
    throw new SidekeyError(standing.code, standing.message, { hint });
  }
  const opened = oauthGrant(found);
  const refreshToken = opened?.credential.refreshToken ?? null;
  if (opened === null || refreshToken === null) {
    throw inputInvalid(`The grant "${found?.grant.name ?? ''}" has no refresh token.`, again);
  }
  return { opened, refreshToken };
}
