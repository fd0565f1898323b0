import { SidekeyError } from '../../errors.ts';
import {
  createRefreshAttempts,
  type AttemptOutcome,
  type RefreshParts,
} from '../../grants/refresh-attempt.ts';
import { secretText } from '../../grants/credential.ts';
import type { Grant } from '../../grants/grant.ts';
import type { OpenedGrant } from '../../grants/registry.ts';
import { replaceCommand } from '../../grants/replace-command.ts';
import { clockOf } from '../../grants/token-clock.ts';
import { failedToken, standingOf } from '../../grants/token-result.ts';
import type { State } from '../../state.ts';
import type { Context } from '../context.ts';
import { onInterrupt } from '../interrupt.ts';
import { details } from '../table.ts';
import { withExit } from '../with-exit.ts';
import { commandParts } from './command-parts.ts';
import { grantGone, pickGrant } from './pick.ts';
import { expiryOf, grantJson, refreshCommand, scopesOf, titleOf } from './words.ts';

/**
 * `sidekey grant refresh`: one attempt, through the same guard and under the same lock as the proxy's own. A token that
 * is not due is left as it is, unless that is asked for.
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
    if (!force && clockOf(credential, now(), config.tokens.skewMs) === 'fresh') {
      return { grant: opened.grant, outcome: 'not due' as const };
    }
    const unwanted = force ? secretText(credential) : null;
    const outcome = await withExit(config, context.env, (exit) =>
      attemptOnce(opened.grant.id, unwanted, commandParts({ context, state, exit })),
    );
    return {
      grant: await settled(outcome, opened, state),
      outcome: outcome.kind === 'renewed' ? ('renewed' as const) : ('elsewhere' as const),
    };
  });
  const at = now();
  output.result(
    { ...grantJson(grant, at), renewed: outcome === 'renewed' },
    details(sentences[outcome](titleOf(grant)), { scopes: scopesOf(grant), expires: expiryOf(grant, at) }),
  );
  if (outcome === 'not due') output.say(`  → ${refreshCommand(grant)}`);
}

const sentences = {
  renewed: (title: string) => `Refreshed ${title}.`,
  elsewhere: (title: string) => `${title} was refreshed by another process at the same time.`,
  'not due': (title: string) => `${title} is not due for a refresh, so it was left as it is.`,
} as const;

/** Ctrl-C gives up waiting. What has asked the provider finishes, or a rotated refresh token would be lost with it. */
async function attemptOnce(
  id: string,
  unwanted: string | null,
  parts: RefreshParts,
): Promise<AttemptOutcome> {
  const attempts = createRefreshAttempts(parts);
  const stopping = new AbortController();
  const giveBack = onInterrupt(() => stopping.abort());
  try {
    const outcome = await attempts.attempt(id, { unwanted, patient: true, stopping: stopping.signal });
    await attempts.flush();
    return outcome;
  } finally {
    giveBack();
  }
}

/** What a refresh can be asked for at all. */
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

/** The grant as the attempt left it, or why it failed. */
async function settled(outcome: AttemptOutcome, before: OpenedGrant, state: State): Promise<Grant> {
  switch (outcome.kind) {
    case 'renewed':
      return outcome.opened.grant;
    case 'refused':
      throw refused(before.grant, outcome.reason, outcome.hint);
    case 'transient':
      throw refused(before.grant, outcome.reason);
    case 'fault':
      throw outcome.error;
    case 'settled':
    case 'elsewhere': {
      const after = await refreshable(state, before.grant, 0);
      if (after.grant.revision === before.grant.revision) {
        throw refused(before.grant, 'another process is refreshing it');
      }
      return after.grant;
    }
  }
}

function refused(grant: Grant, reason: string, hint?: string): SidekeyError {
  const { code, message, hint: way } = failedToken(grant, reason, hint);
  return new SidekeyError(code, message, { hint: way });
}
