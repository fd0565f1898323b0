import { isLeaseFor, leaseStanding, reachesGrant } from '../../domain/lease.ts';
import { grantEnded, laterCommand } from '../../agents/permissions.ts';
import type { Context } from '../context.ts';
import { details, table } from '../display.ts';
import {
  dateTime,
  expiryOf,
  isoOrNull,
  isoTime,
  lastUse,
  relativeTime,
  shortId,
} from '../../operations/format.ts';
import {
  accountText,
  certificateRows,
  clockJson,
  clockRows,
  clocksOf,
  settingsJson,
  settingsRows,
  scopesOf,
} from './format.ts';
import { certificateAnswer, grantAnswer, stateOf, renewedBy } from '../../operations/grant-answer.ts';
import { type PlaceholderOptions, showPlaceholder } from './placeholder.ts';
import { leaseEndText } from '../../operations/lease-text.ts';
import { domainsOf, pickGrant } from '../../operations/lookup.ts';
import { carriedAs } from '../../proxy/schemes/placement.ts';
import { type ProxyConfig, tokenlessCallers } from '../../config/proxy.ts';
import { accountOf, type Credential, type DpopAlgorithm } from '../../domain/credential.ts';
import type { View } from '../../app/state.ts';
import { type Grant, titleOf } from '../../domain/grant.ts';
import { consentCommand } from '../../grants/messages.ts';
import type { Provider } from '../../domain/provider.ts';
import { settingsOf } from '../../grants/metadata.ts';
import type { OpenedGrant } from '../../grants/registry.ts';
import { describeSource } from '../../grants/sources/source.ts';
import { replaceCommand } from '../../grants/token-result.ts';
import { caughtFailure, SidekeyError } from '../../lib/errors.ts';
import { isScope, ungrantedScopes } from '../../grants/oauth/scopes.ts';
import { createFingerprint } from '../../proxy/schemes/apply.ts';
import { proofKey } from '../../proxy/schemes/dpop-proof.ts';
import type { AgentRecord, GrantActivity, LeaseRecord, Rights } from '../../store/store.ts';
import { grantGone } from '../../grants/keep.ts';

/** `sidekey grant show`. @throws as `pickGrant` and the vault */
async function showGrant(context: Context, reference: string, user: string | undefined): Promise<void> {
  const { withView, output, now } = context;
  const at = now();
  const found = await withView(async (view) => {
    const grants = await view.grants();
    const { id } = pickGrant(grants, { grant: reference, user });
    const [vault, registry] = await Promise.all([view.vault(), view.registry()]);
    const opened = (await registry?.read(id)) ?? null;
    if (vault === null || opened === null) throw grantGone();
    const { grant, sealed } = opened;
    const { providers, tokens, domains } = view.config;
    const provider = providers.get(grant.provider);
    const activity = (await view.store?.activity.get(id)) ?? null;
    const rights = (await view.store?.rights.read()) ?? null;
    const fingerprint = createFingerprint((secret) => vault.mac('credential-fingerprint', secret));
    return {
      grant,
      account: sealed.details ?? {},
      client: clientOf(sealed.credential, provider),
      certificate: {
        json: certificateAnswer(sealed.credential),
        rows: certificateRows(sealed.credential, at),
      },
      clocks: clocksOf(opened, { activity, dialect: provider?.dialect ?? null, tokens, now: at }),
      lacked: lackedBy(opened, activity, provider),
      renewed: renewedBy(sealed.credential),
      source: sealed.credential.type === 'source' ? describeSource(sealed.credential) : null,
      boundKey: boundKeyOf(sealed.credential),
      bound: boundKeyText(sealed.credential, provider),
      audience: sealed.audience,
      fingerprint: sealed.credential.type === 'source' ? null : fingerprint(sealed),
      domains: domainsOf(grant, grants, domains).map(({ pattern }) => pattern.text),
      policy: settingsOf(opened, rights?.policies.find(({ grantId }) => grantId === id) ?? null),
      reached: reachedBy(grant, rights, at),
      proxy: view.config.proxy,
      consentCommand: replaceCommand(grant, [], provider),
    };
  });
  const { grant, account, clocks, lacked, renewed, audience, fingerprint, domains, consentCommand } = found;
  const { policy, reached, proxy, certificate, boundKey, bound, client, source } = found;
  output.result(
    {
      ...grantAnswer(grant, at, policy),
      lacked_scopes: lackedJson(lacked),
      ...clockJson(clocks),
      renewed_by: renewed,
      source,
      dpop: boundKeyJson(boundKey),
      account: accountOf(account),
      account_details: account,
      grant_type: client.grantType,
      client_id: client.id,
      ...certificate.json,
      audience,
      fingerprint,
      domains,
      settings: settingsJson(policy),
      reached_by: reachedByJson(reached),
    },
    // Skipped for the API, where it would be a large part of the cost.
    () =>
      details(output.display, grant.name, {
        id: grant.id,
        provider: grant.provider,
        user: grant.user,
        account: accountText(account),
        type: grant.type,
        source,
        'grant type': client.grantType?.replaceAll('_', ' ') ?? null,
        'client id': client.id,
        ...certificate.rows,
        state: stateOf(grant, policy, at),
        because: grant.stateReason,
        scopes: scopesOf(grant),
        'missing scopes': lackedText(lacked, at),
        ...clockRows(grant, clocks, at),
        'renewed by': renewed?.replaceAll('_', ' ') ?? 'nothing',
        'bound to': bound,
        audience: audience.join(', '),
        'used by': domains.length === 0 ? 'no domain' : domains.join(', '),
        ...reachedByRows(reached, proxy, at),
        ...settingsRows(policy, at),
        fingerprint,
        created: `${dateTime(grant.createdAt)} (${relativeTime(grant.createdAt, at)})`,
        updated: `${dateTime(grant.updatedAt)} (${relativeTime(grant.updatedAt, at)})`,
        revision: String(grant.revision),
      }),
  );
  const ended = grantEnded(grant, policy, at);
  if (ended !== null) output.say(`${ended.message}\n  → ${ended.hint}`);
  if (clocks.next.what === 'consent') output.say(`  → ${consentCommand}`);
  if (lacked !== null) output.say(`  → ${lacked.command}`);
  if (domains.length === 0) output.say(`  → sidekey domain allow HOST --grant ${grant.name}`);
}

