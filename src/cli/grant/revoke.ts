import type { State } from '../../app/state.ts';
import { recordChange } from '../../audit/log.ts';
import { dropDomains } from '../connect/allowed-domains.ts';
import { connectionOf, disconnectAccount } from '../connect/flows/auth0.ts';
import { type Context, withUpstreamClient } from '../context.ts';
import { grantAnswer } from '../../operations/grant-answer.ts';
import { domainsOf, pickGrant } from '../../operations/lookup.ts';
import type { OAuth2Credential } from '../../domain/credential.ts';
import { type Grant, titleOf } from '../../domain/grant.ts';
import type { Provider } from '../../domain/provider.ts';
import { createRefreshLock } from '../../grants/refresh-lock.ts';
import { clientOf } from '../../grants/refresh-plan.ts';
import type { OpenedGrant, Registry } from '../../grants/registry.ts';
import { replaceCommand } from '../../grants/token-result.ts';
import { failures } from '../../lib/failures.ts';
import { SidekeyError } from '../../lib/errors.ts';
import { shellWord, withoutStop } from '../../lib/text.ts';
import { systemTimers } from '../../lib/timers.ts';
import { revoke } from '../../grants/oauth/revocation.ts';
import type { UpstreamClient } from '../../proxy/upstream/client.ts';
import { grantGone } from '../../grants/keep.ts';

/**
 * `sidekey grant revoke`: ends the credential locally and at the provider. Exit code 5 if the provider part
 * failed.
 *
 * @throws SidekeyError errors of `pickGrant`; `audit_unavailable` if it cannot be recorded
 */
export async function revokeGrant(
  context: Context,
  reference: string,
  options: EndOptions,
): Promise<number | void> {
  const { withState, output, now } = context;
  const { grant, provider, there } = await withState(async (state) => {
    const { grants, audit, config } = state;
    const picked = pickGrant(await grants.list(), { grant: reference, user: options.user });
    const { id, user, provider: name } = picked;
    const provider = config.providers.get(name);
    if (picked.state === 'revoked') return { grant: picked, provider, there: null };
    const ended = await endGrant({ context, state }, id, options, () =>
      recordChange(audit, { event: 'grant.revoked', grant: id, user, provider: name }, () =>
        revokeOne(grants, id),
      ),
    );
    return { grant: ended.here, provider, there: ended.there };
  });
  output.result(
    { ...grantAnswer(grant, now()), changed: there !== null, at_provider: there?.kind ?? null },
    there === null
      ? `${titleOf(grant)} was revoked before; nothing has changed.`
      : `Revoked ${titleOf(grant)}${thereToo(there)}`,
  );
  if (there !== null && there.kind !== 'ended') output.say(there.sentence);
  output.say(`To use it again:\n  → ${replaceCommand(grant, [], provider)}`);
  return there?.kind === 'failed' ? failures.provider_refused.exit : undefined;
}

/** Overrides a concurrent refresh. */
async function revokeOne(grants: Registry, id: string): Promise<Grant> {
  for (;;) {
    const stored = await grants.read(id);
    if (stored === null) throw grantGone();
    const grant = await grants.setState(stored.grant, 'revoked', 'revoked at the command line');
    if (grant !== null) return grant;
  }
}

/**
 * `sidekey grant remove`: removes the grant locally, and revokes it at the provider. Exit code 5 if the
 * provider part failed.
 *
 * @throws SidekeyError errors of `pickGrant`; `audit_unavailable` if it cannot be recorded
 */
export async function removeGrant(
  context: Context,
  reference: string,
  options: EndOptions & { readonly domains?: boolean },
): Promise<number | void> {
  const { withState, output } = context;
  const { grant, domains, there, stranded } = await withState(async (state) => {
    const { grants, audit, config } = state;
    const all = await grants.list();
    const picked = pickGrant(all, { grant: reference, user: options.user });
    const { id, provider, user } = picked;
    const stranded = await livingOn(grants, all, id);
    // A revoked grant has no credential to revoke at the provider.
    const local = options.local === true || picked.state === 'revoked';
    const { there } = await endGrant({ context, state }, id, { local }, () =>
      recordChange(audit, { event: 'grant.removed', grant: id, user, provider }, async () => {
        if (!(await grants.remove(id))) throw grantGone();
      }),
    );
    // The domain keeps working if another grant replaces this one.
    const left = all.filter((other) => other.id !== id);
    const orphaned = domainsOf(picked, all, config.domains).filter(
      (domain) => !left.some((other) => domainsOf(other, left, [domain]).length > 0),
    );
    const domains = orphaned.map(({ pattern }) => pattern.text);
    if (options.domains === true && domains.length > 0) await dropDomains(context, state, domains);
    return { grant: picked, domains, there, stranded };
  });
  output.result(
    { id: grant.id, name: grant.name, user: grant.user, removed: true, at_provider: there.kind, domains },
    `Removed ${titleOf(grant)}${thereToo(there)}`,
  );
  if (there.kind !== 'ended' && grant.state !== 'revoked') output.say(there.sentence);
  if (stranded.length > 0) {
    output.say(
      `Grants that lived on this login get no new tokens any more: ${stranded.map(titleOf).join(', ')}.`,
    );
  }
  if (options.domains === true && domains.length > 0)
    output.say(`Removed from the map: ${domains.join(', ')}.`);
  else if (domains.length > 0) {
    output.say(`Requests to ${domains.join(', ')} are refused now: no grant is left for them.`);
    for (const domain of domains) output.say(`  → sidekey domain remove ${shellWord(domain)}`);
  }
  return there.kind === 'failed' ? failures.provider_refused.exit : undefined;
}

