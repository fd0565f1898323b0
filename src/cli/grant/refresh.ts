import { expiryOf } from '../../operations/format.ts';
import type { State } from '../../app/state.ts';
import { refreshParts } from '../../app/wiring.ts';
import { recordChange } from '../../audit/log.ts';
import { type Context, withUpstreamClient } from '../context.ts';
import { details } from '../display.ts';
import { grantCommand, refreshCommand, renewedBy, scopesOf } from './format.ts';
import { grantAnswer } from '../../operations/grant-answer.ts';
import { pickGrant } from '../../operations/lookup.ts';
import { onInterrupt } from '../terminal.ts';
import { clockOf, secretText } from '../../domain/credential.ts';
import { type Grant, titleOf } from '../../domain/grant.ts';
import { consentCommand } from '../../grants/messages.ts';
import {
  type AttemptOutcome,
  createRefreshAttempts,
  isWithin,
  type RefreshParts,
} from '../../grants/refresh.ts';
import type { OpenedGrant } from '../../grants/registry.ts';
import { createSourceValues } from '../../grants/source-values.ts';
import type { Sources } from '../../grants/sources/ask.ts';
import { failedToken, replaceCommand, standingOf } from '../../grants/token-result.ts';
import { SidekeyError } from '../../lib/errors.ts';
import { withoutStop } from '../../lib/text.ts';
import { systemTimers } from '../../lib/timers.ts';
import type { UpstreamClient } from '../../proxy/upstream/client.ts';
import { grantGone } from '../../grants/keep.ts';

/**
 * `sidekey grant refresh`: one attempt, with the address guard and the lock of the proxy. Keeps a token that
 * is not due, unless the option forces a refresh.
 */
export async function refreshGrant(
  context: Context,
  reference: string,
  { user, force = false }: { readonly user?: string; readonly force?: boolean },
): Promise<void> {
  const { withState, output, now } = context;
  const { grant, outcome } = await withState(async (state) => {
    const { grants, config } = state;
    const opened = await refreshable(
      state,
      pickGrant(await grants.list(), { grant: reference, user }),
      now(),
    );
    const { credential } = opened.sealed;
    if (credential.type === 'source') {
      await output.during('Asking the source', () =>
        withUpstreamClient(config, context.env, (upstream) =>
          askSource(opened, commandParts({ context, state, upstream })),
        ),
      );
      return { grant: opened.grant, outcome: 'asked' as const };
    }
    if (!force && clockOf(credential, now(), config.tokens.skewMs) === 'fresh') {
      return { grant: opened.grant, outcome: 'not due' as const };
    }
    const unwanted = force ? secretText(credential) : null;
    const outcome = await output.during('Asking the provider for a token', () =>
      withUpstreamClient(config, context.env, (upstream) =>
        attemptOnce(opened.grant.id, unwanted, commandParts({ context, state, upstream })),
      ),
    );
    return {
      grant: await settled(outcome, opened, state),
      outcome:
        outcome.kind === 'renewed' && outcome.opened !== null ? ('renewed' as const) : ('elsewhere' as const),
    };
  });
  const at = now();
  output.result(
    { ...grantAnswer(grant, at), renewed: outcome === 'renewed' || outcome === 'asked' },
    details(output.display, sentences[outcome](titleOf(grant)), {
      scopes: scopesOf(grant),
      expires: expiryOf(grant, at),
    }),
  );
  if (outcome === 'not due') output.say(`  → ${refreshCommand(grant)}`);
}

const sentences = {
  renewed: (title: string) => `Refreshed ${title}.`,
  elsewhere: (title: string) => `${title} was refreshed by another process at the same time.`,
  asked: (title: string) => `The source of ${title} gave a credential. It is not stored.`,
  'not due': (title: string) => `${title} is not due for a refresh, so it was left as it is.`,
} as const;

/**
 * Removes scopes from a grant: each refresh from now on names the remaining ones (RFC 6749 §6).
 *
 * @returns the grant with the scopes that the provider named
 * @throws SidekeyError `input_invalid` if it lacks a scope or has no refresh token; `provider_refused` if the
 * provider leaves the scopes as they are; errors of a refresh
 */
