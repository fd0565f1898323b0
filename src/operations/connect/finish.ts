import { defaultUser, type Grant } from '../../domain/grant.ts';
import { storeGrant } from '../../grants/connected.ts';
import { type Obtained, sealingSecret } from '../../grants/keep.ts';
import { ungrantedScopes } from '../../grants/oauth/scopes.ts';
import { replaceRemedy } from '../../grants/token-result.ts';
import type { Verification } from '../../grants/verify.ts';
import { type Hint, hintOf, remedy } from '../../lib/hint.ts';
import { withoutStop } from '../../lib/text.ts';
import { relativeTime } from '../format.ts';
import { keptSettings } from '../grant-settings.ts';
import { grantRemedy } from '../lookup.ts';
import type { ProxyProbe } from '../proxy-probe.ts';
import { allowOrWarn, type DomainChanges, type DomainPlan } from './domains.ts';
import type { ConnectParts, ConnectRequest } from './request.ts';

interface Warning {
  readonly sentence: string;
  readonly hint: Hint | null;
}

/** Result of a consent. */
export interface Connected extends Omit<DomainChanges, 'blocked' | 'moved'> {
  readonly grant: Grant;
  /** True if a grant of that name existed. It keeps its id. */
  readonly replaced: boolean;
  readonly audience: readonly string[];
  readonly details: Readonly<Record<string, string>>;
  /** Requested scopes that were not granted. */
  readonly ungranted: readonly string[];
  readonly warnings: readonly Warning[];
  readonly verification: Verification;
}

export interface Finishing extends Omit<ConnectRequest, 'existing' | 'options' | 'parts' | 'output'> {
  readonly parts: Pick<ConnectParts, 'fetch'>;
  /** The flow that obtained the credential. */
  readonly flow: string;
  readonly plan: DomainPlan;
  /** Client secret that no file contains; null: none. */
  readonly secret: string | null;
  /** False: stores the credential unverified. */
  readonly verify: boolean | undefined;
  /** `--meta`; empty: none. */
  readonly metadata: Readonly<Record<string, string>>;
  readonly unreadable: ProxyProbe['unreadable'];
}

/**
 * Verifies and stores the credential, and allows the provider's hosts. Keeps the grant if the map fails.
 *
 * @throws SidekeyError errors of `storeGrant`
 */
export async function finishGrant(request: Finishing, obtained: Obtained): Promise<Connected> {
  const { state, provider, plan, metadata } = request;
  const sealing = sealingSecret(obtained, provider, request.secret);
  const { credential, scopes } = sealing;
  const { audience, widened, grown, kept } = plan;
  const { grant, replaced, details, verification, unknown } = await storeGrant(
    {
      ...request,
      upstream: request.parts,
      audience,
      reason: widened.length === 0 ? undefined : `widened to ${widened.join(', ')}`,
      settings: keptSettings(state, Object.keys(metadata).length === 0 ? null : { metadata }),
      now: state.now,
    },
    sealing,
    // A consent may still prompt for an address.
    request.flow === 'authorization_code'
      ? undefined
      : (check) => state.during(`Verifying the credential at ${provider.title}`, check),
  );
  const warnings: Warning[] = [];
  const warn = (sentence: string, hint: Hint | null = null) => warnings.push({ sentence, hint });

  const { failure } = obtained;
  if (failure !== undefined)
    warn(
      `${failure.message} Its new refresh token was stored, because the one of the input is used up.`,
      failure.hint,
    );
  if (unknown !== null) warn(`The account could not be asked for: ${withoutStop(unknown)}.`);
  // A pasted token has no requested scopes.
  const ungranted = credential.type === 'oauth2' ? ungrantedScopes(request.scopes, scopes) : [];
  if (ungranted.length > 0) warn(`Asked for ${ungranted.join(' ')} too; the provider did not grant it.`);
  const removal = grantRemedy('remove', grant);
  if (widened.length > 0) {
    warn(
      `The credential may now also be sent to ${widened.join(', ')}, which the provider ${provider.name} does not name.`,
      hintOf`if that is not meant: ${removal}, and connect without --widen`,
    );
  }
  if (kept.length > 0) {
    warn(
      `The credential may still be sent to ${kept.join(', ')}, which the grant had before and the provider ${provider.name} does not name.`,
      hintOf`if that is not meant: ${removal}, and connect again`,
    );
  }
  if (grown.length > 0)
    warn(`The credential may now also be sent to ${grown.join(', ')}, as the provider says.`);
  if (!grant.refreshable && grant.expiresAt !== null && credential.type === 'oauth2') {
    warn(
      `There is no refresh token: the token ends ${relativeTime(grant.expiresAt, state.now())}, and then you must consent again.`,
      offlineRemedy(request, grant) ?? replaceRemedy(grant, [], provider, credential),
    );
  }
  const changed = await allowOrWarn(state, grant, plan, warn);
  for (const { grant: id, sentence, hint } of await request.unreadable(state.vault))
    if (id === grant.id) warn(sentence, hint);
  return { ...changed, grant, replaced, audience, details, ungranted, warnings, verification };
}

/** Returns the consent that asks for a refresh token too (OpenID Connect Core §11); null: it did already. */
function offlineRemedy({ scopes, state, provider }: Finishing, { name, user }: Grant): Hint | null {
  // The catalog names the scopes of its refresh tokens itself.
  if (scopes.includes('offline_access') || !state.config.providers.own.includes(provider.name)) return null;
  const asked = remedy('connect', {
    provider: provider.name,
    name: name === provider.name ? undefined : name,
    user: user === defaultUser ? undefined : user,
    scopes: [...scopes, 'offline_access'],
  });
  return hintOf`if the provider has that scope, with a refresh token: ${asked}`;
}