/** Returns the grants that are renewed with the refresh token of this one. */
async function livingOn(grants: Registry, all: readonly Grant[], login: string): Promise<readonly Grant[]> {
  const found: Grant[] = [];
  for (const grant of all) {
    const opened = grant.refreshable ? await grants.read(grant.id) : null;
    if (opened !== null && connectionOf(opened)?.via === login) found.push(grant);
  }
  return found;
}

/** Result of the revocation at the provider. Sentences contain no secret. */
type ProviderRevocation =
  | { readonly kind: 'ended' }
  /** The provider has no revocation endpoint. The sentence describes another way. */
  | { readonly kind: 'not told'; readonly sentence: string }
  /** Revocation failed: the token may still be valid at the provider. */
  | { readonly kind: 'failed'; readonly sentence: string };

/** Never rejects for an error of the provider or the network. */
async function revokeAtProvider(
  context: Context,
  state: State,
  opened: OpenedGrant,
): Promise<ProviderRevocation> {
  const { config } = state;
  const { credential } = opened.sealed;
  const provider = config.providers.get(opened.grant.provider);
  if (credential.type !== 'oauth2') return notTold(provider);
  try {
    return await withUpstreamClient(config, context.env, (upstream) => {
      const parts = { context, state, upstream };
      return connectionOf(opened) === null
        ? revokeTokens(opened, credential, parts)
        : disconnect(opened, parts);
    });
  } catch (error) {
    if (!(error instanceof SidekeyError)) throw error;
    return failed(provider?.title ?? opened.grant.provider, error.message);
  }
}

interface RevocationParts {
  readonly context: Context;
  readonly state: State;
  readonly upstream: UpstreamClient;
}

async function disconnect(opened: OpenedGrant, parts: RevocationParts): Promise<ProviderRevocation> {
  const { refresh_timeout: ms } = parts.state.config.limits;
  await disconnectAccount(opened, parts, AbortSignal.timeout(ms));
  return { kind: 'ended' };
}

async function revokeTokens(
  { grant }: OpenedGrant,
  credential: OAuth2Credential,
  { context, state, upstream }: RevocationParts,
): Promise<ProviderRevocation> {
  const { providers, limits } = state.config;
  const { accessToken, refreshToken, tokenEndpoint } = credential;
  const provider = providers.get(grant.provider);
  if (accessToken === null && refreshToken === null) return notTold(provider);
  // Never sends tokens of another server to the provider.
  const isOther = tokenEndpoint !== null && tokenEndpoint !== provider?.tokenEndpoint;
  if (provider === undefined || isOther) return notTold(provider);
  const outcome = await revoke(
    {
      endpoint: provider.revocationEndpoint,
      client: await clientOf({ provider: provider.name, credential, scopes: grant.scopes }, provider),
      dialect: provider.dialect,
      accessToken,
      refreshToken,
    },
    { fetch: upstream.fetch, now: context.now, signal: AbortSignal.timeout(limits.refresh_timeout) },
  );
  switch (outcome.kind) {
    case 'revoked':
      return { kind: 'ended' };
    case 'unsupported':
      return notTold(provider);
    case 'failed':
      return failed(provider.title, outcome.reason);
  }
}

function failed(title: string, reason: string): ProviderRevocation {
  return {
    kind: 'failed',
    sentence: `${title} was not told: ${withoutStop(reason)}. The token may still be valid there until you revoke it at the provider.`,
  };
}

function notTold(provider: Provider | undefined): ProviderRevocation {
  const title = provider?.title ?? 'The provider';
  const where = provider?.token?.url ?? null;
  return {
    kind: 'not told',
    sentence: `${title} has no revocation endpoint: revoke the credential there too, where others may know it${where === null ? '' : ` (${where.replace(/\/new$/, '')})`}.`,
  };
}

interface EndOptions {
  readonly user?: string;
  /** Skips the revocation at the provider. */
  readonly local?: boolean;
}

/** An ended grant. */
interface Ended<T> {
  /** Result of `endHere`. */
  readonly here: T;
  readonly there: ProviderRevocation;
}

/**
 * Ends a grant locally, then at its provider with its last credential. The lock prevents a concurrent
 * refresh. Another process's lock does not block the end.
 *
 * @throws SidekeyError `grant_missing`; errors of `endHere`
 */
async function endGrant<T>(
  { context, state }: Omit<RevocationParts, 'upstream'>,
  id: string,
  { local = false }: EndOptions,
  endHere: () => Promise<T>,
): Promise<Ended<T>> {
  const { store, config, grants } = state;
  const lock = createRefreshLock({ store, now: context.now, timers: systemTimers, limits: config.limits });
  const taken = await lock.take(id, { patient: true });
  try {
    const opened = await grants.read(id);
    if (opened === null) throw grantGone();
    const here = await endHere();
    const there: ProviderRevocation = local
      ? { kind: 'not told', sentence: 'The provider was not told.' }
      : await context.output.during('Telling the provider', () => revokeAtProvider(context, state, opened));
    return { here, there };
  } finally {
    if (taken === 'taken') await lock.release(id);
  }
}

/** The end of a sentence about a locally ended grant. */
function thereToo({ kind }: ProviderRevocation): string {
  return kind === 'ended'
    ? ', here and at the provider: its credential is no longer valid.'
    : ': Sidekey no longer sends its credential.';
}
