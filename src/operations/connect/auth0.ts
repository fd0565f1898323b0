import { withoutToken } from '../../domain/credential.ts';
import type { Provider } from '../../domain/provider.ts';
import type { Obtained } from '../../grants/keep.ts';
import { knownConnection, type KnownConnection } from '../../grants/oauth/auth0-connection.ts';
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
} from '../../grants/oauth/auth0.ts';
import { withDescription } from '../../grants/oauth/description.ts';
import type { RefreshOutcome } from '../../grants/oauth/refresh.ts';
import { scopesIn, ungrantedScopes } from '../../grants/oauth/scopes.ts';
import { inputInvalid, SidekeyError } from '../../lib/errors.ts';
import {
  accountDetail,
  askForAccount,
  type Auth0Login,
  connectionOf,
  type ConnectionRenewal,
  findLogin,
  openAccountApi,
} from '../auth0-login.ts';
import type { BrowserConsent } from './consent.ts';
import type { RedirectSettings } from './redirect.ts';
import type { ConnectRequest } from './request.ts';

/** Connects accounts at Auth0, with a grant that is a login there. */

type InBrowser = (provider: RedirectSettings, consent: BrowserConsent<Obtained>) => Promise<Obtained>;

/**
 * `connect NAME --via LOGIN`: uses a connected account that has the scopes, else connects one in a browser,
 * with its scopes added.
 */
export async function viaAuth0(request: ConnectRequest, inBrowser: InBrowser): Promise<Obtained> {
  const { options, user, provider, existing, output, parts, signal } = request;
  const login = await findLogin(parts, { via: options.via ?? '', user });
  const api = await openAccountApi(login, parts, signal);
  const known = knownConnection(provider.authorizationEndpoint);
  // The existing grant keeps its account.
  const renewed = existing && connectionOf(existing);
  const former = renewed?.via === login.grant.id ? renewed : null;
  const connection =
    options.connection ?? former?.connection ?? known?.name ?? (await namelessConnection(api, provider));
  const formerHint = former?.connection === connection ? former.loginHint : null;
  const loginHint = options.loginHint ?? formerHint;
  const renewal = { kind: 'auth0_connection', via: login.grant.id, connection, loginHint } as const;
  const wanted = wantedScopes(request, known);
  const accounts = await listAccounts(api, connection);
  const account = chosen(accounts, wanted, existing?.sealed.details?.[accountDetail]);
  if (accounts.length > 1 && loginHint === null) {
    output.say(
      `Note: several accounts of ${connection} are connected, and Auth0 chooses one.\n  → name one with --login-hint`,
    );
  }
  const connecting = { provider, login, renewal };
  let held = account?.scopes ?? [];
  if (account !== null && ungrantedScopes(wanted, held).length === 0) {
    const outcome = await askForAccount(renewal, provider, parts);
    const hasNone = outcome.kind === 'refused' && outcome.ends === 'grant';
    const result = hasNone ? null : obtained(outcome, account, accounts.length === 1, connecting);
    // Auth0 may have no token for the account, or one of another account. It must be connected again.
    if (result !== null && ungrantedScopes(wanted, result.scopes).length === 0) return result;
    held = [...held, ...(result?.scopes ?? [])];
  }
  const scopes = [...new Set([...wanted, ...(known?.takesScopes === false ? [] : held)])];
  let begun: BegunConnection | undefined;
  // The redirect URI is registered with the client of the login.
  const { redirectUri: registered, redirectUriType } = login.provider;
  return inBrowser(
    { ...provider, redirectUri: registered, redirectUriType },
    {
      async begin(redirectUri) {
        begun = await beginConnection(api, { connection, redirectUri, scopes });
        return { url: begun.url, state: begun.state, takesBareCode: true, read: parseConnectCallback };
      },
      async finish(callback) {
        if (begun === undefined) throw new SidekeyError('internal', 'A consent ended before it began.');
        const code = checkConnectCallback(callback, { provider: login.provider, ...begun });
        // Ignores Ctrl-C and the time limit, because the code cannot be sent twice.
        const io = { ...api.io, signal: AbortSignal.timeout(parts.limits.refresh_timeout) };
        const added = await completeConnection({ ...api, io }, begun, code);
        const isKnown = accounts.every(({ id }) => id === added.id);
        return obtained(await askForAccount(renewal, provider, parts), added, isKnown, connecting);
      },
    },
  );
}

/** Scopes for the account's own provider. */
function wantedScopes({ scopes, output }: ConnectRequest, known: KnownConnection | null): readonly string[] {
  if (scopes.length === 0) return [];
  if (known?.takesScopes !== false) return [...new Set([...scopes, ...(known?.alwaysScopes ?? [])])];
  output.say(
    `Note: the connection ${known.name} accepts no scopes; the registration of its app decides what its tokens may do.`,
  );
  return [];
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
  readonly provider: Provider;
  readonly login: Auth0Login;
  readonly renewal: ConnectionRenewal;
}

/**
 * Returns the token of a connected account.
 *
 * @param isKnown false: several accounts are connected, and the token names none. No account is stored to
 * disconnect.
 * @throws SidekeyError `provider_refused`, `reauth_required`, `upstream_unreachable`
 */
function obtained(
  outcome: RefreshOutcome,
  account: ConnectedAccount,
  isKnown: boolean,
  { provider, login, renewal }: Connecting,
): Obtained {
  switch (outcome.kind) {
    case 'renewed': {
      const { accessToken, expiresAt, obtainedAt, scope: granted } = outcome;
      const scope = granted ?? (account.scopes.length === 0 ? null : account.scopes.join(' '));
      return {
        credential: { ...withoutToken({ renewal }, obtainedAt), accessToken, expiresAt, scope },
        scopes: scopesIn(granted) ?? account.scopes,
        details: isKnown ? { [accountDetail]: account.id } : {},
      };
    }
    case 'refused': {
      if (outcome.ends === 'login') {
        throw new SidekeyError(
          'reauth_required',
          `The login "${login.grant.name}" has ended: ${outcome.description}.`,
          { hint: login.again },
        );
      }
      const { ends, description } = outcome;
      const why = ends === undefined ? withDescription(outcome.error, description) : description;
      const sentence = `Auth0 has the account, and gave no token of ${provider.title} (${why}).`;
      throw new SidekeyError('provider_refused', sentence, {
        hint: 'let the application use the Token Vault grant type, without refresh token rotation: docs/auth0-token-vault.md',
      });
    }
    case 'later':
      throw new SidekeyError('upstream_unreachable', `Auth0 cannot be asked now: ${outcome.reason}.`, {
        hint: 'the account is connected; run the same command again later',
      });
  }
}