/** Returns the grant type and client id of an OAuth token; null if none or unknown. */
function clientOf(credential: Credential, provider: Provider | undefined) {
  if (credential.type !== 'oauth2') return { grantType: null, id: null };
  const { flow, renewal, clientId } = credential;
  return { grantType: flow ?? renewal?.kind ?? null, id: clientId ?? provider?.clientId ?? null };
}

/** Milliseconds before an end from which a warning is printed. */
const nearMs = 7 * 86_400_000;

/** `sidekey grant list`: all grants, or those of a user, or one. @throws as `pickGrant` and the vault */
export async function listGrants(
  context: Context,
  reference: string | undefined,
  { placeholder, ...options }: PlaceholderOptions & { readonly placeholder?: boolean },
): Promise<void> {
  const { user, ...forPlaceholder } = options;
  if (reference !== undefined && placeholder === true) return showPlaceholder(context, reference, options);
  if (placeholder === true || Object.keys(forPlaceholder).length > 0) {
    throw new SidekeyError(
      'input_invalid',
      '--agent, --lease and --form belong to --placeholder, which needs a grant.',
      {
        hint: `sidekey grant show ${reference ?? 'GRANT'} --placeholder`,
      },
    );
  }
  if (reference !== undefined) return showGrant(context, reference, user);
  const { withView, output, now } = context;
  const { grants, usedAt, policyOf, accounts, locked } = await withView(async (view) => {
    const activity = (await view.store?.activity.list()) ?? [];
    const uses = new Map(activity.map((each) => [each.grantId, each.usedAt]));
    const policies = (await view.store?.grantPolicies.list()) ?? [];
    const byGrant = new Map(policies.map((policy) => [policy.grantId, policy]));
    const listed = (await view.grants()).filter((grant) => user === undefined || grant.user === user);
    return {
      grants: listed,
      ...(await accountsOf(view, listed)),
      usedAt: (id: string) => uses.get(id) ?? null,
      policyOf: (id: string) => byGrant.get(id) ?? null,
    };
  });
  const at = now();
  const ending = grants.map((grant) => {
    const policy = policyOf(grant.id);
    return { grant, policy, end: policy?.expiresAt ?? null };
  });
  const hasEnds = ending.some(({ end }) => end !== null);
  const rows = ending.map(({ grant, policy, end }) => [
    grant.name,
    grant.provider,
    grant.user,
    ...(accounts.size === 0 ? [] : [accounts.get(grant.id) ?? '-']),
    stateOf(grant, policy, at),
    ...(locked === null ? [scopesOf(grant), expiryOf(grant, at), lastUse(usedAt(grant.id), at)] : []),
    ...(hasEnds ? [endText(end, at)] : []),
  ]);
  const near = ending.flatMap(({ grant, policy, end }) => {
    if (end === null || end - at > nearMs) return [];
    const verb = end <= at ? 'expired' : 'expires';
    return [`${titleOf(grant)} ${verb} ${relativeTime(end, at)}.`, `  → ${laterCommand(grant, policy)}`];
  });
  output.result(
    ending.map(({ grant, policy, end }) => ({
      ...grantAnswer(grant, at, policy),
      ...(locked === null ? {} : { scopes: null }),
      account: accounts.get(grant.id) ?? null,
      used_at: isoOrNull(usedAt(grant.id)),
      grant_expires_at: isoOrNull(end),
    })),
    () =>
      grants.length === 0
        ? 'There are no grants yet.\n  → sidekey connect PROVIDER'
        : [
            table(output.display, headings(accounts.size > 0, locked === null, hasEnds), rows, {
              least: ['USER', 'ACCOUNT', 'LAST USED', 'SCOPES', 'PROVIDER', 'TOKEN EXPIRES'],
            }),
            ...near,
          ].join('\n'),
  );
  if (locked === null) return;
  output.say(`Only names and states are shown, because the master key is not available: ${locked.message}`);
  output.say(`  → ${locked.hint}`);
}

