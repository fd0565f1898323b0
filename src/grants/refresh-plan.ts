import { plainDialect } from '../config/provider-dialect.ts';
import { SidekeyError } from '../lib/errors.ts';
import { type Hint, hintOf, remedy } from '../lib/hint.ts';
import type { RenewalRequest } from './oauth/renewal.ts';
import type { TokenClient } from './oauth/token-endpoint.ts';
import { newDpopKey } from '../proxy/schemes/dpop-proof.ts';
import type { DpopKey, OAuth2Credential, Renewal } from '../domain/credential.ts';
import type { Flow, Provider } from '../domain/provider.ts';
import { oauthGrant, type OAuthGrant } from './refresh-commit.ts';
import type { Registry } from './registry.ts';
import { replaceRemedy } from './token-result.ts';

/** The request for a new token, or the reason why none is possible. */
export type RefreshPlan =
  | {
      readonly kind: 'ask';
      readonly request: RenewalRequest;
      /** Login whose refresh token is used instead of one of the grant itself; null: none. */
      readonly login: OAuthGrant | null;
      /** Key that the new token will be bound to; null: none. */
      readonly proofKey: DpopKey | null;
    }
  | { readonly kind: 'impossible'; readonly reason: string; readonly hint: Hint };

export interface PlanParts {
  readonly providers: (name: string) => Provider | undefined;
  /**
   * Reads the secret of a reference (`file:`, `env:`, `command:`). `isTrial` runs no command.
   * @throws SidekeyError `secret_missing`, `permissions_unsafe`, `input_invalid`
   */
  readonly readSecret: (reference: string, isTrial?: boolean) => Promise<string>;
  /** Registry with the login that the grant depends on. */
  readonly registry: Pick<Registry, 'read'>;
}

interface Renewable {
  /** Name of the provider definition. */
  readonly provider: string;
  readonly credential: OAuth2Credential;
  /** The granted scopes. */
  readonly scopes: readonly string[];
}

/**
 * Builds the request from the credential and the provider definition. The credential overrides the
 * definition, but never mixes with its secret: the provider's client secret is sent only to the provider's
 * token endpoint, with the provider's client ID.
 */
export async function planRefresh(renewable: Renewable, parts: PlanParts): Promise<RefreshPlan> {
  const { renewal } = renewable.credential;
  try {
    if (renewal?.kind === 'auth0_connection') return await planConnection(renewal, parts);
    const provider = parts.providers(renewable.provider);
    const side = otherSide(renewable, provider);
    const request = await (renewal === undefined
      ? planRefreshToken(renewable, side)
      : planRenewal(renewal, side, parts));
    return { kind: 'ask', request, login: null, proofKey: keyFor(renewable.credential, provider) };
  } catch (error) {
    if (error instanceof Impossible) return { kind: 'impossible', reason: error.message, hint: error.hint };
    if (!(error instanceof SidekeyError)) throw error;
    return { kind: 'impossible', reason: error.message, hint: error.hint };
  }
}

/**
 * Returns the existing key even if the definition changed: the refresh token may be bound to it (RFC 9449
 * §5). A missing key is generated, and stored with its token.
 */
function keyFor({ dpop }: OAuth2Credential, provider: Provider | undefined): DpopKey | null {
  const algorithm = provider?.dpop ?? null;
  return dpop?.key ?? (algorithm === null ? null : newDpopKey(algorithm));
}

/** Aborts a plan. Never leaves this file. */
class Impossible extends Error {
  readonly hint: Hint;
  constructor(reason: string, hint: Hint) {
    super(reason);
    this.hint = hint;
  }
}

/** Endpoint and client of a renewal. */
type OtherSide = ReturnType<typeof otherSide>;

const peopleFlows: ReadonlySet<Flow> = new Set(['authorization_code', 'device_code']);

function otherSide({ provider: name, credential }: Renewable, provider: Provider | undefined) {
  const endpoint = credential.tokenEndpoint ?? provider?.tokenEndpoint ?? null;
  const clientId = credential.clientId ?? provider?.clientId ?? null;
  if (endpoint === null) {
    throw new Impossible(
      `the provider "${name}" has no token endpoint`,
      `set providers.${name}.token_endpoint`,
    );
  }
  const isOwnEndpoint = endpoint === provider?.tokenEndpoint;
  return {
    provider: name,
    endpoint,
    /** Endpoint for refresh tokens, which differs at some providers. */
    refreshEndpoint: (isOwnEndpoint ? provider.dialect.refreshEndpoint : null) ?? endpoint,
    /** API of the tokens (RFC 8707); undefined: unknown. */
    resource: provider && resourceOf(provider),
    dialect: provider?.dialect ?? plainDialect,
    /** Null: not configured. */
    clientId,
    /** Throws Impossible if there is no client, or errors of reading its secret. */
    client: async (): Promise<TokenClient> => {
      if (clientId === null)
        throw new Impossible(`the provider "${name}" has no client id`, `set providers.${name}.client_id`);
      const isOwn = isOwnEndpoint && clientId === provider.clientId;
      const clientSecret =
        credential.clientSecret ?? (isOwn ? ((await provider.clientSecret?.()) ?? null) : null);
      // A secret of the credential is used even if the definition is of a public client.
      const withSecret =
        credential.registered?.auth ??
        (provider === undefined || provider.clientAuth === 'none' ? 'basic' : provider.clientAuth);
      return { clientId, clientSecret, auth: clientSecret === null ? 'none' : withSecret };
    },
    idJag: provider?.idJag ?? null,
    /** True if the provider has flows in which people consent to the client. */
    isForPeople: provider?.flows.some((flow) => peopleFlows.has(flow)) === true,
  };
}