export async function narrowGrant(
  context: Context,
  state: State,
  picked: Grant,
  named: readonly string[],
): Promise<Grant> {
  const { grants, config, audit } = state;
  const opened = await grants.read(picked.id);
  if (opened === null) throw grantGone();
  const { grant, sealed } = opened;
  const { id, user, scopes: before } = grant;
  const other = named.find((scope) => !before.includes(scope));
  if (other !== undefined) {
    throw new SidekeyError('input_invalid', `${titleOf(grant)} does not have the scope ${other}.`, {
      hint:
        before.length === 0 ? 'its scopes are set at the provider' : `one or more of: ${before.join(' ')}`,
    });
  }
  // Without `offline_access` the refresh token may end.
  const left = before.filter((scope) => named.includes(scope) || scope === 'offline_access');
  if (left.length === before.length) return grant;
  const consent = consentCommand(grant, named, config.providers.get(grant.provider), sealed.credential);
  const way = { hint: `${grantCommand('revoke', grant)}; ${consent}` };
  const kept = `The scopes of ${titleOf(grant)} stay as they are`;
  if (renewedBy(sealed.credential) !== 'refresh_token') {
    throw new SidekeyError('input_invalid', `${kept}: it has no refresh token.`, way);
  }
  await refreshable(state, grant, context.now());
  const reason = `scopes ${left.join(' ')} (was ${before.join(' ')})`;
  return recordChange(audit, { event: 'grant.changed', grant: id, user, reason }, async () => {
    const outcome = await withUpstreamClient(config, context.env, (upstream) =>
      attemptOnce(id, secretText(sealed.credential), commandParts({ context, state, upstream }), left),
    );
    if (outcome.kind === 'refused') {
      throw new SidekeyError('provider_refused', `${kept}: ${withoutStop(outcome.reason)}.`, way);
    }
    const after = await settled(outcome, opened, state);
    if (isWithin(after.scopes, left)) return after;
    throw new SidekeyError('provider_refused', `${kept}: the provider did not reduce them.`, way);
  });
}

/** Reads a grant's source as a request does, and discards the value. @throws SidekeyError `source_failed` */
async function askSource(opened: OpenedGrant, parts: ReturnType<typeof commandParts>): Promise<void> {
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

/** Ctrl-C ends the wait. A sent request completes, or its rotated refresh token would be lost. */
async function attemptOnce(
  id: string,
  unwanted: string | null,
  parts: RefreshParts,
  narrowTo?: readonly string[],
): Promise<AttemptOutcome> {
  const attempts = createRefreshAttempts(parts);
  const stopping = new AbortController();
  const giveBack = onInterrupt(() => stopping.abort());
  try {
    const stop = stopping.signal;
    const outcome = await attempts.attempt(id, { unwanted, narrowTo, patient: true, stopping: stop });
    await attempts.flush();
    return outcome;
  } finally {
    giveBack();
  }
}

/** Opens a grant that can be refreshed. */
async function refreshable({ grants, config }: State, picked: Grant, now: number): Promise<OpenedGrant> {
  const opened = await grants.read(picked.id);
  if (opened === null) throw grantGone();
  const clock = { now, skewMs: 0, unwanted: null };
  const standing = standingOf(opened, picked.id, clock, (name) => config.providers.get(name));
  if (standing.kind === 'refused') {
    throw new SidekeyError(standing.code, standing.message, { hint: standing.hint });
  }
  if (opened.grant.refreshable) return opened;
  const { type } = opened.grant;
  const why =
    type === 'oauth2' ? 'it has no refresh token' : `credentials of the type ${type} are not refreshed`;
  throw new SidekeyError('input_invalid', `${titleOf(picked)} cannot be refreshed: ${why}.`, {
    hint: replaceCommand(picked, [], config.providers.get(picked.provider)),
  });
}

/** Returns the grant after the attempt, or the error. */
async function settled(outcome: AttemptOutcome, before: OpenedGrant, state: State): Promise<Grant> {
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
  const after = await refreshable(state, before.grant, 0);
  if (after.grant.revision === before.grant.revision) {
    throw refused(before.grant, 'another process is refreshing it');
  }
  return after.grant;
}

function refused(grant: Grant, reason: string, hint?: string): SidekeyError {
  const { code, message, hint: way } = failedToken(grant, reason, hint);
  return new SidekeyError(code, message, { hint: way });
}

interface CommandParts {
  readonly context: Pick<Context, 'now' | 'env'>;
  readonly state: State;
  readonly upstream: UpstreamClient;
}

/** Creates the parts of a refresh for one command, during which the config does not change. */
export function commandParts({
  context: { now, env },
  state,
  upstream,
}: CommandParts): RefreshParts & { readonly sources: Sources } {
  const parts = refreshParts(state, { config: () => state.config, fetch: () => upstream.fetch, now, env });
  return { ...parts, timers: systemTimers };
}