function headings(hasAccounts: boolean, isOpen: boolean, hasEnds: boolean): string[] {
  const account = hasAccounts ? ['ACCOUNT'] : [];
  const facts = isOpen ? ['SCOPES', 'TOKEN EXPIRES', 'LAST USED'] : [];
  const end = hasEnds ? ['EXPIRES'] : [];
  return ['NAME', 'PROVIDER', 'USER', ...account, 'STATE', ...facts, ...end];
}

/** Returns account names by id of readable grants, and the failure of the master key (null: none). */
async function accountsOf(view: Pick<View, 'registry'>, grants: readonly Grant[]) {
  const accounts = new Map<string, string>();
  // The list works without a key, so that it helps to diagnose a failure of the key.
  const registry = await view.registry().catch(caughtFailure);
  if (registry instanceof SidekeyError) return { accounts, locked: registry };
  for (const { id } of registry === null ? [] : grants) {
    const opened = await registry?.read(id).catch(() => null);
    const account = accountOf(opened?.sealed.details);
    if (account !== null) accounts.set(id, account);
  }
  return { accounts, locked: null };
}

function endText(end: number | null, now: number): string {
  return end === null ? 'no end' : relativeTime(end, now);
}

/** Missing scopes in the last report of an upstream. */
interface Lacked {
  /** Milliseconds since the epoch. */
  readonly at: number;
  /** Empty: the upstream did not name them. */
  readonly scopes: readonly string[];
  readonly command: string;
}

/** Returns the lacking scopes; null: none, a report older than the consent, or scopes that it has now. */
export function lackedBy(
  { grant, sealed: { credential } }: OpenedGrant,
  activity: Pick<GrantActivity, 'lackedAt' | 'lacked'> | null,
  provider: Provider | undefined,
): Lacked | null {
  if (activity === null || activity.lackedAt === null) return null;
  const { lackedAt: at } = activity;
  // Keeps only valid scopes, because the store is not authenticated and users paste the command.
  const lacked = activity.lacked.filter(isScope);
  // A refresh returns the same scopes. Only a consent or a new credential changes them.
  const givenAt = credential.type === 'oauth2' ? credential.consentedAt : grant.updatedAt;
  if (givenAt !== undefined && givenAt >= at) return null;
  const scopes = givenAt === undefined ? ungrantedScopes(lacked, grant.scopes) : lacked;
  if (scopes.length === 0 && activity.lacked.length > 0) return null;
  return { at, scopes, command: consentCommand(grant, scopes, provider, credential) };
}

