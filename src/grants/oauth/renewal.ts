/** All renewals of access tokens without a person: one union of requests, one outcome. */
import type { TokenAnswer } from './answer.ts';
import {
  type ClientCredentialsRequest,
  exchangeToken,
  type JwtBearerRequest,
  requestClientCredentials,
  requestJwtBearer,
  type TokenExchangeRequest,
} from './assertions.ts';
import { askForConnectionToken, type ConnectionTokenRequest } from './auth0-connection.ts';
import { assumeRole, type AssumeRoleRequest } from './aws-role.ts';
import { type InstallationRequest, requestInstallationToken } from './github-app.ts';
import type { TokenIo } from './http.ts';
import { type IdentitySource, type IdJagRequest, noSignIn, requestByIdentity } from './id-jag.ts';
import { refreshOutcome, type RefreshOutcome, type RefreshRequest, refreshToken } from './refresh.ts';

export type RenewalRequest =
  | ({ readonly kind: 'refresh_token' } & RefreshRequest)
  | ({ readonly kind: 'client_credentials' } & ClientCredentialsRequest)
  | ({ readonly kind: 'jwt_bearer' } & JwtBearerRequest)
  | ({
      readonly kind: 'token_exchange';
      /** True if the subject token is stored and constant; false if it is read for each request. */
      readonly isKept: boolean;
    } & TokenExchangeRequest)
  | ({ readonly kind: 'id_jag' } & IdJagRequest)
  | ({ readonly kind: 'auth0_connection' } & ConnectionTokenRequest)
  | ({ readonly kind: 'github_installation' } & InstallationRequest)
  | ({ readonly kind: 'aws_role' } & AssumeRoleRequest);

/**
 * Requests a new access token. Never rejects because of a provider or the network.
 *
 * Returns a refusal that ends the grant only if a person must supply something. With client credentials and
 * freshly signed assertions, providers also send `invalid_grant` for a wrong clock, a scope, or a temporarily
 * disabled account. It does not end the grant there, nor if a subject token is read for each request: the
 * next may be valid.
 */
export async function renew(
  request: RenewalRequest,
  { identity = noSignIn, ...io }: TokenIo & { readonly identity?: IdentitySource },
): Promise<RefreshOutcome> {
  switch (request.kind) {
    case 'refresh_token':
      return refreshToken(request, io);
    case 'client_credentials':
      return withoutConsent(await requestClientCredentials(request, io));
    case 'jwt_bearer':
      return withoutConsent(await requestJwtBearer(request, io));
    case 'token_exchange': {
      const answer = await exchangeToken(request, io);
      return request.isKept ? accessTokenOnly(refreshOutcome(answer)) : withoutConsent(answer);
    }
    case 'id_jag':
      return requestByIdentity(request, { ...io, identity });
    case 'auth0_connection':
      return askForConnectionToken(request, io);
    case 'github_installation':
      return requestInstallationToken(request, io);
    case 'aws_role':
      return assumeRole(request, io);
  }
}

/** Without a consent, a new consent does not help, so no refusal ends the grant. */
function withoutConsent(answer: TokenAnswer): RefreshOutcome {
  const outcome = accessTokenOnly(refreshOutcome(answer));
  return outcome.kind === 'refused' && outcome.ends === 'grant' && answer.kind === 'error'
    ? { kind: 'refused', error: answer.error, description: answer.description }
    : outcome;
}

/** Drops a refresh token (RFC 6749 §4.4.3, RFC 8693 §2.2.1): renewals do not need one. */
function accessTokenOnly(outcome: RefreshOutcome): RefreshOutcome {
  if (outcome.kind === 'renewed') return { ...outcome, refreshToken: null };
  return outcome.kind === 'refused' && outcome.ends === undefined && outcome.unusable !== undefined
    ? { ...outcome, unusable: { ...outcome.unusable, refreshToken: null } }
    : outcome;
}
