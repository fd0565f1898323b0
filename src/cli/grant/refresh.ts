import type { State } from '../../app/state.ts';
import { refreshParts } from '../../app/wiring.ts';
import { recordChange } from '../../audit/log.ts';
import { type Context, withUpstreamClient } from '../context.ts';
import {
  checkName,
  dateTime,
  details,
  isoOrNull,
  readEnd,
  readSpan,
  relativeTime,
  spanText,
} from '../format.ts';
import {
  changeText,
  expiryOf,
  grantJson,
  policyJson,
  policyRows,
  refreshCommand,
  scopesOf,
  titleOf,
} from './format.ts';
import { grantGone, pickGrant } from '../pick.ts';
import { onInterrupt } from '../terminal.ts';
import { clockOf, type Credential, secretText } from '../../grants/credential.ts';
import type { Grant } from '../../grants/grant.ts';
import type { Provider } from '../../grants/provider.ts';
import { type AttemptOutcome, createRefreshAttempts, type RefreshParts } from '../../grants/refresh.ts';
import type { OpenedGrant } from '../../grants/registry.ts';
import { failedToken, replaceCommand, standingOf } from '../../grants/token-result.ts';
import { SidekeyError } from '../../lib/errors.ts';
import { systemTimers } from '../../lib/timers.ts';
import type { GrantPolicy } from '../../store/store.ts';
import type { UpstreamClient } from '../../upstream/client.ts';

/**
 * `sidekey grant refresh`: one attempt, with the address guard and the lock of the proxy. A token that is not
 * due is kept, unless the option forces a refresh.
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
    const outcome = await withUpstreamClient(config, context.env, (upstream) =>
      attemptOnce(opened.grant.id, unwanted, commandParts({ context, state, upstream })),
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

/** Ctrl-C ends the wait. A sent request completes, or its rotated refresh token would be lost. */
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

/** Reason that a credential with a refresh token cannot be refreshed, and a remedy. */
interface RefreshGap {
  readonly sentence: string;
  readonly hint: string;
}

/**
 * Returns the missing part; null: nothing is missing, or there is nothing to refresh. The client secret is read when it
 * is needed.
 */
export function refreshGapOf(credential: Credential, provider: Provider): RefreshGap | null {
  if (credential.type !== 'oauth2' || credential.refreshToken === null) return null;
  const { name } = provider;
  if ((credential.tokenEndpoint ?? provider.tokenEndpoint) === null) {
    return {
      sentence: `The refresh token is of no use: nothing says where the provider ${name} issues tokens.`,
      hint: `add "token_endpoint" to the JSON, or set providers.${name}.token_endpoint in the config file`,
    };
  }
  if ((credential.clientId ?? provider.clientId) === null) {
    return {
      sentence: `The refresh token is of no use: nothing says for which client the provider ${name} issued it.`,
      hint: `add "client_id" (and "client_secret") to the JSON, or set providers.${name}.client_id in the config file`,
    };
  }
  return null;
}

export interface ExtendOptions {
  readonly user?: string;
  readonly ttl?: string;
}

/**
 * `sidekey grant extend`: extends the end of a grant, counted from now, within its maximum. Never shortens
 * it, and does not affect the tokens of the provider.
 *
 * @throws SidekeyError errors of `pickGrant`; `input_invalid` if it has no such end, or no time is given or
 * set
 */
export async function extendGrant(
  { withState, output, now }: Context,
  reference: string,
  { user, ttl: span }: ExtendOptions,
): Promise<void> {
  const at = now();
  const asked = span === undefined ? null : readSpan('--ttl', span);
  const { grant, before, expiresAt, capped } = await withState(async ({ store, audit, grants }) => {
    const found = pickGrant(await grants.list(), { grant: reference, user });
    const policy = await store.grantPolicies.get(found.id);
    const end = policy?.expiresAt ?? null;
    if (end === null) {
      throw new SidekeyError(
        'input_invalid',
        `No end was set for ${titleOf(found)}: there is nothing to extend.`,
        {
          hint: `to set one: sidekey grant policy ${reference} --expires 30d`,
        },
      );
    }
    const maxMs = policy?.maxTtlMs ?? null;
    const wanted = asked ?? policy?.defaultTtlMs ?? maxMs;
    if (wanted === null) {
      throw new SidekeyError('input_invalid', 'The new end of the grant is missing.', {
        hint: `sidekey grant extend ${reference} --ttl 30d`,
      });
    }
    const isCapped = maxMs !== null && maxMs < wanted;
    const next = Math.max(end, at + (isCapped ? maxMs : wanted));
    const event = { event: 'grant.extended', grant: found.id, user: found.user } as const;
    await recordChange(audit, event, async () => {
      if (!(await store.grantPolicies.set(found.id, { expiresAt: next }))) throw grantGone();
    });
    return { grant: found, before: end, expiresAt: next, capped: isCapped ? maxMs : null };
  });
  const changed = expiresAt > before;
  const when = `${relativeTime(expiresAt, at)} (${dateTime(expiresAt)})`;
  output.result(
    {
      id: grant.id,
      name: grant.name,
      user: grant.user,
      expires_at: isoOrNull(expiresAt),
      changed,
      capped: capped !== null,
    },
    changed ? `${titleOf(grant)} ends ${when}.` : `${titleOf(grant)} ends ${when} as before: that is later.`,
  );
  if (capped !== null) {
    output.say(`More than ${spanText(capped)} from now is not allowed by the policy of the grant.`);
  }
}

