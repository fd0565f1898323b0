/** Connects accounts at Auth0, with a grant that is a login there. */
import { consentInBrowser } from './authorization-code.ts';
import { commandParts, type ConnectRequest, type Obtain } from '../request.ts';
import {
  accountDetail,
  askForAccount,
  type Auth0Login,
  connectionOf,
  type ConnectionRenewal,
  findLogin,
  type LoginParts,
  openAccountApi,
} from '../../../operations/auth0-login.ts';
import { withoutToken } from '../../../domain/credential.ts';
import type { Provider } from '../../../domain/provider.ts';
import type { RefreshOutcome } from '../../../grants/oauth/refresh.ts';
import { inputInvalid, SidekeyError } from '../../../lib/errors.ts';
import { knownConnection, type KnownConnection } from '../../../grants/oauth/auth0-connection.ts';
import {
  type AccountApi,
  beginConnection,
  type BegunConnection,
  checkConnectCallback,
  completeConnection,
  type ConnectedAccount,
  listAccounts,
  listConnections,
  parseConnectCallback,
} from '../../../grants/oauth/auth0.ts';
import { withDescription } from '../../../grants/oauth/description.ts';
import { scopesIn, ungrantedScopes } from '../../../grants/oauth/scopes.ts';
import type { Obtained } from '../../../grants/keep.ts';

function loginParts(request: ConnectRequest): LoginParts {
  return { ...commandParts(request), fetch: request.upstream.fetch };
}

/** Uses a connected account that has the scopes, else connects one in a browser, with its scopes added. */
export const obtainViaAuth0: Obtain = async (request) => {
  const { options, user, provider, existing, context, signal } = request;
  const parts = loginParts(request);
  const login = await findLogin(parts, { via: options.via ?? '', user });
  const api = await openAccountApi(login, parts, signal);
  const waiting = until(signal, api);
  const known = knownConnection(provider.authorizationEndpoint);
  // The existing grant keeps its account.
  const renewed = existing && connectionOf(existing);
  const former = renewed?.via === login.grant.id ? renewed : null;
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
    const outcome = await askForAccount(renewal, provider, parts);
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

async function namelessConnection(api: AccountApi, provider: Provider): Promise<never> {
  const names = await listConnections(api);
  const which = names.length === 0 ? 'it has none' : `it has ${names.join(', ')}`;
  throw inputInvalid(
    `It is not known what the connection for ${provider.title} is called at Auth0; ${which}.`,
    'name it: --connection NAME',
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
        const outcome = await askForAccount(renewal, request.provider, loginParts(request));
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
  const sentence = `Auth0 has the account, and gave no token of ${provider.title} (${said}).`;
  return new SidekeyError('provider_refused', sentence, {
    hint: 'let the application use the Token Vault grant type, without refresh token rotation: docs/auth0-token-vault.md',
  });
}
