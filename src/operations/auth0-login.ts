import { type Renewal, withoutToken, type OpenedGrant } from '../domain/credential.ts';
import { type Grant, isName, titleOf } from '../domain/grant.ts';
import type { Provider } from '../domain/provider.ts';
import { grantGone } from '../grants/keep.ts';
import { askForConnectionToken } from '../grants/oauth/auth0-connection.ts';
import {
  type AccountApi,
  type AccountTokenOutcome,
  askForAccountToken,
  deleteAccount,
  listAccounts,
} from '../grants/oauth/auth0.ts';
import { withDescription } from '../grants/oauth/description.ts';
import type { RefreshOutcome } from '../grants/oauth/refresh.ts';
import { planRefresh, type RefreshPlan } from '../grants/refresh-plan.ts';
import { type UseOutcome, useRefreshToken } from '../grants/refresh-token-use.ts';
import type { RefreshParts } from '../grants/refresh.ts';
import { replaceRemedy } from '../grants/token-result.ts';
import { inputInvalid, SidekeyError } from '../lib/errors.ts';
import { type Hint, hintOf, remedy } from '../lib/hint.ts';
import { findGrant } from './find.ts';

/** A grant that is a login at Auth0: it gets tokens of accounts that are connected there. */

/** Parts of a refresh, with its guarded `fetch`. */
export interface LoginParts extends RefreshParts {
  readonly fetch: typeof globalThis.fetch;
}

export interface Auth0Login {
  readonly grant: Grant;
  readonly provider: Provider;
  readonly again: Hint;
}

export type ConnectionRenewal = Extract<Renewal, { readonly kind: 'auth0_connection' }>;

/** @throws SidekeyError `grant_missing`; `input_invalid` if the grant is no login at Auth0 */
export async function findLogin(
  { registry, providers, store }: LoginParts,
  { via, user }: { readonly via: string; readonly user: string },
): Promise<Auth0Login> {
  const candidates = isName(via) ? await registry.find(via, { users: [user], ids: [] }) : [];
  if (isName(via) && !candidates.some(({ id, name }) => id === via || name === via)) {
    const provider = isAuth0(providers(via)) ? via : 'auth0';
    throw new SidekeyError('grant_missing', `There is no login ${via} yet.`, {
      hint: hintOf`log in first: ${replaceRemedy({ name: via, user, provider }, [], providers(provider))}`,
    });
  }
  const grant = await findGrant(store, { grant: via }, { user });
  const provider = providers(grant.provider);
  if (provider === undefined || !isAuth0(provider)) {
    throw new SidekeyError('input_invalid', `The grant ${titleOf(grant)} is not a login at Auth0.`, {
      hint: hintOf`log in first: ${remedy('connect', { provider: 'auth0' })}; then name that grant: ${remedy('connect', { provider: null, via: 'auth0' })}`,
    });
  }
  return { grant, provider, again: replaceRemedy(grant, [], provider) };
}

/** Reports whether grants of a provider are logins at Auth0. */
export function isAuth0(provider: Provider | undefined): boolean {
  return provider?.flows.includes('auth0_connection') === true;
}

/**
 * Opens the My Account API for the user of the login. Stores a rotated refresh token.
 *
 * @param waiting aborted when the caller gives up; also ends later requests
 * @throws SidekeyError as `useRefreshToken`; `provider_refused`, `upstream_unreachable`, `config_invalid`
 */
export async function openAccountApi(
  { grant, again }: Auth0Login,
  parts: LoginParts,
  waiting: AbortSignal,
): Promise<AccountApi> {
  const io = { fetch: parts.fetch, now: parts.now };
  const opened = await parts.registry.read(grant.id);
  if (opened === null) throw grantGone();
  // Before the lock, because a command that supplies the client secret may be slow.
  const plan = await planOf(opened, parts);
  const token = await useRefreshToken(
    {
      grantId: grant.id,
      purpose: 'used for the My Account API of Auth0',
      again,
      ask: async (_grant, refreshToken, locked) => {
        const { endpoint, client, dialect } = askable(plan);
        return useOf(
          await askForAccountToken({ endpoint, client, dialect, refreshToken }, { ...io, ...locked }),
        );
      },
    },
    parts,
    waiting,
  );
  waiting.throwIfAborted();
  if (token.missingScopes.length > 0) {
    throw new SidekeyError(
      'provider_refused',
      `Auth0 gave a token without ${token.missingScopes.join(', ')}.`,
      {
        hint: 'let the application use the My Account API with the refresh token of the login: docs/auth0-token-vault.md',
      },
    );
  }
  return { at: askable(plan).endpoint, accessToken: token.accessToken, io: { ...io, signal: waiting } };
}

/**
 * Requests the token of a connected account in the same way as later renewals.
 *
 * @throws SidekeyError `config_invalid`
 */