/** Text for a person: `read:org (2 h ago)`; null: no scope is lacking. */
export function lackedText(lacked: Lacked | null, now: number): string | null {
  if (lacked === null) return null;
  const { at, scopes } = lacked;
  return `${scopes.length === 0 ? 'not named' : scopes.join(' ')} (${relativeTime(at, now)})`;
}

function lackedJson(lacked: Lacked | null): Readonly<Record<string, unknown>> | null {
  return lacked === null ? null : { ...lacked, at: isoTime(lacked.at) };
}

/** Agents bound to a grant, and leases for it. */
interface ReachedBy {
  readonly agents: readonly AgentRecord[];
  readonly leases: readonly LeaseRecord[];
}

/** A lease counts only for grants that its agent also reaches. */
function reachedBy(grant: Grant, rights: Rights | null, now: number): ReachedBy {
  if (rights === null) return { agents: [], leases: [] };
  const labels = rights.policies.find(({ grantId }) => grantId === grant.id)?.labels ?? [];
  const agents = rights.agents.filter(({ name, user }) =>
    reachesGrant(
      rights.bindings.filter(({ agent }) => agent === name),
      user,
      grant,
      labels,
    ),
  );
  const leases = rights.leases.filter(
    (lease) =>
      isLeaseFor(lease, grant.id) &&
      (grant.lease === lease.id ||
        agents.some(({ name, disabledAt }) => name === lease.agent && disabledAt === null)) &&
      leaseStanding(lease, now).state === 'active',
  );
  return { agents, leases };
}

/** Rows of `grant show`. */
function reachedByRows(
  { agents, leases }: ReachedBy,
  proxy: Pick<ProxyConfig, 'authentication' | 'localCallers'>,
  now: number,
): Readonly<Record<string, string | null>> {
  const names = agents.map(({ name, disabledAt }) => (disabledAt === null ? name : `${name} (disabled)`));
  const tokenless = tokenlessCallers(proxy);
  if (tokenless !== null) names.push(`${tokenless} without a token`);
  return {
    'reached by': names.length === 0 ? 'no agent' : names.join(', '),
    'active leases':
      leases.length === 0
        ? null
        : leases
            .map((lease) => `${shortId(lease.id)} of ${lease.agent}, ends ${leaseEndText(lease, now)}`)
            .join('; '),
  };
}

function reachedByJson({ agents, leases }: ReachedBy): Readonly<Record<string, unknown>> {
  return {
    agents: agents.map(({ name, disabledAt }) => ({
      name,
      state: disabledAt === null ? 'enabled' : 'disabled',
    })),
    active_leases: leases.map(({ id, agent }) => ({ id, agent })),
  };
}

/** A key and its binding. */
interface BoundKey {
  readonly algorithm: DpopAlgorithm;
  /** RFC 7638 thumbprint. */
  readonly thumbprint: string;
  /** True: the current access token is bound to the key. */
  readonly isBound: boolean;
}

/** Returns the key; null: none. */
export function boundKeyOf(credential: Credential): BoundKey | null {
  if (credential.type !== 'oauth2' || credential.dpop === undefined) return null;
  const { key, isBound } = credential.dpop;
  const { algorithm, thumbprint } = proofKey(key);
  return { algorithm, thumbprint, isBound };
}

/** Reports whether a token is never sent: the provider requires a bound token, and this one is not bound. */
export function isUnbound(credential: Credential, provider: Provider | undefined): boolean {
  if (credential.type !== 'oauth2' || credential.accessToken === null) return false;
  return (provider?.dpop ?? null) !== null && credential.dpop?.isBound !== true;
}

function boundKeyJson(bound: BoundKey | null): unknown {
  if (bound === null) return null;
  const { algorithm, thumbprint, isBound } = bound;
  return { algorithm, thumbprint, token_bound: isBound };
}

/** Line about the key; null: nothing to report. */
function boundKeyText(credential: Credential, provider: Provider | undefined): string | null {
  const bound = boundKeyOf(credential);
  if (isUnbound(credential, provider)) return 'no key, though the provider is to bind its tokens to one';
  if (bound === null) return null;
  const { algorithm, thumbprint, isBound } = bound;
  return isBound
    ? `key ${thumbprint} (${algorithm}); ${carriedAs({ kind: 'dpop' })}`
    : `key ${thumbprint} (${algorithm}) from the next token on`;
}
