import type { Dialect, IdJag } from '../../domain/provider.ts';
import { exchangeToken, jwtBearerGrantType, typePrefix } from './assertions.ts';
import { describe, withDescription } from './description.ts';
import { jwtPart, type TokenIo } from './http.ts';
import { refreshOutcome, type RefreshOutcome } from './refresh.ts';
import { askTokenEndpoint, type TokenClient } from './token-endpoint.ts';

/**
 * Identity assertion grants (draft-ietf-oauth-identity-assertion-authz-grant): the identity provider where a
 * person signed in issues an assertion for a service (ID-JAG), and the service exchanges it for an access
 * token (RFC 7523 §2.1). The identity provider, not the person, decides which services Sidekey may use.
 */

export interface IdJagRequest extends IdJag {
  /** Token endpoint of the service. */
  readonly endpoint: string;
  readonly client: TokenClient;
  readonly dialect: Dialect;
  /** User whose sign-in is used. */
  readonly user: string;
  /** Issuer and subject of the account that must have signed in. */
  readonly identity: string;
  readonly scope: string | null;
  readonly actorToken: string | null;
  readonly actorTokenType: string | null;
}

/** A sign-in, and the identity provider that it can be exchanged at. */
interface SignedIn {
  readonly kind: 'signed_in';
  readonly issuer: string;
  readonly tokenEndpoint: string;
  readonly client: TokenClient;
  readonly dialect: Dialect;
  /** Subject of the person at the issuer. */
  readonly subject: string;
  /** Sent to `tokenEndpoint` only. */
  readonly token: string;
  readonly tokenType: 'id_token' | 'refresh_token';
}

/** Returns the sign-in of an account. Rejects with errors of the store. */
export type IdentitySource = (
  asked: Pick<IdJagRequest, 'user' | 'identity'>,
) => Promise<SignedIn | Unrenewed>;

/** An identity source where no sign-in is kept. */
export const noSignIn: IdentitySource = async ({ user }) =>
  refusedBy('sign_in_required', `no sign-in of ${user} is kept`);

export type Unrenewed = Exclude<RefreshOutcome, { readonly kind: 'renewed' }>;

const idJagType = `${typePrefix}id-jag`;

/** Errors that another sign-in settles (RFC 9470 §3, OpenID Connect Core §3.1.2.6). */
const signInAgain = new Set([
  'insufficient_user_authentication',
  'login_required',
  'interaction_required',
  'consent_required',
]);

/** Requests an access token for a person who signed in. Rejects only with errors of the store. */
export async function requestByIdentity(
  request: IdJagRequest,
  { identity, ...io }: TokenIo & { readonly identity: IdentitySource },
): Promise<RefreshOutcome> {
  const signedIn = await identity(request);
  if (signedIn.kind !== 'signed_in') return signedIn;
  const assertion = await requestAssertion(request, signedIn, io);
  if (typeof assertion !== 'string') return assertion;
  const { endpoint, client, dialect } = request;
  const parameters = { assertion };
  const answer = await askTokenEndpoint(
    { endpoint, client, dialect, grantType: jwtBearerGrantType, parameters, secrets: [assertion] },
    io,
  );
  const outcome = refreshOutcome(answer);
  // Without a refresh token of the service, the identity provider can end the access at any time.
  if (outcome.kind === 'renewed') return { ...outcome, refreshToken: null };
  if (answer.kind !== 'error') return outcome;
  const why = withDescription(answer.error, answer.description);
  return refusedBy(
    'assertion_refused',
    `${hostOf(endpoint)} refused the assertion of ${hostOf(signedIn.issuer)} (${why})`,
  );
}

