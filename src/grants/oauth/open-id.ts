import { hash } from 'node:crypto';
import * as oauth from 'oauth4webapi';
import { SidekeyError } from '../../lib/errors.ts';
import { Reading } from '../../lib/reading.ts';
import { describe, describeFault, errorCode, findSidekeyError, withDescription } from './description.ts';
import { requestOptions, serverMetadata } from './discovery.ts';
import { type DocumentIo, type JsonObject, jwtPart } from './http.ts';

/**
 * Sign-in of people at an OpenID provider (OpenID Connect Core 1.0 §3.1): the code flow with PKCE,
 * `state`, `nonce`, and an ID token signed with a published key of the issuer.
 */

/** Sidekey's registration at the issuer. */
export interface OpenIdClient {
  readonly issuer: string;
  readonly clientId: string;
  readonly redirectUri: string;
  readonly scopes: readonly string[];
}

/** State of a sign-in until its callback. Secret except for the browser that started it. */
interface OpenIdFlow {
  readonly state: string;
  readonly nonce: string;
  readonly codeVerifier: string;
}

/** A callback with the state of its flow. */
interface OpenIdCallback {
  readonly flow: OpenIdFlow;
  readonly parameters: URLSearchParams;
  /** Null: a public client. */
  readonly clientSecret: string | null;
  /** Claims that are requested from the userinfo endpoint if the ID token lacks any of them. */
  readonly needed: readonly string[];
}

/** Claims of a verified ID token. */
export type Claims = JsonObject & { readonly sub: string };

/** A completed sign-in. The tokens are secret. */
export interface SignIn {
  readonly claims: Claims;
  readonly idToken: string;
  /** Null: the issuer gave none. */
  readonly refreshToken: string | null;
  /** Only place that the tokens may be sent to. */
  readonly tokenEndpoint: string;
  readonly auth: 'none' | 'basic' | 'post';
}

interface OpenId {
  /** Starts a sign-in at the returned URL. @throws SidekeyError `provider_refused`, `upstream_unreachable` */
  begin(client: OpenIdClient): Promise<{ readonly url: string; readonly flow: OpenIdFlow }>;
  /**
   * Completes a sign-in.
   *
   * @throws SidekeyError `bad_request`: the callback is not of this flow; `consent_declined`;
   * `provider_refused`; `upstream_unreachable`
   */
  finish(client: OpenIdClient, callback: OpenIdCallback): Promise<SignIn>;
}

interface OpenIdParts {
  /** Returns the means of the next requests. */
  readonly io: () => Promise<DocumentIo>;
  readonly now: () => number;
}

/** Metadata is cached for 10 min. For unknown keys, the library reads keys again at most once a minute. */
const cacheTimes = { freshMs: 600_000, maxPauseMs: 30_000 };
/** Maximum seconds between the clocks of the issuer and of Sidekey. */
const skewS = 60;

/** Returns a sign-in that caches the metadata of the last issuer. */
export function createOpenId({ io, now }: OpenIdParts): OpenId {
  let last: { readonly issuer: string; readonly metadata: Reading<oauth.AuthorizationServer> } | null = null;

  function serverOf({ issuer }: OpenIdClient): Promise<oauth.AuthorizationServer> {
    if (last?.issuer !== issuer) {
      const read = async () => {
        const server = await serverMetadata(new URL(issuer), await io(), 'oidc');
        if (server === null) throw unusable(issuer, 'it has no metadata of OpenID Connect');
        return server;
      };
      last = { issuer, metadata: new Reading({ read, ...cacheTimes, now }) };
    }
    return last.metadata.current();
  }

  return {
    async begin(client) {
      const { authorization_endpoint: endpoint = '' } = await serverOf(client);
      const url = URL.parse(endpoint);
      if (url?.protocol !== 'https:')
        throw unusable(client.issuer, 'its authorization endpoint is no https URL');
      const flow = {
        state: oauth.generateRandomState(),
        nonce: oauth.generateRandomNonce(),
        codeVerifier: oauth.generateRandomCodeVerifier(),
      };
      const parameters = {
        response_type: 'code',
        client_id: client.clientId,
        redirect_uri: client.redirectUri,
        scope: client.scopes.join(' '),
        state: flow.state,
        nonce: flow.nonce,
        code_challenge: await oauth.calculatePKCECodeChallenge(flow.codeVerifier),
        code_challenge_method: 'S256',
      };
      for (const [name, value] of Object.entries(parameters)) url.searchParams.set(name, value);
      return { url: url.href, flow };
    },
    async finish(client, { flow, parameters, clientSecret, needed }) {
      const server = await serverOf(client);
      const relyingParty: oauth.Client = { client_id: client.clientId, [oauth.clockTolerance]: skewS };
      const options = requestOptions(await io());
      const answer = checkedCallback(server, relyingParty, parameters, flow);
      try {
        const auth = authentication(clientSecret, server);
        const response = await oauth.authorizationCodeGrantRequest(
          server,
          relyingParty,
          clientAuth(auth, clientSecret ?? ''),
          answer,
          client.redirectUri,
          flow.codeVerifier,
          options,
        );
        const checks = { expectedNonce: flow.nonce, requireIdToken: true };
        const tokens = await oauth.processAuthorizationCodeResponse(server, relyingParty, response, checks);
        await oauth.validateApplicationLevelSignature(server, response, options);
        // `requireIdToken` guarantees an ID token.
        const claims = oauth.getValidatedIdTokenClaims(tokens)!;
        // The library checks `azp` only if there are several audiences (Core §3.1.3.7, 5).
        if (claims.azp !== undefined && claims.azp !== client.clientId)
          throw unusable(client.issuer, 'the "azp" of its ID token is another client');
        if (!isOf(claims, tokens)) throw unusable(client.issuer, 'the "at_hash" of its ID token is another');
        const signIn = {
          idToken: tokens.id_token!,
          refreshToken: tokens.refresh_token ?? null,
          tokenEndpoint: server.token_endpoint!,
          auth,
        };
        if (server.userinfo_endpoint === undefined || needed.every((name) => name in claims))
          return { ...signIn, claims };
        const userInfo = await oauth.userInfoRequest(server, relyingParty, tokens.access_token, options);
        // The subject is the same (Core §5.3.2). Claims of the ID token take precedence.
        const info = await oauth.processUserInfoResponse(server, relyingParty, claims.sub, userInfo);
        // `email_verified` is valid only for the address beside it.
        const { email_verified: _, ...others } = info;
        const isSameEmail = claims['email'] === undefined || claims['email'] === info.email;
        return { ...signIn, claims: { ...(isSameEmail ? info : others), ...claims } };
      } catch (error) {
        throw failureOf(error, client.issuer, [flow.codeVerifier, clientSecret ?? '']);
      }
    },
  };
}