/** Options of `grant policy`; `none` removes a value. */
export interface PolicyOptions {
  readonly user?: string;
  readonly expires?: string;
  readonly ttl?: string;
  readonly maxTtl?: string;
  readonly leaseTtl?: string;
  readonly maxLeaseTtl?: string;
  /** New labels; false: no labels. */
  readonly label?: readonly string[] | false;
}

/** `sidekey grant policy`: sets the policy of a grant, or prints it without options. */
export async function grantPolicy(
  { withState, withView, output, now }: Context,
  reference: string,
  options: PolicyOptions,
): Promise<void> {
  const at = now();
  const change = changeOf(options, at);
  const asked = { grant: reference, user: options.user };
  const { grant, policy } =
    Object.keys(change).length === 0
      ? await withView(async ({ store, grants }) => {
          const found = pickGrant(await grants(), asked);
          return { grant: found, policy: (await store?.grantPolicies.get(found.id)) ?? null };
        })
      : await withState(async ({ store, audit, grants }) => {
          const found = pickGrant(await grants.list(), asked);
          const before = await store.grantPolicies.get(found.id);
          const reason = changeText(before, { ...(before ?? noPolicy(found.id)), ...change });
          const event = { event: 'grant.policy_changed', grant: found.id, user: found.user, reason } as const;
          await recordChange(audit, event, async () => {
            if (!(await store.grantPolicies.set(found.id, change))) throw grantGone();
          });
          return { grant: found, policy: await store.grantPolicies.get(found.id) };
        });
  const { 'given until': end, labels, ...spans } = policyRows(policy, at);
  output.result(
    { id: grant.id, name: grant.name, user: grant.user, ...policyJson(policy) },
    details(titleOf(grant), { 'given until': end ?? 'no end', ...spans, labels: labels ?? 'none' }),
  );
}

function changeOf(
  { expires, ttl, maxTtl, leaseTtl, maxLeaseTtl, label }: PolicyOptions,
  now: number,
): Partial<Omit<GrantPolicy, 'grantId'>> {
  if (Array.isArray(label)) for (const each of label) checkName('label', each);
  const change = {
    ...(expires === undefined
      ? {}
      : { expiresAt: expires === 'none' ? null : readEnd('--expires', expires, now) }),
    ...(ttl === undefined ? {} : { defaultTtlMs: spanOrNone('--ttl', ttl) }),
    ...(maxTtl === undefined ? {} : { maxTtlMs: spanOrNone('--max-ttl', maxTtl) }),
    ...(leaseTtl === undefined ? {} : { leaseDefaultMs: spanOrNone('--lease-ttl', leaseTtl) }),
    ...(maxLeaseTtl === undefined ? {} : { leaseMaxMs: spanOrNone('--max-lease-ttl', maxLeaseTtl) }),
    ...(label === undefined ? {} : { labels: label === false ? [] : [...new Set(label)] }),
  };
  const max = change.maxTtlMs ?? null;
  if (max !== null && change.expiresAt != null && change.expiresAt > now + max) {
    throw new SidekeyError('input_invalid', '--expires is later than --max-ttl allows.', {
      hint: `--expires ${spanText(max)}, or a longer --max-ttl`,
    });
  }
  return change;
}

function spanOrNone(option: string, text: string): number | null {
  return text === 'none' ? null : readSpan(option, text);
}

function noPolicy(grantId: string): GrantPolicy {
  const unset = {
    expiresAt: null,
    defaultTtlMs: null,
    maxTtlMs: null,
    leaseDefaultMs: null,
    leaseMaxMs: null,
  };
  return { grantId, ...unset, labels: [] };
}

interface CommandParts {
  readonly context: Pick<Context, 'now' | 'env'>;
  readonly state: State;
  readonly upstream: UpstreamClient;
}

/** Makes the parts of a refresh for one command. The config does not change during it. */
export function commandParts({ context: { now, env }, state, upstream }: CommandParts): RefreshParts {
  const parts = refreshParts(state, { config: () => state.config, fetch: () => upstream.fetch, now, env });
  return { ...parts, timers: systemTimers };
}
