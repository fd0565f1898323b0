import { z } from 'zod';
import { clockOf, secretText, type OpenedGrant } from '../domain/credential.ts';
import { type Grant, titleOf } from '../domain/grant.ts';
import { grantGone } from '../grants/keep.ts';
import { type AttemptOutcome, createRefreshAttempts } from '../grants/refresh.ts';
import { createSourceValues } from '../grants/source-values.ts';
import { failedToken, replaceRemedy, standingOf } from '../grants/token-result.ts';
import { SidekeyError } from '../lib/errors.ts';
import type { Hint } from '../lib/hint.ts';
import { grantAnswer, grantMembers } from './grant-answer.ts';

import { findGrant } from './find.ts';
import { grantOwner, named, text } from './members.ts';
import { type Changing, changing } from './operation.ts';

/** One attempt to renew the token of a grant, with the address guard and the lock of the proxy. */

type RefreshResult =
  | 'renewed'
  /** Another process refreshed the grant at the same time. */
  | 'elsewhere'
  /** The source of the grant gave a credential, which is not stored. */
  | 'asked'
  | 'not due';

export const refreshGrant = changing({
  id: 'grant.refresh',
  summary: 'Get a new token where the stored one is due or has ended.',
  scope: 'grants:write',
  input: z.strictObject({ grant: text, user: grantOwner, force: z.boolean().optional() }),
  output: named('RefreshedGrant', { ...grantMembers, renewed: z.boolean() }),
  async run(parts, { grant: reference, user, force = false }) {
    const { caller, config, during, now, renewal, withFetch } = parts;
    const picked = await findGrant(parts.store, { grant: reference, user }, caller);
    const opened = await refreshable(parts, picked, now());
    const { grant, sealed } = opened;
    const done = (after: Grant, result: RefreshResult) => ({ grant: after, result, at: now() });
    if (sealed.credential.type === 'source') {
      await during('Asking the source', () =>
        withFetch((fetch) => askSource(opened, { ...renewal(fetch), onInterrupt: parts.onInterrupt })),
      );
      return done(grant, 'asked');
    }
    if (!force && clockOf(sealed.credential, now(), config.tokens.skewMs) === 'fresh') {
      return done(grant, 'not due');
    }
    const unwanted = force ? secretText(sealed.credential) : null;
    const outcome = await during('Asking the provider for a token', () =>
      attemptOnce(parts, { id: grant.id, unwanted }),
    );
    return done(
      await settled(outcome, opened, parts),
      outcome.kind === 'renewed' && outcome.opened !== null ? 'renewed' : 'elsewhere',
    );
  },
  answer: ({ grant, result, at }) => ({
    ...grantAnswer(grant, at),
    renewed: result === 'renewed' || result === 'asked',
  }),
});

/** Reads a grant's source as a request does, and discards the value. @throws SidekeyError `source_failed` */
async function askSource(
  opened: OpenedGrant,
  { onInterrupt, ...parts }: ReturnType<Changing['renewal']> & Pick<Changing, 'onInterrupt'>,
): Promise<void> {
  const values = createSourceValues({ ...parts, random: Math.random });
  const giveBack = onInterrupt(() => values.close());
  try {
    const result = await values.obtain(opened, null);
    if (result.kind === 'refused') throw new SidekeyError(result.code, result.message, { hint: result.hint });
  } finally {
    giveBack();
    values.close();
  }
}

interface Attempt {
  /** ID of the grant. */
  readonly id: string;
  /** Token to replace even if it has not expired; null: none. */
  readonly unwanted: string | null;
  /** Remaining scopes for the new token and later ones; absent: unchanged. */
  readonly narrowTo?: readonly string[];
}

/** An interrupt ends the wait. A sent request completes, or its rotated refresh token would be lost. */
export function attemptOnce(
  { renewal, withFetch, onInterrupt }: Pick<Changing, 'renewal' | 'withFetch' | 'onInterrupt'>,
  { id, unwanted, narrowTo }: Attempt,
): Promise<AttemptOutcome> {
  return withFetch(async (fetch) => {
    const attempts = createRefreshAttempts(renewal(fetch));
    const stopping = new AbortController();
    const giveBack = onInterrupt(() => stopping.abort());
    try {
      const stop = stopping.signal;
      const outcome = await attempts.attempt(id, { unwanted, narrowTo, patient: true, stopping: stop });
      const ended = (outcome.kind === 'later' && (await outcome.rest)) || outcome;
      await attempts.flush();
      return ended;
    } finally {
      giveBack();
    }
  });
}

/** Opens a grant that can be refreshed. @throws SidekeyError `input_invalid`; errors of `standingOf` */
export async function refreshable(
  { grants, config }: Pick<Changing, 'grants' | 'config'>,
  picked: Grant,
  now: number,
): Promise<OpenedGrant> {
  const opened = await grants.read(picked.id);
  if (opened === null) throw grantGone();
  const clock = { now, skewMs: 0, unwanted: null };
  const tokenState = standingOf(opened, picked.id, clock, (name) => config.providers.get(name));
  if (tokenState.kind === 'refused') {
    throw new SidekeyError(tokenState.code, tokenState.message, { hint: tokenState.hint });
  }
  if (opened.grant.refreshable) return opened;
  const { type } = opened.grant;
  const why =
    type === 'oauth2' ? 'it has no refresh token' : `credentials of the type ${type} are not refreshed`;
  throw new SidekeyError('input_invalid', `${titleOf(picked)} cannot be refreshed: ${why}.`, {
    hint: replaceRemedy(picked, [], config.providers.get(picked.provider)),
  });
}

/** Returns the grant after the attempt. @throws SidekeyError for an attempt that failed */
export async function settled(
  outcome: AttemptOutcome,
  before: OpenedGrant,
  parts: Pick<Changing, 'grants' | 'config'>,
): Promise<Grant> {
  switch (outcome.kind) {
    case 'renewed':
      if (outcome.opened !== null) return outcome.opened.grant;
      break;
    case 'refused':
      throw refused(before.grant, outcome.reason, outcome.hint);
    case 'later':
      if (outcome.fault !== undefined) throw outcome.fault;
      if (outcome.reason !== null) throw refused(before.grant, outcome.reason);
      break;
  }
  const after = await refreshable(parts, before.grant, 0);
  if (after.grant.revision === before.grant.revision) {
    throw refused(before.grant, 'another process is refreshing it');
  }
  return after.grant;
}

function refused(grant: Grant, reason: string, hint?: Hint): SidekeyError {
  const { code, message, hint: way } = failedToken(grant, reason, hint);
  return new SidekeyError(code, message, { hint: way });
}
