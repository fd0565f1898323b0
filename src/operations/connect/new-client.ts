import { readConfigText } from '../../config/load.ts';
import { displayName } from '../../config/problem.ts';
import { readSecret, referenceOption } from '../../config/secret-reference.ts';
import { putValue } from '../../config/yaml-splice.ts';
import { clientEndsSoon, type OpenedGrant } from '../../domain/credential.ts';
import type { Provider } from '../../domain/provider.ts';
import { type OwnClient, withClient } from '../../grants/keep.ts';
import { scopesFor } from '../../grants/consent.ts';
import { isClientRefusal } from '../../grants/messages.ts';
import { authorizationUrl, clientErrors } from '../../grants/oauth/authorization-code.ts';
import { type Discovered, discoverIssuer } from '../../grants/oauth/discovery.ts';
import type { DocumentIo } from '../../grants/oauth/http.ts';
import { readScopes } from '../../grants/oauth/scopes.ts';
import { registerClient } from '../../grants/oauth/registration.ts';
import { caughtFailure, inputInvalid, SidekeyError } from '../../lib/errors.ts';
import { failureOf } from '../grant-clocks.ts';
import { clientDocument, clientDocumentPath, covers } from './client-document.ts';
import { type ConfigParts, writeProvider } from './provider-settings.ts';
import { redirectUriToRegister } from './redirect.ts';
import type { ConnectOptions, ConnectState } from './request.ts';

/** Clients that no person registers: client ID metadata documents, and dynamic registration (RFC 7591). */

export interface NewClient extends Pick<Provider, 'clientAuth'> {
  readonly clientId: string;
  /** The only redirect URI of the client; null: any port of the loopback address. */
  readonly redirectUri: string | null;
  /** Part that only the grants store. */
  readonly own: OwnClient;
}

interface Wanted extends Pick<ConfigParts, 'config' | 'env'> {
  readonly server: Pick<Discovered, 'registrationEndpoint' | 'authMethods' | 'takesClientDocuments'>;
  readonly provider: Pick<Provider, 'issuer' | 'scopes' | 'authorizationEndpoint'>;
  /** Redirect URI of the consent. */
  readonly redirectUri: string;
  readonly options: ConnectOptions;
  readonly now: () => number;
}

/**
 * Returns a client for a server: the named document, else a registration, else the document at `admin.url`.
 *
 * @throws SidekeyError `provider_refused`; errors of `registerClient`
 */
export async function newClient(wanted: Wanted, io: DocumentIo): Promise<NewClient> {
  const { server, provider, redirectUri, options } = wanted;
  const { registrationEndpoint: endpoint, takesClientDocuments = false } = server;
  const fixed = options.redirectUri ?? null;
  const described = (clientId: string): NewClient => {
    return { clientId, clientAuth: 'none', redirectUri: fixed, own: { secret: null } };
  };
  const refused = (what: string, hint: string) =>
    new SidekeyError('provider_refused', `${provider.issuer ?? 'The provider'} ${what}.`, { hint });
  const { clientMetadataUrl: named } = options;
  if (named !== undefined) {
    if (takesClientDocuments) return described(named);
    const hint = `leave --client-metadata-url out; if the server takes them all the same: --client-id ${named}`;
    throw refused('takes no client ID metadata documents', hint);
  }
  const document = takesClientDocuments ? clientDocument((await wanted.config()).admin.url ?? '') : null;
  const fits = document?.redirect_uris.some((uri) => covers(uri, redirectUri)) === true;
  if (endpoint !== null) {
    const client = await register(endpoint, wanted, io).catch(caughtFailure);
    if (!(client instanceof SidekeyError)) return { redirectUri: fixed, ...client };
    if (!fits || client.code !== 'provider_refused') throw client;
  }
  if (document !== null && fits) return described(document.client_id);
  const orDocument = takesClientDocuments
    ? `give the address of a client ID metadata document: --client-metadata-url URL, or set admin.url to an https address that the server can reach (Sidekey serves one at ${clientDocumentPath}); or `
    : '';
  const byHand = `register one by hand, with the redirect URI ${redirectUri}, and give its id: --client-id ID --client-secret env:NAME`;
  throw refused('lets no client register itself', orDocument + byHand);
}

async function register(
  endpoint: string,
  { server, provider, redirectUri, options, env, now }: Wanted,
  io: DocumentIo,
): Promise<Omit<NewClient, 'redirectUri'>> {
  const { registrationToken: token } = options;
  const from = token === undefined ? null : referenceOption('--registration-token', token);
  const isDefault = options.redirectUri === undefined && redirectUri.startsWith('http://127.0.0.1:');
  // A registration with scopes limits later consents to them.
  const asked = provider.scopes.length > 0 && options.scope !== undefined ? readScopes(options.scope) : [];
  const scopes = [...new Set([...provider.scopes, ...asked])];
  const isForPeople = provider.authorizationEndpoint !== null;
  const client = await registerClient(
    {
      endpoint,
      // With and without the port: some servers compare it, others (RFC 8252 §7.3) do not.
      redirectUris: [redirectUri, ...(isDefault ? ['http://127.0.0.1/callback'] : [])],
      grantTypes: [...(isForPeople ? ['authorization_code'] : []), 'refresh_token'],
      authMethods: server.authMethods,
      scopes,
      initialAccessToken: from === null ? undefined : await readSecret(from, { env, cwd: process.cwd() }),
    },
    io,
  );
  const { clientSecret: secret, auth, secretExpiresAt: end = 0, ...rest } = client;
  // An expiry in the past is a mistake of the server: the secret was made now.
  const registered = { at: now(), auth, secretExpiresAt: end > now() ? end : null };
  return { ...rest, clientAuth: auth, own: { secret, registered } };
}

