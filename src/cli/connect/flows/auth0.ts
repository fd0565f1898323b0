/** A grant that is a login at Auth0. It gets tokens of accounts, and lists the accounts. */
import { consentInBrowser } from './authorization-code.ts';
import { commandParts, type ConnectRequest, type Obtain } from '../request.ts';
import { pickGrant } from '../../../operations/lookup.ts';
import { type Renewal, withoutToken } from '../../../domain/credential.ts';
import { type Grant, isName, titleOf } from '../../../domain/grant.ts';
import type { Provider } from '../../../domain/provider.ts';
import type { RefreshOutcome } from '../../../grants/oauth/refresh.ts';
import { planRefresh, type RefreshPlan } from '../../../grants/refresh-plan.ts';
import { type UseOutcome, useRefreshToken } from '../../../grants/refresh-token-use.ts';
import type { OpenedGrant } from '../../../grants/registry.ts';
import { replaceCommand } from '../../../grants/token-result.ts';
import { SidekeyError } from '../../../lib/errors.ts';
import {
  askForConnectionToken,
  knownConnection,
  type KnownConnection,
} from '../../../grants/oauth/auth0-connection.ts';
import {
  type AccountApi,
  type AccountTokenOutcome,
  askForAccountToken,
  beginConnection,
  type BegunConnection,
  checkConnectCallback,
  completeConnection,
  type ConnectedAccount,
  deleteAccount,
  listAccounts,
  listConnections,
  parseConnectCallback,
} from '../../../grants/oauth/auth0.ts';
import { type TokenIo } from '../../../grants/oauth/http.ts';
import { withDescription } from '../../../grants/oauth/description.ts';
import { scopesIn, ungrantedScopes } from '../../../grants/oauth/scopes.ts';
import { grantGone, type Obtained } from '../../../grants/keep.ts';

export type LoginParts = Pick<ConnectRequest, 'context' | 'state' | 'upstream'>;

export interface Auth0Login {
  readonly grant: Grant;
  readonly provider: Provider;
  readonly again: string;
}

/** Name or ID of a grant of this user. */
interface LoginReference {
  readonly via: string;
  readonly user: string;
}

export type ConnectionRenewal = Extract<Renewal, { readonly kind: 'auth0_connection' }>;

/** @throws SidekeyError `grant_missing`; `input_invalid` if the grant is no login at Auth0 */
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
    throw new SidekeyError('input_invalid', `The grant ${titleOf(grant)} is not a login at Auth0.`, {
      hint: 'log in first, with sidekey connect auth0, and name that grant: --via auth0',
    });
  }
  return { grant, provider, again: replaceCommand(grant, [], provider) };
}

function isAuth0(provider: Provider | undefined): boolean {
  return provider?.flows.includes('auth0_connection') === true;
}

/**
 * Opens the My Account API for the user of the login. Stores a rotated refresh token.
 *
 * @param waiting aborted when the caller gives up
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
 * Requests the token of a connected account in the same way as later renewals.
 *
 * @throws SidekeyError `config_invalid`
 */
