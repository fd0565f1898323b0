/** A grant that is a login at Auth0, and what can be done with it: ask for tokens of accounts, and for the accounts. */
import type { ConnectRequest } from './flow.ts';
import { titleOf } from '../grant/format.ts';
import { commandParts } from '../grant/refresh.ts';
import { grantGone, pickGrant } from '../pick.ts';
import { type Renewal, withoutToken } from '../../grants/credential.ts';
import { type Grant, isName } from '../../grants/grant.ts';
import type { Provider } from '../../grants/provider.ts';
import { planRefresh, type RefreshPlan } from '../../grants/refresh-plan.ts';
import { type UseOutcome, useRefreshToken } from '../../grants/refresh-token-use.ts';
import type { OpenedGrant } from '../../grants/registry.ts';
import { replaceCommand } from '../../grants/token-result.ts';
import { SidekeyError } from '../../lib/errors.ts';
import { askForConnectionToken, type ConnectionOutcome } from '../../oauth/auth0-connection.ts';
import { type AccountApi, type AccountTokenOutcome, askForAccountToken } from '../../oauth/auth0.ts';
import { type TokenIo, withDescription } from '../../oauth/http.ts';

/** What a login is used with. */
export type LoginParts = Pick<ConnectRequest, 'context' | 'state' | 'upstream'>;

/** A login. */
export interface Auth0Login {
  readonly grant: Grant;
  /** The one that it is at. */
  readonly provider: Provider;
  /** The command that logs in again. */
  readonly again: string;
}

/** Which grant is meant: by name or id, of this user alone. */
interface LoginReference {
  readonly via: string;
  readonly user: string;
}

/** The renewal of a grant that lives on a login. */
export type ConnectionRenewal = Extract<Renewal, { readonly kind: 'auth0_connection' }>;

/** @throws SidekeyError `grant_missing`; `input_invalid` where the grant is no login at Auth0 */
export async function findLogin({ state }: LoginParts, { via, user }: LoginReference): Promise<Auth0Login> {
  const { providers } = state.config;
  const own = (await state.grants.list()).filter((grant) => grant.user === user);
  if (isName(via) && !own.some(({ id, name }) => id === via || name === via)) {
    const provider = isAuth0(providers.get(via)) ? via : 'auth0';
    throw new SidekeyError('grant_missing', `There is no login ${via} yet.`, {
      hint: `log in first: ${replaceCommand({ name: via, user, provider }, [], providers.get(provider))}`,
    });
  }
  const grant = pickGrant(own, { grant: via, user });
  const provider = providers.get(grant.provider);
  if (provider === undefined || !isAuth0(provider)) {
    throw new SidekeyError('input_invalid', `The grant ${titleOf(grant)} is no login at Auth0.`, {
      hint: 'log in first, with sidekey connect auth0, and name that grant: --via auth0',
    });
  }
  return { grant, provider, again: replaceCommand(grant, [], provider) };
}

function isAuth0(provider: Provider | undefined): boolean {
  return provider?.flows.includes('auth0_connection') === true;
}

/**
 * The My Account API, for the user of the login. A refresh token that is rotated on the way is kept.
 *
 * @param waiting aborted: nobody waits for it any more
 * @throws SidekeyError as `useRefreshToken`; `provider_refused`, `upstream_unreachable`, `config_invalid`
 */
export async function openAccountApi(
  { grant, again }: Auth0Login,
  parts: LoginParts,
  waiting: AbortSignal,
): Promise<AccountApi> {
  const io = tokenIo(parts);
  const opened = await parts.state.grants.read(grant.id);
  if (opened === null) throw grantGone();
  // Before the lock: a client secret may come from a command that takes its time.
  const plan = await planOf(opened, parts);
  const token = await useRefreshToken(
    {
      grantId: grant.id,
      purpose: 'used for the My Account API of Auth0',
      again,
      ask: async (_grant, refreshToken, { signal }) => {
        const { endpoint, client, dialect } = askable(plan);
        return useOf(
          await askForAccountToken({ endpoint, client, dialect, refreshToken }, { ...io, signal }),
        );
      },
    },
    commandParts(parts),
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
  return { at: askable(plan).endpoint, accessToken: token.accessToken, io };
}

/**
 * The token of a connected account, asked for as every later one is.
 *
 * @throws SidekeyError `config_invalid`
 */
export async function askForAccount(
  renewal: ConnectionRenewal,
  provider: Provider,
  parts: LoginParts,
): Promise<ConnectionOutcome> {
  const credential = withoutToken(renewal, parts.context.now());
  const plan = await planRefresh({ provider: provider.name, credential, scopes: [] }, commandParts(parts));
  if (plan.kind === 'ask' && plan.request.kind === 'auth0_connection') {
    const signal = AbortSignal.timeout(parts.state.config.limits.refresh_timeout);
    return askForConnectionToken(plan.request, { ...tokenIo(parts), signal });
  }
  throw unplanned(plan);
}

/** How a grant lives on a login at Auth0; null: it does not. */
export function connectionOf({ sealed }: OpenedGrant): ConnectionRenewal | null {
  const { credential } = sealed;
  const renewal = credential.type === 'oauth2' ? credential.renewal : undefined;
  return renewal?.kind === 'auth0_connection' ? renewal : null;
}

async function planOf({ grant, sealed }: OpenedGrant, parts: LoginParts): Promise<RefreshPlan | null> {
  const { credential } = sealed;
  // What cannot be used at all is told by who would use it.
  if (credential.type !== 'oauth2' || credential.refreshToken === null) return null;
  return planRefresh({ provider: grant.provider, credential, scopes: grant.scopes }, commandParts(parts));
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
    : new SidekeyError('input_invalid', 'The grant is no login at Auth0.', {
        hint: 'log in first, with sidekey connect auth0, and name that grant: --via auth0',
      });
}

type GivenToken = Extract<AccountTokenOutcome, { readonly kind: 'token' }>;

function useOf(outcome: AccountTokenOutcome): UseOutcome<GivenToken> {
  switch (outcome.kind) {
    case 'token':
      return { kind: 'done', value: outcome, refreshToken: outcome.refreshToken };
    case 'login_ended':
      return { kind: 'invalid_grant', description: outcome.description };
    case 'refused': {
      const said = withDescription(outcome.error, outcome.description);
      throw new SidekeyError('provider_refused', `Auth0 gave no token for its My Account API (${said}).`, {
        hint: 'let the application use the My Account API: docs/auth0-token-vault.md',
      });
    }
    case 'transient':
      throw new SidekeyError('upstream_unreachable', `Auth0 cannot be asked now: ${outcome.reason}.`, {
        hint: 'try again later',
      });
  }
}

function tokenIo({ upstream, context: { now } }: LoginParts): TokenIo {
  return { fetch: upstream.fetch, now };
}
