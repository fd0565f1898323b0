import {
  boundBy,
  type OAuth2Credential,
  type Renewal,
  withoutToken,
  type OpenedGrant,
} from '../../domain/credential.ts';
import type { Provider } from '../../domain/provider.ts';
import type { ActivityNotes } from '../../grants/activity.ts';
import type { Obtained } from '../../grants/keep.ts';
import { whatToCheck } from '../../grants/messages.ts';
import { delayHint } from '../../grants/oauth/failure-hint.ts';
import { unbound } from '../../grants/oauth/answer.ts';
import { withDescription } from '../../grants/oauth/description.ts';
import type { RefreshOutcome } from '../../grants/oauth/refresh.ts';
import type { RenewalRequest } from '../../grants/oauth/renewal.ts';
import { scopesIn } from '../../grants/oauth/scopes.ts';
import { learned, withNewTokens } from '../../grants/refresh.ts';
import { planRefresh } from '../../grants/refresh-plan.ts';
import { SidekeyError } from '../../lib/errors.ts';
import type { Hint } from '../../lib/hint.ts';
import { withoutStop } from '../../lib/text.ts';
import type { LoginParts } from '../auth0-login.ts';
import type { Changing, RenewalParts } from '../operation.ts';

type Options<Name extends string, Value> = { readonly [name in Name]?: Value };

/** Options of `sidekey connect`. Its help describes them. */
export interface ConnectOptions
  extends
    Options<'scope' | 'meta' | 'allowedDomains' | 'set' | 'param', readonly string[]>,
    Options<'name' | 'user' | 'timeout' | 'clientId' | 'clientSecret', string>,
    Options<'authUrl' | 'tokenUrl' | 'userinfoUrl', string>,
    Options<'clientMetadataUrl' | 'registrationToken', string>,
    Options<'port' | 'redirectUri' | 'finish' | 'state' | 'via' | 'connection' | 'loginHint', string>,
    Options<'fromEnv' | 'from' | 'sourceTtl' | 'sourceForm' | 'key' | 'keyId' | 'algorithm', string>,
    Options<'issuer' | 'subject' | 'assertionAudience' | 'appId' | 'installationId', string>,
    Options<'assumeRole' | 'externalId' | 'region' | 'subjectToken' | 'subjectTokenType', string>,
    Options<'actorToken' | 'actorTokenType' | 'requestedTokenType', string>,
    Options<
      'register' | 'replace' | 'verify' | 'widen' | 'domains' | 'discover' | 'device' | 'paste' | 'printUrl',
      boolean
    >,
    Options<'token' | 'import' | 'clientCredentials' | 'jwtBearer' | 'tokenExchange', boolean> {
  /** A program; false: opens none. */
  readonly browser?: string | false;
  /** True: leaves the audience of the existing grant and the map unchanged. No option sets it. */
  readonly keepsAudience?: boolean;
}

/** Parts of a refresh, with its guarded `fetch`. */
export type ConnectParts = LoginParts & RenewalParts;

/** The open state, with the results of refreshes. */
export interface ConnectState extends Changing {
  readonly activity: ActivityNotes;
}

/** Prints notes. */
export interface Notes {
  say(text: string): void;
}

/** Input of a flow. */
export interface ConnectRequest {
  readonly state: ConnectState;
  readonly parts: ConnectParts;
  /** The provider, with all settings set. */
  readonly provider: Provider;
  readonly name: string;
  readonly user: string;
  /** Scopes to request: those of the option, else of the provider, plus those of the existing grant. */
  readonly scopes: readonly string[];
  /** The grant to reconnect; null: a new one. */
  readonly existing: OpenedGrant | null;
  readonly options: ConnectOptions;
  /** Aborted by Ctrl-C and by the time limit. */
  readonly signal: AbortSignal;
  readonly output: Notes;
}

/** Parts of a request for a token without a person. */
export type TokenAsking = Pick<ConnectRequest, 'provider' | 'parts' | 'scopes' | 'signal'>;

/** Requests the first token of a grant that renews itself. @throws SidekeyError as `renewNow` */
export function firstToken(request: TokenAsking, renewal: Renewal): Promise<Obtained> {
  return renewNow(request, withoutToken({ renewal }, request.parts.now()));
}

/**
 * Requests a token for a credential without one, as later renewals do, so that errors appear now.
 *
 * @throws SidekeyError `config_invalid`: the provider definition or a secret is incomplete;
 * `provider_refused`, `sign_in_required`; the reason of the signal
 */
export async function renewNow(
  { provider, parts, scopes, signal }: TokenAsking,
  credential: OAuth2Credential,
): Promise<Obtained> {
  const plan = await planRefresh(
    { provider: provider.name, credential, scopes },
    // The provider may have a client secret that no file contains.
    { ...parts, providers: (name) => (name === provider.name ? provider : parts.providers(name)) },
  );
  if (plan.kind === 'impossible') {
    throw new SidekeyError('config_invalid', `No token can be asked for: ${withoutStop(plan.reason)}.`, {
      hint: plan.hint,
    });
  }
  const { request, proofKey } = plan;
  const outcome = await parts.refresh(request, { signal, proofKey });
  const rotated = rotatedToken(credential, outcome);
  if (rotated === null) signal.throwIfAborted();
  const kept = rotated === null ? {} : ({ isRotated: true } as const);
  if (outcome.kind === 'renewed') {
    const isBound = outcome.isBound === true;
    if (proofKey !== null && !isBound) throw unbound(provider);
    const next = withNewTokens(credential, outcome);
    return { credential: boundBy(next, proofKey, isBound), scopes: scopesIn(next.scope) ?? scopes, ...kept };
  }
  const failure = failureOf(outcome, request, provider);
  if (rotated === null) throw failure;
  // The refresh token may be bound to the key of the request (RFC 9449 §5).
  const { needs } = 'needs' in outcome ? outcome : {};
  const next = boundBy({ ...learned(credential, needs), refreshToken: rotated }, proofKey, false);
  return { credential: next, scopes: scopesIn(next.scope) ?? scopes, ...kept, failure };
}

/** Returns the successor of the refresh token that was sent; null: it is still valid, or none was sent. */
function rotatedToken({ refreshToken }: OAuth2Credential, outcome: RefreshOutcome): string | null {
  const tokens = outcome.kind === 'refused' && outcome.ends === undefined ? outcome.unusable : outcome;
  const next = tokens !== undefined && 'refreshToken' in tokens ? tokens.refreshToken : null;
  return refreshToken === null || next === refreshToken ? null : next;
}

/** Returns the error for an outcome without a usable token. */
function failureOf(
  outcome: Exclude<RefreshOutcome, { kind: 'renewed' }>,
  request: RenewalRequest,
  provider: Provider,
): SidekeyError {
  if (outcome.kind === 'later') return refused(provider, outcome.reason, delayHint(provider.name, outcome));
  const { description } = outcome;
  const hint = whatToCheck(request, provider.name, outcome);
  if (request.kind === 'id_jag' && outcome.ends === undefined) {
    const code = outcome.error === 'sign_in_required' ? outcome.error : 'provider_refused';
    return new SidekeyError(code, `${provider.title} gave no token: ${withoutStop(description)}.`, { hint });
  }
  const why = outcome.ends === undefined ? withDescription(outcome.error, description) : description;
  return refused(provider, why, hint);
}

function refused({ title }: Provider, why: string, hint: Hint): SidekeyError {
  const detail = why === '' ? '' : ` (${withoutStop(why)})`;
  return new SidekeyError('provider_refused', `${title} gave no token${detail}.`, { hint });
}