/** @throws SidekeyError `bad_request`, `consent_declined`, `provider_refused` */
function checkedCallback(
  server: oauth.AuthorizationServer,
  client: oauth.Client,
  parameters: URLSearchParams,
  { state, codeVerifier }: OpenIdFlow,
): URLSearchParams {
  try {
    return oauth.validateAuthResponse(server, client, parameters, state);
  } catch (error) {
    if (!(error instanceof oauth.AuthorizationResponseError)) {
      throw new SidekeyError(
        'bad_request',
        'The answer does not belong to this sign-in, or is of another issuer.',
        { hint: 'begin again, and finish in the same browser' },
      );
    }
    const secrets = [state, codeVerifier];
    const code = errorCode(error.error, secrets);
    const detail = withDescription(code, describe(error.error_description ?? '', secrets));
    if (code === 'access_denied')
      throw new SidekeyError('consent_declined', `You, or the issuer, said no to the sign-in (${detail}).`);
    throw unusable(server.issuer, detail);
  }
}

/** Returns the method that every server supports (RFC 6749 §2.3.1), unless its metadata lacks it. */
function authentication(
  secret: string | null,
  { token_endpoint_auth_methods_supported: methods }: oauth.AuthorizationServer,
): SignIn['auth'] {
  if (secret === null) return 'none';
  return methods?.includes('client_secret_basic') === false ? 'post' : 'basic';
}

function clientAuth(auth: SignIn['auth'], secret: string): oauth.ClientAuth {
  if (auth === 'none') return oauth.None();
  return auth === 'post' ? oauth.ClientSecretPost(secret) : oauth.ClientSecretBasic(secret);
}

/** Reports whether the access token matches `at_hash` of the ID token, if present (Core §3.1.3.8). */
function isOf(
  { at_hash: expected }: oauth.IDToken,
  { id_token: token = '', access_token: accessToken }: oauth.TokenEndpointResponse,
): boolean {
  if (expected === undefined) return true;
  const [bits = '512'] = /(?:256|384)$/.exec(String(jwtPart(token, 0)?.['alg'])) ?? [];
  const digest = hash(`sha${bits}`, accessToken, 'buffer');
  return digest.subarray(0, digest.length / 2).toString('base64url') === expected;
}

/** Converts an error. Messages of the library name members and claims, but contain no values. */
function failureOf(error: unknown, issuer: string, secrets: readonly string[]): SidekeyError {
  const ours = findSidekeyError(error);
  if (ours !== null) return ours;
  if (error instanceof oauth.ResponseBodyError) {
    const code = errorCode(error.error, secrets);
    return unusable(issuer, withDescription(code, describe(error.error_description ?? '', secrets)));
  }
  if (error instanceof oauth.WWWAuthenticateChallengeError)
    return unusable(issuer, `it refuses the client with HTTP ${error.status}`);
  const isProtocol = error instanceof oauth.OperationProcessingError;
  if (isProtocol || error instanceof oauth.UnsupportedOperationError) return unusable(issuer, error.message);
  const { host } = new URL(issuer);
  return new SidekeyError('upstream_unreachable', `${host} did not answer: ${describeFault(error)}.`, {
    hint: 'check the network and upstream.proxy, then try again',
  });
}

function unusable(issuer: string, reason: string): SidekeyError {
  return new SidekeyError('provider_refused', `${new URL(issuer).host} did not sign you in: ${reason}.`, {
    hint: 'begin again; if it stays so, tell the operator of Sidekey, who checks admin.oidc in the config file',
  });
}