/** Refuses `--register` beside a client secret of the config file. @throws SidekeyError `input_invalid` */
export function assertNotByHand({ name, clientSecret }: Provider): void {
  if (clientSecret === null) return;
  const hint = `remove client_id and client_secret of providers.${name}, or leave --register out`;
  throw inputInvalid(`The provider ${name} has a client that was registered by hand.`, hint);
}

interface Reconnecting {
  readonly state: ConnectState;
  readonly existing: OpenedGrant | null;
  readonly options: ConnectOptions;
  readonly parts: Pick<ConfigParts, 'config' | 'env' | 'output'>;
}

/**
 * Registers a new client, if the server does not accept the client that Sidekey registered there, or soon
 * will not. Other grants keep the old client.
 *
 * @returns the provider with the new client, and the function that writes it to the config file; null: the
 * client is not to be replaced
 * @throws SidekeyError errors of `newClient`
 */
export async function renewedClient(provider: Provider, request: Reconnecting) {
  const { state, existing, options, parts } = request;
  const { issuer, name, title } = provider;
  // The secret of a client is lost if its first consent was not finished.
  const isLost =
    options.discover === true && provider.clientSecret === null && provider.clientAuth !== 'none';
  const isWanted = options.register === true || isLost;
  if (options.clientId !== undefined || (!isWanted && provider.registered === undefined)) return null;
  const client = await state.withFetch(async (fetch): Promise<NewClient | null> => {
    const io = { fetch, signal: AbortSignal.timeout(state.config.limits.refresh_timeout) };
    const redirectUri = redirectUriToRegister(options, provider);
    if (!isWanted && !(await hasEnded(provider, request)) && !(await isRefused(provider, redirectUri, io)))
      return null;
    const server = (issuer === null ? null : await discoverIssuer(issuer, io)) ?? unregistering;
    const scopes =
      provider.scopes.length === 0 ? [] : scopesFor(undefined, provider, existing?.grant ?? null);
    const wanted = { ...parts, server, provider: { ...provider, scopes }, redirectUri, options };
    return newClient({ ...wanted, now: state.now }, io);
  });
  if (client === null) return null;
  const { own, clientId, clientAuth } = client;
  const redirectUri = client.redirectUri ?? provider.redirectUri;
  return {
    provider: withClient({ ...provider, clientId, clientAuth, redirectUri, clientSecret: null }, own),
    secret: own.secret,
    async save(): Promise<void> {
      const { file } = await parts.config();
      const previous = await readConfigText(file);
      const values = { client_id: clientId, client_auth: clientAuth, redirect_uri: redirectUri };
      let text = previous;
      for (const [key, value] of Object.entries(values))
        if (value !== null) text = putValue(text, ['providers', name, key], value);
      const change = { file, previous, text, readsSecret: false, reason: 'client registered anew' };
      await writeProvider({ ...parts, withState: (use) => use(state) }, name, change);
      parts.output.say(
        `Sidekey registered itself anew at ${title} as the client ${clientId}, and saved it in ${displayName(file)}.`,
      );
    },
  };
}

/** A server without metadata. */
const unregistering = { registrationEndpoint: null, authMethods: [] };

/** Reports whether the client is known to be refused, or its secret ends soon. */
async function hasEnded(
  { registered, clientId }: Provider,
  { state, existing }: Reconnecting,
): Promise<boolean> {
  if (registered !== undefined && clientEndsSoon(registered, state.now())) return true;
  const credential = existing?.sealed.credential;
  if (existing === null || credential?.type !== 'oauth2' || credential.clientId !== clientId) return false;
  const failure = failureOf(existing.grant, await state.store.activity.get(existing.grant.id));
  return failure !== null && isClientRefusal(failure.text);
}

/** Statuses of an authorization endpoint for an unknown client. Firewalls answer 403. */
const unknownStatuses = new Set([400, 401, 404, 422]);

/**
 * Reports whether the authorization endpoint refuses the client before any login: by a page, or by a
 * redirect. A person would see that page, and Sidekey no answer.
 */
async function isRefused(provider: Provider, redirectUri: string, io: DocumentIo): Promise<boolean> {
  if (provider.authorizationEndpoint === null) return false;
  const { url } = await authorizationUrl({ provider, redirectUri, scopes: provider.scopes });
  try {
    const { status, headers, body } = await io.fetch(url, {
      method: 'GET',
      headers: { accept: 'text/html' },
      redirect: 'manual',
      ...(io.signal === undefined ? {} : { signal: io.signal }),
    });
    await body?.[Symbol.asyncIterator]().return?.();
    const target = URL.parse(headers.get('location') ?? '', url);
    return unknownStatuses.has(status) || clientErrors.has(target?.searchParams.get('error') ?? '');
  } catch {
    // The browser of the person shows what is wrong.
    return false;
  }
}