export async function askForAccount(
  renewal: ConnectionRenewal,
  provider: Provider,
  parts: LoginParts,
): Promise<RefreshOutcome> {
  const credential = withoutToken(renewal, parts.context.now());
  const plan = await planRefresh({ provider: provider.name, credential, scopes: [] }, commandParts(parts));
  if (plan.kind === 'ask' && plan.request.kind === 'auth0_connection') {
    const signal = AbortSignal.timeout(parts.state.config.limits.refresh_timeout);
    return askForConnectionToken(plan.request, { ...tokenIo(parts), signal });
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
    : new SidekeyError('input_invalid', 'The grant is not a login at Auth0.', {
        hint: 'log in first, with sidekey connect auth0, and name that grant: --via auth0',
      });
}

type GivenToken = Extract<AccountTokenOutcome, { readonly kind: 'token' }>;

function useOf(outcome: AccountTokenOutcome): UseOutcome<GivenToken> {
  switch (outcome.kind) {
    case 'token':
      return { kind: 'done', value: outcome, refreshToken: outcome.refreshToken };
    case 'refused': {
      if (outcome.ends !== undefined) return { kind: 'refused', description: outcome.description };
      const said = withDescription(outcome.error, outcome.description);
      throw new SidekeyError('provider_refused', `Auth0 gave no token for its My Account API (${said}).`, {
        hint: 'let the application use the My Account API: docs/auth0-token-vault.md',
      });
    }
    case 'later':
      throw new SidekeyError('upstream_unreachable', `Auth0 cannot be asked now: ${outcome.reason}.`, {
        hint: 'try again later',
      });
  }
}

function tokenIo({ upstream, context: { now } }: LoginParts): TokenIo {
  return { fetch: upstream.fetch, now };
}

/** Detail of a grant with the id of its account at Auth0. */
export const accountDetail = 'connected_account';

/** Uses a connected account that has the scopes, else connects one in a browser, with its scopes added. */
export const obtainViaAuth0: Obtain = async (request) => {
  const { options, user, provider, existing, context, signal } = request;
  const login = await findLogin(request, { via: options.via ?? '', user });
  const api = await openAccountApi(login, request, signal);
  const waiting = until(signal, api);
  const known = knownConnection(provider.authorizationEndpoint);
  const former = formerRenewal(existing, login);
  const connection =
    options.connection ?? former?.connection ?? known?.name ?? (await namelessConnection(waiting, provider));
  const formerHint = former?.connection === connection ? former.loginHint : null;
  const renewal: ConnectionRenewal = {
    kind: 'auth0_connection',
    via: login.grant.id,
    connection,
    loginHint: options.loginHint ?? formerHint,
  };
  const wanted = wantedScopes(request, known);
  const accounts = await listAccounts(waiting, connection);
  const account = chosen(accounts, wanted, existing?.sealed.details?.[accountDetail]);
  if (accounts.length > 1 && renewal.loginHint === null) {
    context.output.say(
      `Note: several accounts of ${connection} are connected, and Auth0 chooses one.\n  → name one with --login-hint`,
    );
  }
  let held = account?.scopes ?? [];
  if (account !== null && ungrantedScopes(wanted, held).length === 0) {
    const outcome = await askForAccount(renewal, provider, request);
    const isKnown = accounts.length === 1;
    const result =
      outcome.kind === 'refused' && outcome.ends === 'grant'
        ? null
        : obtained(outcome, { renewal, account, isKnown, login, request });
    // Auth0 may have no token for the account, or one of another account. It must be connected again.
    if (result !== null && ungrantedScopes(wanted, result.scopes).length === 0) return result;
    held = [...held, ...(result?.scopes ?? [])];
  }
  const scopes = [...new Set([...wanted, ...(known?.takesScopes === false ? [] : held)])];
  const isKnown = (connected: ConnectedAccount) => accounts.every(({ id }) => id === connected.id);
  return connectInBrowser({ api, login, renewal, scopes, isKnown }, request);
};

/** Scopes for the account's own provider. */
function wantedScopes({ scopes, context }: ConnectRequest, known: KnownConnection | null): readonly string[] {
  if (scopes.length === 0) return [];
  if (known?.takesScopes === false) {
    context.output.say(
      `Note: the connection ${known.name} accepts no scopes; the registration of its app decides what its tokens may do.`,
    );
    return [];
  }
  return [...new Set([...scopes, ...(known?.alwaysScopes ?? [])])];
}

function chosen(
  accounts: readonly ConnectedAccount[],
  wanted: readonly string[],
  former: string | undefined,
): ConnectedAccount | null {
  return (
    accounts.find(({ id }) => id === former) ??
    accounts.find(({ scopes }) => ungrantedScopes(wanted, scopes).length === 0) ??
    accounts[0] ??
    null
  );
}

/** Returns the renewal of the existing grant, which keeps its account. */
function formerRenewal(existing: OpenedGrant | null, login: Auth0Login): ConnectionRenewal | null {
  const renewal = existing === null ? null : connectionOf(existing);
  return renewal?.via === login.grant.id ? renewal : null;
}

async function namelessConnection(api: AccountApi, provider: Provider): Promise<never> {
  const names = await listConnections(api);
  const which = names.length === 0 ? 'it has none' : `it has ${names.join(', ')}`;
  throw new SidekeyError(
    'input_invalid',
    `It is not known what the connection for ${provider.title} is called at Auth0; ${which}.`,
    { hint: 'name it: --connection NAME' },
  );
}

interface Connecting {
  readonly api: AccountApi;
  readonly login: Auth0Login;
  readonly renewal: ConnectionRenewal;
  readonly scopes: readonly string[];
  /** Reports whether the renewal is surely for the connected account. */
  readonly isKnown: (connected: ConnectedAccount) => boolean;
}

function connectInBrowser(
  { api, login, renewal, scopes, isKnown }: Connecting,
  request: ConnectRequest,
): Promise<Obtained> {
  const { connection } = renewal;
  const kept: { begun?: BegunConnection } = {};
  // The redirect URI is registered with the client of the login.
  const { redirectUri: registered, redirectUriType } = login.provider;
  const provider = { ...request.provider, redirectUri: registered, redirectUriType };
  return consentInBrowser<Obtained>(
    { ...request, provider },
    {
      async begin(redirectUri) {
        const begun = await beginConnection(until(request.signal, api), { connection, redirectUri, scopes });
        kept.begun = begun;
        return { url: begun.url, state: begun.state, takesBareCode: true, read: parseConnectCallback };
      },
      async finish(callback) {
        const { begun } = kept;
        if (begun === undefined) throw new SidekeyError('internal', 'A consent ended before it began.');
        const code = checkConnectCallback(callback, { provider: login.provider, ...begun });
        // Ignores Ctrl-C and the time limit, because the code cannot be sent twice.
        const bounded = until(AbortSignal.timeout(request.state.config.limits.refresh_timeout), api);
        const account = await completeConnection(bounded, begun, code);
        const outcome = await askForAccount(renewal, request.provider, request);
        return obtained(outcome, { renewal, account, isKnown: isKnown(account), login, request });
      },
      page: () => ({
        title: `${request.provider.title} is connected`,
        says: [
          `Auth0 keeps the account. Sidekey gets its tokens, as the grant ${request.name}.`,
          'You may close this window.',
        ],
      }),
    },
  );
}

function until(signal: AbortSignal, api: AccountApi): AccountApi {
  return { ...api, io: { ...api.io, signal } };
}

interface Connected {
  readonly renewal: ConnectionRenewal;
  readonly account: ConnectedAccount;
  /** False: several accounts are connected, and the token names none. No account is stored to disconnect. */
  readonly isKnown: boolean;
  readonly login: Auth0Login;
  readonly request: ConnectRequest;
}

/** @throws SidekeyError `provider_refused`, `reauth_required`, `upstream_unreachable` */
function obtained(
  outcome: RefreshOutcome,
  { renewal, account, isKnown, login, request }: Connected,
): Obtained {
  switch (outcome.kind) {
    case 'renewed': {
      const { accessToken, expiresAt, obtainedAt, scope } = outcome;
      return {
        credential: {
          ...withoutToken(renewal, obtainedAt),
          accessToken,
          expiresAt,
          scope: scope ?? (account.scopes.length === 0 ? null : account.scopes.join(' ')),
        },
        scopes: scopesIn(scope) ?? account.scopes,
        details: isKnown ? { [accountDetail]: account.id } : {},
      };
    }
    case 'refused':
      if (outcome.ends === undefined)
        throw noToken(request, withDescription(outcome.error, outcome.description));
      if (outcome.ends === 'grant') throw noToken(request, outcome.description);
      throw new SidekeyError(
        'reauth_required',
        `The login "${login.grant.name}" has ended: ${outcome.description}.`,
        { hint: login.again },
      );
    case 'later':
      throw new SidekeyError('upstream_unreachable', `Auth0 cannot be asked now: ${outcome.reason}.`, {
        hint: 'the account is connected; run the same command again later',
      });
  }
}

function noToken({ provider }: ConnectRequest, said: string): SidekeyError {
  return new SidekeyError(
    'provider_refused',
    `Auth0 has the account, and gave no token of ${provider.title} (${said}).`,
    {
      hint: 'let the application use the Token Vault grant type, without refresh token rotation: docs/auth0-token-vault.md',
    },
  );
}

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
  const opening = await openAccountApi(login, parts, signal);
  const api = { ...opening, io: { ...opening.io, signal } };
  const accounts = await listAccounts(api, renewal.connection);
  const known = opened.sealed.details?.[accountDetail];
  const [only, ...others] = known === undefined ? accounts : accounts.filter(({ id }) => id === known);
  if (only === undefined) return { kind: 'gone' };
  if (others.length > 0) {
    throw new SidekeyError(
      'input_invalid',
      `Several accounts of ${renewal.connection} are connected, and it is not known which is that of the grant "${opened.grant.name}".`,
      { hint: 'disconnect it in the dashboard of Auth0' },
    );
  }
  await deleteAccount(api, only.id);
  return { kind: 'disconnected' };
}
