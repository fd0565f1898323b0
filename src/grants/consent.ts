import { z } from 'zod';
import { SidekeyError } from '../lib/errors.ts';
import type { Authorization } from './oauth/authorization-code.ts';
import { isDpopKey } from '../proxy/schemes/dpop-proof.ts';
import type { DpopKey } from '../domain/credential.ts';
import type { Grant } from '../domain/grant.ts';
import type { Provider } from '../domain/provider.ts';

/** A consent in a browser that waits for its callback, which may reach another process. */
export const consentShape = z.object({
  provider: z.string(),
  // Endpoints and client of the consent, which must not change.
  authorizationEndpoint: z.string(),
  tokenEndpoint: z.string(),
  clientId: z.string(),
  redirectUri: z.string(),
  state: z.string(),
  /** Null: the flow has no PKCE. */
  codeVerifier: z.string().nullable(),
  /** DPoP key of the consent; absent or null: the tokens are not bound. */
  proofKey: z.custom<DpopKey>(isDpopKey).nullable().exactOptional(),
  scopes: z.array(z.string()).readonly(),
  name: z.string(),
  user: z.string(),
});

type PendingConsent = z.infer<typeof consentShape>;

/** Returns the record of a started consent. */
export function pendingConsent(
  { name, authorizationEndpoint, tokenEndpoint, clientId }: Provider,
  { state, codeVerifier, proofKey }: Authorization,
  rest: Pick<PendingConsent, 'redirectUri' | 'scopes' | 'name' | 'user'>,
): PendingConsent {
  return {
    ...rest,
    provider: name,
    authorizationEndpoint: authorizationEndpoint ?? '',
    tokenEndpoint: tokenEndpoint ?? '',
    clientId: clientId ?? '',
    state,
    codeVerifier,
    proofKey,
  };
}

/**
 * Refuses a changed provider: a code is exchanged only by the client and at the server that requested it
 * (RFC 9207 §1, mix-up).
 *
 * @throws SidekeyError `bad_request`
 */
export function assertUnchanged(provider: Provider, consent: PendingConsent): void {
  const isSame =
    provider.authorizationEndpoint === consent.authorizationEndpoint &&
    provider.tokenEndpoint === consent.tokenEndpoint &&
    provider.clientId === consent.clientId;
  if (isSame) return;
  throw new SidekeyError(
    'bad_request',
    `The provider ${provider.name} was changed since the consent began.`,
    { hint: 'begin again' },
  );
}

/**
 * Returns the scopes to request: `named`, else those of the provider, plus those of the existing grant, which
 * the new consent replaces.
 */
export function scopesFor(
  named: readonly string[] | undefined,
  provider: Pick<Provider, 'scopes'>,
  existing: Pick<Grant, 'scopes' | 'state' | 'type'> | null,
): readonly string[] {
  // Removed scopes are not requested again.
  const keeps = existing !== null && existing.type === 'oauth2' && existing.state !== 'revoked';
  return [...new Set([...(named ?? provider.scopes), ...(keeps ? existing.scopes : [])])];
}

/** Returns the numbered steps that register a client. */
export function registrationSteps(
  { title, clientRegistration }: Pick<Provider, 'title' | 'clientRegistration'>,
  redirectUri: string,
): string[] {
  const steps =
    clientRegistration === null
      ? [`Register a client (an “app”) at ${title}, with the redirect URI ${redirectUri}`]
      : [
          `Open ${clientRegistration.url}`,
          ...clientRegistration.steps.map((step) => step.replaceAll('{redirect_uri}', redirectUri)),
        ];
  return steps.map((step, index) => `${index + 1}. ${step}`);
}
