import { SidekeyError } from '../../errors.ts';
import { createRefreshAttempts, type AttemptOutcome } from '../../grants/refresh-attempt.ts';
import type { Grant } from '../../grants/grant.ts';
import type { OpenedGrant, Registry } from '../../grants/registry.ts';
import { replaceCommand } from '../../grants/replace-command.ts';
import { systemTimers } from '../../grants/timers.ts';
import { failedToken, standingOf } from '../../grants/token-result.ts';
import { refreshParts } from '../../refresh-parts.ts';
import { createExit } from '../../upstream/exit.ts';
import type { Context } from '../context.ts';
import { details } from '../table.ts';
import { grantGone, pickGrant } from './pick.ts';
import { expiryOf, grantJson, scopesOf, titleOf } from './words.ts';

/** `sidekey grant refresh`: one attempt, through the same guard and under the same lock as the proxy's own. */
export async function refreshGrant(
  { withState, output, now }: Context,
  reference: string,
  { user }: { readonly user?: string },
): Promise<void> {
  const { grant, renewed } = await withState(async (state) => {
    const { grants, config } = state;
    const opened = await refreshable(
      grants,
      pickGrant(await grants.list(), { grant: reference, user }),
      now(),
    );
    const { upstream, limits } = config;
    const exit = createExit({ ...upstream, limits, ownPort: () => null });
    const attempts = createRefreshAttempts({
      ...refreshParts(state, { config: () => config, fetch: () => exit.fetch, now }),
      timers: systemTimers,
    });
    // What has asked the provider finishes: ended in the middle, it would take a rotated refresh token with it.
    const stopping = stopOnSignal();
    try {
      const { credential } = opened.sealed;
      const unwanted = credential.type === 'oauth2' ? (credential.accessToken ?? '') : '';
      const outcome = await attempts.attempt(opened.grant.id, {
        unwanted,
        patient: true,
        stopping: stopping.signal,
      });
      await attempts.flush();
      return { grant: await settled(outcome, opened, grants), renewed: outcome.kind === 'renewed' };
    } finally {
      stopping.off();
      await exit.close();
    }
  });
  const at = now();
  output.result(
    { ...grantJson(grant, at), renewed },
    details(
      renewed
        ? `Refreshed ${titleOf(grant)}.`
        : `${titleOf(grant)} was refreshed by another process at the same time.`,
      { scopes: scopesOf(grant), expires: expiryOf(grant, at) },
    ),
  );
}

/** What a refresh can be asked for at all. */
async function refreshable(grants: Registry, picked: Grant, now: number): Promise<OpenedGrant> {
  const opened = await grants.read(picked.id);
  if (opened === null) throw grantGone();
  const standing = standingOf(opened, picked.id, { now, skewMs: 0, unwanted: null });
  if (standing.kind === 'refused') {
    throw new SidekeyError(standing.code, standing.message, { hint: standing.hint });
  }
  if (opened.grant.refreshable) return opened;
  const { type } = opened.grant;
  const why =
    type === 'oauth2' ? 'it has no refresh token' : `credentials of the type ${type} are not refreshed`;
  throw new SidekeyError('input_invalid', `${titleOf(picked)} cannot be refreshed: ${why}.`, {
    hint: replaceCommand(picked),
  });
}

/** The grant as the attempt left it, or why it failed. */
async function settled(outcome: AttemptOutcome, before: OpenedGrant, grants: Registry): Promise<Grant> {
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
      const after = await refreshable(grants, before.grant, 0);
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

/** Ctrl-C gives up waiting, and does not break off what is under way. */
function stopOnSignal(): { readonly signal: AbortSignal; off(): void } {
  const controller = new AbortController();
  const stop = () => controller.abort();
  process.once('SIGINT', stop).once('SIGTERM', stop);
  return {
    signal: controller.signal,
    off() {
      process.off('SIGINT', stop).off('SIGTERM', stop);
    },
  };
}
