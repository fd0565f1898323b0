/** Every way to a new access token without a person: one union of requests, one outcome. */
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
import { refreshOutcome, type RefreshOutcome, type RefreshRequest, refreshToken } from './refresh.ts';

/** A renewal request of any kind. */
export type RenewalRequest =
  | ({ readonly kind: 'refresh_token' } & RefreshRequest)
  | ({ readonly kind: 'client_credentials' } & ClientCredentialsRequest)
  | ({ readonly kind: 'jwt_bearer' } & JwtBearerRequest)
  | ({
      readonly kind: 'token_exchange';
      /** True if the subject token is kept and always the same; else it is read anew each time. */
      readonly isKept: boolean;
    } & TokenExchangeRequest)
  | ({ readonly kind: 'auth0_connection' } & ConnectionTokenRequest)
  | ({ readonly kind: 'github_installation' } & InstallationRequest)
  | ({ readonly kind: 'aws_role' } & AssumeRoleRequest);

/** The outcome of a renewal. */
export type RenewalOutcome =
  | RefreshOutcome
  /** For `auth0_connection`: not this grant but the login that it depends on has ended. */
  | { readonly kind: 'login_ended'; readonly description: string };

/**
 * Asks for a new access token. Never rejects for what a provider or a network may do.
 *
 * `invalid_grant` is answered only where a person has to give something anew. A client's own credentials and assertions
 * that are signed afresh are no such thing: with them a provider also says `invalid_grant` to a wrong clock, a scope, or
 * an account that is disabled for a while, so there it counts as `refused`. So it does where the subject token of an
 * exchange is read anew each time: the next one may be good.
 */
export async function renew(request: RenewalRequest, io: TokenIo): Promise<RenewalOutcome> {
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
    case 'auth0_connection': {
      const outcome = await askForConnectionToken(request, io);
      return outcome.kind === 'account_gone' ? { ...outcome, kind: 'invalid_grant' } : outcome;
    }
    case 'github_installation':
      return requestInstallationToken(request, io);
    case 'aws_role':
      return assumeRole(request, io);
  }
}

/** Turns `invalid_grant` into `refused`: without a consent, nobody can be asked for a new one. */
function withoutConsent(answer: TokenAnswer): RefreshOutcome {
  const outcome = accessTokenOnly(refreshOutcome(answer));
  return outcome.kind === 'invalid_grant' && answer.kind === 'error'
    ? { kind: 'refused', error: answer.error, description: answer.description }
    : outcome;
}

/** RFC 6749 §4.4.3, RFC 8693 §2.2.1: a refresh token may come along, and what got the token gets the next one too. */
function accessTokenOnly(outcome: RefreshOutcome): RefreshOutcome {
  return outcome.kind === 'refreshed' ? { ...outcome, refreshToken: null } : outcome;
}