export async function askForAccount(
  renewal: ConnectionRenewal,
  provider: Provider,
  parts: LoginParts,
): Promise<RefreshOutcome> {
  const credential = withoutToken({ renewal }, parts.now());
  const plan = await planRefresh({ provider: provider.name, credential, scopes: [] }, parts);
  if (plan.kind === 'ask' && plan.request.kind === 'auth0_connection') {
    const signal = AbortSignal.timeout(parts.limits.refresh_timeout);
    return askForConnectionToken(plan.request, { fetch: parts.fetch, now: parts.now, signal });
  }
  throw unplanned(plan);
}

/** Returns the renewal of a grant through a login at Auth0; null: none. */
export function connectionOf({ sealed }: OpenedGrant): ConnectionRenewal | null {
  const { credential } = sealed;
  const renewal = credential.type === 'oauth2' ? credential.renewal : undefined;
  return renewal?.kind === 'auth0_connection' ? renewal : null;
}

async function planOf({ grant, sealed }: OpenedGrant, parts: LoginParts): Promise<RefreshPlan | null> {
  const { credential } = sealed;
  // The caller reports an unusable credential.
  if (credential.type !== 'oauth2' || credential.refreshToken === null) return null;
  return planRefresh({ provider: grant.provider, credential, scopes: grant.scopes }, parts);
}

function askable(plan: RefreshPlan | null) {
  if (plan?.kind === 'ask' && plan.request.kind === 'refresh_token') {
    const { endpoint, client, dialect } = plan.request;
    if (client !== null) return { endpoint, client, dialect };
  }
  throw unplanned(plan);
}

function unplanned(plan: RefreshPlan | null): SidekeyError {
  return plan?.kind === 'impossible'
    ? new SidekeyError('config_invalid', `Auth0 cannot be asked: ${plan.reason}.`, { hint: plan.hint })
    : new SidekeyError('input_invalid', 'The grant is not a login at Auth0.', {
        hint: hintOf`log in first: ${remedy('connect', { provider: 'auth0' })}; then name that grant: ${remedy('connect', { provider: null, via: 'auth0' })}`,
      });
}

type GivenToken = Extract<AccountTokenOutcome, { readonly kind: 'token' }>;

function useOf(outcome: AccountTokenOutcome): UseOutcome<GivenToken> {
  switch (outcome.kind) {
    case 'token':
      return { kind: 'done', value: outcome, refreshToken: outcome.refreshToken };
    case 'refused': {
      if (outcome.ends !== undefined) return { kind: 'refused', description: outcome.description };
      const reason = withDescription(outcome.error, outcome.description);
      const sentence = `Auth0 gave no token for its My Account API (${reason}).`;
      const failure = new SidekeyError('provider_refused', sentence, {
        hint: 'let the application use the My Account API: docs/auth0-token-vault.md',
      });
      return { kind: 'failed', failure, refreshToken: outcome.unusable?.refreshToken ?? null };
    }
    case 'later':
      throw new SidekeyError('upstream_unreachable', `Auth0 cannot be asked now: ${outcome.reason}.`, {
        hint: 'try again later',
      });
  }
}

/** Detail of a grant with the id of its account at Auth0. */
export const accountDetail = 'connected_account';

type Disconnected =
  /** Auth0 deletes its tokens, but does not revoke them at the account's own provider. */
  | { readonly kind: 'disconnected' }
  /** The account was already disconnected. */
  | { readonly kind: 'gone' };

/**
 * Disconnects the account of a grant at Auth0, as the upstream part of its revocation. Ends all grants of the
 * account, but does not change this grant.
 *
 * @throws SidekeyError `input_invalid`: the grant has no such account, or it is unknown; `grant_missing`: the
 * login was removed; errors of `openAccountApi` and of the My Account API
 */
export async function disconnectAccount(
  opened: OpenedGrant,
  parts: LoginParts,
  signal: AbortSignal,
): Promise<Disconnected> {
  const renewal = connectionOf(opened);
  if (renewal === null) {
    throw new SidekeyError('input_invalid', `The grant "${opened.grant.name}" is of no account at Auth0.`);
  }
  const login = await findLogin(parts, { via: renewal.via, user: opened.grant.user });
  const api = await openAccountApi(login, parts, signal);
  const accounts = await listAccounts(api, renewal.connection);
  const accountId = opened.sealed.details?.[accountDetail];
  const [only, ...others] =
    accountId === undefined ? accounts : accounts.filter(({ id }) => id === accountId);
  if (only === undefined) return { kind: 'gone' };
  if (others.length > 0) {
    throw inputInvalid(
      `Several accounts of ${renewal.connection} are connected, and it is not known which is that of the grant "${opened.grant.name}".`,
      'disconnect it in the dashboard of Auth0',
    );
  }
  await deleteAccount(api, only.id);
  return { kind: 'disconnected' };
}