/** Returns the resource of the consent, or else the only host that gets the tokens; undefined: unknown. */
function resourceOf({ audience, dialect }: Provider): string | undefined {
  const { resource } = dialect.authorizationParameters;
  const [host, ...others] = audience;
  const isOne = host !== undefined && others.length === 0 && !host.includes('*');
  return resource ?? (isOne ? `https://${host}` : undefined);
}

/**
 * Returns the client of a grant's provider, for requests other than token requests; null: none.
 *
 * @throws SidekeyError `secret_missing`, `permissions_unsafe`: the client secret cannot be read
 */
export async function clientOf(
  renewable: Renewable,
  provider: Provider | undefined,
): Promise<TokenClient | null> {
  try {
    return await otherSide(renewable, provider).client();
  } catch (error) {
    if (error instanceof Impossible) return null;
    throw error;
  }
}

async function planRefreshToken({ credential, scopes }: Renewable, side: OtherSide): Promise<RenewalRequest> {
  const { refreshToken } = credential;
  if (refreshToken === null)
    throw new Impossible('there is no refresh token', 'add the grant again with --replace');
  const { refreshEndpoint: endpoint, resource } = side;
  const dialect =
    credential.isNarrowed === true ? { ...side.dialect, sendScopeOnRefresh: true } : side.dialect;
  const asked = { refreshToken, scopes, resource, needs: credential.refreshNeeds };
  return { kind: 'refresh_token', endpoint, client: await side.client(), dialect, ...asked };
}

async function planRenewal(
  renewal: Exclude<Renewal, { kind: 'auth0_connection' }>,
  side: OtherSide,
  { readSecret }: PlanParts,
): Promise<RenewalRequest> {
  const { endpoint, dialect } = side;
  switch (renewal.kind) {
    case 'client_credentials': {
      const client = await side.client();
      if (client.clientSecret === null) {
        // RFC 6749 §4.4: only for confidential clients.
        throw new Impossible(
          `the provider "${side.provider}" has no client secret`,
          `set providers.${side.provider}.client_secret`,
        );
      }
      const { kind, scope, parameters } = renewal;
      return { kind, endpoint, client, dialect, scope, parameters };
    }
    case 'jwt_bearer': {
      const { kind, key, issuer, subject, audience, scope, parameters } = renewal;
      // RFC 7521 §4.1: the assertion identifies the caller. A client for people's consent is a different
      // one (a service account at Google), unless it is the issuer.
      const isNamed = side.clientId !== null && (!side.isForPeople || side.clientId === issuer);
      return {
        kind,
        endpoint,
        client: isNamed ? await side.client() : null,
        dialect,
        key,
        issuer,
        subject: subject ?? issuer,
        audience: audience ?? endpoint,
        scope,
        parameters,
      };
    }
    case 'token_exchange': {
      const { subjectToken, actorToken } = renewal;
      const read = async (token: typeof subjectToken): Promise<string> =>
        'value' in token ? token.value : readSecret(token.reference);
      return {
        kind: renewal.kind,
        isKept: 'value' in subjectToken && (actorToken === null || 'value' in actorToken),
        endpoint,
        client: side.clientId === null ? null : await side.client(),
        dialect,
        subjectToken: await read(subjectToken),
        subjectTokenType: renewal.subjectTokenType,
        actorToken: actorToken === null ? null : await read(actorToken),
        actorTokenType: renewal.actorTokenType,
        requestedTokenType: renewal.requestedTokenType,
        scope: renewal.scope,
        parameters: renewal.parameters,
      };
    }
    case 'id_jag': {
      const { idJag, provider } = side;
      if (idJag === null)
        throw new Impossible(`the provider "${provider}" has no id_jag`, `set providers.${provider}.id_jag`);
      const { actorToken, ...asked } = renewal;
      const client = await side.client();
      const actor = actorToken === null ? null : await readSecret(actorToken.reference);
      return { ...idJag, ...asked, endpoint, client, dialect, actorToken: actor };
    }
    case 'github_installation': {
      const { kind, key, appId, installationId } = renewal;
      return { kind, endpoint, key, appId, installationId };
    }
    case 'aws_role':
      return { ...renewal, endpoint };
  }
}

/** Plans the token of a connected account, for the refresh token of another grant: a login at Auth0. */
async function planConnection(
  { kind, via, connection, loginHint }: Extract<Renewal, { kind: 'auth0_connection' }>,
  { providers, registry }: PlanParts,
): Promise<RefreshPlan> {
  const opened = await registry.read(via);
  if (opened === null) {
    throw new Impossible(
      'the login at Auth0 that it lives on was removed',
      hintOf`log in again: ${remedy('connect', { provider: 'auth0' })}; then connect this account again: ${remedy('connect', { provider: null, via: 'auth0' })}`,
    );
  }
  const { name, provider: providerName, scopes } = opened.grant;
  const provider = providers(providerName);
  const again = replaceRemedy(opened.grant, [], provider);
  const login = oauthGrant(opened);
  const refreshToken = login?.credential.refreshToken ?? null;
  if (login === null || refreshToken === null) {
    const why = login === null ? `is ${opened.grant.state}` : 'has no refresh token';
    throw new Impossible(`the login "${name}" that it lives on ${why}`, again);
  }
  const side = otherSide({ provider: providerName, credential: login.credential, scopes }, provider);
  const { endpoint, dialect } = side;
  const client = await side.client();
  return {
    kind: 'ask',
    login,
    proofKey: null,
    request: { kind, endpoint, client, dialect, refreshToken, connection, loginHint },
  };
}
