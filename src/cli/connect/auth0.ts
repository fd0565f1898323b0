import { withoutToken } from '../../grants/credential.ts';
import type { Provider } from '../../grants/provider.ts';
import type { OpenedGrant } from '../../grants/registry.ts';
import { SidekeyError } from '../../lib/errors.ts';
import {
  type ConnectionOutcome,
  knownConnection,
  type KnownConnection,
} from '../../oauth/auth0-connection.ts';
import {
  type AccountApi,
  beginConnection,
  type BegunConnection,
  completeConnection,
  type ConnectedAccount,
  deleteAccount,
  listAccounts,
  listConnections,
} from '../../oauth/auth0.ts';
import { checkConnectCallback, parseConnectCallback } from '../../oauth/authorization-code.ts';
import { withDescription } from '../../oauth/http.ts';
import { scopesIn, ungrantedScopes } from '../../oauth/scopes.ts';
import {
  askForAccount,
  type Auth0Login,
  connectionOf,
  type ConnectionRenewal,
  findLogin,
  type LoginParts,
  openAccountApi,
} from './auth0-login.ts';
import { consentInBrowser } from './authorization-code.ts';
import type { ConnectRequest, Obtain, Obtained } from './flow.ts';

/**
 * `sidekey connect NAME --via LOGIN`: an account that its owner connects at Auth0, whose tokens Auth0 Token Vault hands
 * out for the refresh token of the login.
 */

/** The detail of a grant that says which account it is: its id at Auth0. */
export const accountDetail = 'connected_account';

/**
 * Uses an account that is connected already where it has the scopes; else a browser connects it, with the scopes that it
 * has and those that are asked for.
 */
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
      outcome.kind === 'account_gone'
        ? null
        : obtained(outcome, { renewal, account, isKnown, login, request });
    // Auth0 may have the account and no token of it any more, or the token of another one: it has to be connected again.
    if (result !== null && ungrantedScopes(wanted, result.scopes).length === 0) return result;
    held = [...held, ...(result?.scopes ?? [])];
  }
  const scopes = [...new Set([...wanted, ...(known?.takesScopes === false ? [] : held)])];
  const isKnown = (connected: ConnectedAccount) => accounts.every(({ id }) => id === connected.id);
  return connectInBrowser({ api, login, renewal, scopes, isKnown }, request);
};

/** What is asked for at the account's own provider. */
function wantedScopes({ scopes, context }: ConnectRequest, known: KnownConnection | null): readonly string[] {
  if (scopes.length === 0) return [];
  if (known?.takesScopes === false) {
    context.output.say(
      `Note: the connection ${known.name} takes no scopes; what its tokens may do is settled where its app is registered.`,
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

/** Connected again, a grant stays with the account that it was for. */
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
  /** Whether it is certain that the renewal is for the account that was connected. */
  readonly isKnown: (connected: ConnectedAccount) => boolean;
}

function connectInBrowser(
  { api, login, renewal, scopes, isKnown }: Connecting,
  request: ConnectRequest,
): Promise<Obtained> {
  const { connection } = renewal;
  const kept: { begun?: BegunConnection } = {};
  // The redirect URI is registered with the client of the login.
  const { redirectUri: registered, redirect } = login.provider;
  const provider = { ...request.provider, redirectUri: registered, redirect };
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
        // Not the signal that Ctrl-C and the time limit abort: the code is used up when it has left.
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
  /** False: Auth0 does not say which of several accounts a token is of; so none is named that could be disconnected. */
  readonly isKnown: boolean;
  readonly login: Auth0Login;
  readonly request: ConnectRequest;
}

/** @throws SidekeyError `provider_refused`, `reauth_required`, `upstream_unreachable` */
function obtained(
  outcome: ConnectionOutcome,
  { renewal, account, isKnown, login, request }: Connected,
): Obtained {
  switch (outcome.kind) {
    case 'refreshed': {
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
    case 'login_ended':
      throw new SidekeyError(
        'reauth_required',
        `The login "${login.grant.name}" has ended: ${outcome.description}.`,
        { hint: login.again },
      );
    case 'account_gone':
      throw noToken(request, outcome.description);
    case 'refused':
      throw noToken(request, withDescription(outcome.error, outcome.description));
    case 'transient':
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

/** What came of disconnecting an account. */
type Disconnected =
  /** Auth0 has forgotten its tokens. The account's own provider is not told: Auth0 does not revoke them there. */
  | { readonly kind: 'disconnected' }
  /** It was not connected any more. */
  | { readonly kind: 'gone' };

/**
 * Disconnects the account of such a grant at Auth0: the upstream half of revoking it. Other grants of the same account
 * end with it. The grant itself is left alone.
 *
 * @throws SidekeyError `input_invalid`: the grant is of no such account, or it is not known which; `grant_missing`: the
 * login was removed; as `openAccountApi` and the functions of the My Account API
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