/** Exchanges the sign-in for an assertion (RFC 8693 §2.1), and checks that it is for this service. */
async function requestAssertion(
  request: IdJagRequest,
  signedIn: SignedIn,
  io: TokenIo,
): Promise<string | Unrenewed> {
  const { audience, resource, scope, actorToken, actorTokenType, user } = request;
  const { issuer, tokenEndpoint, client, dialect, token, tokenType } = signedIn;
  const host = hostOf(issuer);
  const answer = await exchangeToken(
    {
      endpoint: tokenEndpoint,
      client,
      // The assertion is no access token, so the draft requires this `token_type`.
      dialect: { ...dialect, tokenResponse: { ...dialect.tokenResponse, tokenTypes: ['N_A'] } },
      subjectToken: token,
      subjectTokenType: typePrefix + tokenType,
      actorToken,
      actorTokenType,
      requestedTokenType: idJagType,
      scope,
      parameters: { audience, ...(resource === null ? {} : { resource }) },
    },
    // A key of the service's tokens says nothing to the identity provider.
    { ...io, proofKey: null },
  );
  if (answer.kind === 'later') return { ...answer, reason: `at ${host}, ${answer.reason}` };
  if (answer.kind === 'error') {
    const why = withDescription(answer.error, answer.description);
    if (signInAgain.has(answer.error))
      return refusedBy('sign_in_required', `${host} requires another sign-in of ${user} (${why})`);
    return answer.error === 'invalid_client'
      ? refusedBy('sign_in_unusable', `${host} refused the client of admin.oidc (${why})`)
      : refusedBy('identity_provider_refused', `${host} refused an assertion for ${audience} (${why})`);
  }
  const { accessToken: assertion, issuedTokenType } = answer;
  const fault =
    issuedTokenType === idJagType
      ? faultIn(assertion, { request, signedIn, now: io.now() })
      : 'is of another token type';
  if (fault === null) return assertion;
  return refusedBy(
    'assertion_unusable',
    `the assertion of ${host} ${fault}; it was not sent to ${hostOf(request.endpoint)}`,
  );
}

/** Milliseconds by which the clocks may differ. */
const skewMs = 60_000;

/**
 * Returns why an assertion is not for this request, as the end of a sentence; null: it is, or it is encrypted
 * for the service. The service verifies the signature; TLS of the token endpoint proves the issuer here.
 */
function faultIn(
  assertion: string,
  { request, signedIn, now }: { request: IdJagRequest; signedIn: SignedIn; now: number },
): string | null {
  // RFC 7516 §7.1
  if (assertion.split('.').length === 5) return null;
  const header = jwtPart(assertion, 0);
  const claims = jwtPart(assertion, 1);
  if (header === null || claims === null) return 'is no JWT';
  const { aud, iss, sub, exp, client_id: clientId } = claims;
  const isType = /^(?:application\/)?oauth-id-jag\+jwt$/i.test(String(header['typ']));
  if (!isType) return 'has another type (typ) than oauth-id-jag+jwt';
  const other = (claim: string, value: unknown, wanted: string) =>
    `has the ${claim} ${describe(JSON.stringify(value ?? null), [signedIn.token])} instead of ${wanted}`;
  if (iss !== signedIn.issuer) return other('issuer (iss)', iss, signedIn.issuer);
  const [audience, ...more] = [aud].flat();
  if (audience !== request.audience || more.length > 0) return other('audience (aud)', aud, request.audience);
  if (clientId !== request.client.clientId) return other('client_id', clientId, request.client.clientId);
  if (typeof sub !== 'string' || sub === '') return 'names nobody (sub)';
  if (!request.isPairwise && sub !== signedIn.subject)
    return 'is about another subject (sub) than the person who signed in';
  if (typeof exp !== 'number' || exp * 1000 + skewMs <= now) return 'has ended (exp)';
  return null;
}

export function refusedBy(error: keyof typeof nextSteps, description: string): Unrenewed {
  return { kind: 'refused', error, description };
}

function hostOf(url: string): string {
  return URL.parse(url)?.host ?? url;
}

/** Next steps for the errors of this flow. `provider`: name of the definition. */
const nextSteps = {
  sign_in_required: () =>
    'let the person sign in at the pages of Sidekey with the account of the identity provider, then try again',
  sign_in_unusable: () => 'check client_id and client_secret of admin.oidc in the config file',
  identity_provider_refused: (provider) =>
    `let the administrator of the identity provider allow Sidekey this service, and check id_jag and scopes of the provider "${provider}"`,
  assertion_unusable: (provider) =>
    `check client_id and id_jag of the provider "${provider}", and the client of this service that the identity provider has registered for Sidekey`,
  assertion_refused: (provider) =>
    `let the service trust the identity provider, and check client_id, client_secret, token_endpoint and id_jag of the provider "${provider}"`,
} as const satisfies Readonly<Record<string, (provider: string) => string>>;

/** Returns the next step for an error of this flow, or of the service's token endpoint. */
export function idJagHint(error: string, provider: string): string {
  const named = Object.keys(nextSteps).find((each): each is keyof typeof nextSteps => each === error);
  return nextSteps[named ?? 'assertion_refused'](provider);
}
