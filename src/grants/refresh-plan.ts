import { plainDialect } from '../config/provider-dialect.ts';
import { SidekeyError } from '../lib/errors.ts';
import type { RenewalRequest } from '../oauth/renewal.ts';
import type { TokenClient } from '../oauth/token-endpoint.ts';
import { newDpopKey } from '../schemes/dpop-proof.ts';
import type { DpopKey, OAuth2Credential, Renewal } from '../domain/credential.ts';
import type { Dialect, Flow, Provider } from '../domain/provider.ts';
import { oauthGrant, type OAuthGrant } from './refresh-commit.ts';
import type { Registry } from './registry.ts';
import { replaceCommand } from './token-result.ts';

/** The request for a new token, or the reason why there is none. */
export type RefreshPlan =
  | {
      readonly kind: 'ask';
      readonly request: RenewalRequest;
      /** The grant whose refresh token it takes, where that is not the grant itself: the login. */
      readonly login: OAuthGrant | null;
      /** The key that the new token will be bound to; null: none. */
      readonly proofKey: DpopKey | null;
    }
  | { readonly kind: 'impossible'; readonly reason: string; readonly hint: string };

/** The parts that a plan needs. */
export interface PlanParts {
  readonly providers: (name: string) => Provider | undefined;
  /**
   * The secret that a reference (`file:`, `env:`, `command:`) names, read now. `isTrial`: only to see whether it could be.
   * @throws SidekeyError `secret_missing`, `permissions_unsafe`, `input_invalid`
   */
  readonly readSecret: (reference: string, isTrial?: boolean) => Promise<string>;
  /** The registry that reads the login which the grant depends on. */
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
 * Puts the request together from the credential and the provider definition. Values of the credential override the
 * definition, and never mix with its secret: the provider's client secret goes to the provider's own token endpoint
 * alone, together with the provider's own client id.
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
 * An existing key stays, also after a change of the definition: the refresh token may be bound to it (RFC 9449 §5). One
 * that is missing is made, and kept together with the token that it gets.
 */
function keyFor({ dpop }: OAuth2Credential, provider: Provider | undefined): DpopKey | null {
  const algorithm = provider?.dpop ?? null;
  return dpop?.key ?? (algorithm === null ? null : newDpopKey(algorithm));
}

/** Ends the making of a plan; never leaves this file. */
class Impossible extends Error {
  readonly hint: string;
  constructor(reason: string, hint: string) {
    super(reason);
    this.hint = hint;
  }
}

/** The endpoint, and the client that asks. */
interface OtherSide {
  readonly provider: string;
  readonly endpoint: string;
  /** The endpoint for refresh tokens, which differs at some providers. */
  readonly refreshEndpoint: string;
  readonly dialect: Dialect;
  /** Null: none is named anywhere. */
  readonly clientId: string | null;
  /** Throws Impossible where there is no client, and what reading its secret throws. */
  readonly client: () => Promise<TokenClient>;
  /** True if the provider knows the client as one that people give consent to. */
  readonly isForPeople: boolean;
}

const peopleFlows: ReadonlySet<Flow> = new Set(['authorization_code', 'device_code']);

function otherSide({ provider: name, credential }: Renewable, provider: Provider | undefined): OtherSide {
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
    refreshEndpoint: (isOwnEndpoint ? provider.dialect.refreshEndpoint : null) ?? endpoint,
    dialect: provider?.dialect ?? plainDialect,
    clientId,
    async client() {
      if (clientId === null) {
        throw new Impossible(`the provider "${name}" has no client id`, `set providers.${name}.client_id`);
      }
      const isOwn = isOwnEndpoint && clientId === provider.clientId;
      const clientSecret =
        credential.clientSecret ?? (isOwn ? ((await provider.clientSecret?.()) ?? null) : null);
      // A secret that came with the credential is used even where the definition knows of a public client.
      const withSecret =
        provider === undefined || provider.clientAuth === 'none' ? 'basic' : provider.clientAuth;
      return { clientId, clientSecret, auth: clientSecret === null ? 'none' : withSecret };
    },
    isForPeople: provider?.flows.some((flow) => peopleFlows.has(flow)) === true,
  };
}

/**
 * Returns the client of a grant's provider, for requests other than token requests; null: no client is named.
 *
 * @throws SidekeyError `secret_missing`, `permissions_unsafe` where the client secret cannot be read
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
  if (refreshToken === null) {
    throw new Impossible('there is no refresh token', 'add the grant again with --replace');
  }
  const { refreshEndpoint: endpoint } = side;
  const dialect =
    credential.isNarrowed === true ? { ...side.dialect, sendScopeOnRefresh: true } : side.dialect;
  return { kind: 'refresh_token', endpoint, client: await side.client(), dialect, refreshToken, scopes };
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
        // RFC 6749 §4.4: only for clients that can keep a secret.
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
      // RFC 7521 §4.1: the assertion says who asks. A client that is there for people's consent is another one (a
      // service account at Google), unless it is the issuer.
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
    case 'github_installation': {
      const { kind, key, appId, installationId } = renewal;
      return { kind, endpoint, key, appId, installationId };
    }
    case 'aws_role':
      return { ...renewal, endpoint };
  }
}

/** The token of a connected account lives on the refresh token of another grant: a login at Auth0. */
async function planConnection(
  { kind, via, connection, loginHint }: Extract<Renewal, { kind: 'auth0_connection' }>,
  { providers, registry }: PlanParts,
): Promise<RefreshPlan> {
  const opened = await registry.read(via);
  if (opened === null) {
    throw new Impossible(
      'the login at Auth0 that it lives on was removed',
      'log in again with sidekey connect auth0, then connect this account again with --via auth0',
    );
  }
  const { name, provider: providerName, scopes } = opened.grant;
  const provider = providers(providerName);
  const again = replaceCommand(opened.grant, [], provider);
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
