import { SidekeyError } from '../../errors.ts';
import type { SealedCredential } from '../../grants/credential.ts';
import type { InjectPlan } from '../../grants/provider.ts';
import type { OpenedGrant } from '../../grants/registry.ts';
import { selectGrant } from '../../grants/select-grant.ts';
import { expiredToken, standingOf, type RefusedToken } from '../../grants/token-result.ts';
import { inject } from '../../inject/inject.ts';
import { authorityText, type Authority } from '../../policy/authority.ts';
import type { Decision } from '../../policy/decide.ts';
import { matchesPattern } from '../../policy/domain-map.ts';
import { isPattern, parsePattern } from '../../policy/pattern.ts';
import type { Selectors } from '../../proxy/agent.ts';
import { unselected } from '../../proxy/credential.ts';
import type { View } from '../../view.ts';
import { expiryOf, stateNow, titleOf } from '../grant/words.ts';
import type { Trail } from './trail.ts';

/** What is known when the credential is looked for. */
export interface CredentialQuestion {
  readonly authority: Authority;
  readonly decision: Decision & { readonly outcome: 'inject' };
  readonly selectors: Selectors;
  readonly now: number;
}

/** From the decision to the field that carries the credential. Answers how the request would leave. */
export async function credentialSteps(
  view: View,
  { authority, decision, selectors, now }: CredentialQuestion,
  trail: Trail,
): Promise<string> {
  const selected = selectGrant(await view.grants(), { reference: decision.grant, ...selectors });
  if (selected.kind !== 'selected') return trail.failed('grant', unselected(selected, decision, selectors));
  const { grant } = selected;
  trail.went('grant', `${titleOf(grant)}: provider ${grant.provider}, ${stateNow(grant, now)}`);

  const opened = (await (await view.registry())?.read(grant.id)) ?? null;
  const { skewMs } = view.config.tokens;
  const standing = standingOf(opened, grant.id, { now, skewMs, unwanted: null });
  switch (standing.kind) {
    case 'refused':
      return trail.failed('token', refusalOf(standing));
    case 'ended':
      return trail.failed('token', refusalOf(expiredToken(grant)));
    case 'unchanged':
      throw new SidekeyError('internal', 'No token was refused, yet it was kept.');
    case 'usable':
      trail.went(
        'token',
        `valid, expires: ${expiryOf(grant, now)}${standing.due ? '; a new one is fetched meanwhile' : ''}`,
      );
      break;
    case 'needed':
      trail.went('token', 'none that is valid: a new one is fetched before the request leaves');
      break;
  }
  const { sealed } = standing.opened;

  const plan: InjectPlan = view.config.providers.get(grant.provider)?.inject ?? { kind: 'bearer' };
  const name = authorityText(authority);
  const isCovered = sealed.audience
    .map(parsePattern)
    .filter(isPattern)
    .some((pattern) => matchesPattern(pattern, authority));
  if (isCovered) trail.went('audience', `${name} is within ${sealed.audience.join(', ')}`);
  let fields: readonly string[];
  try {
    fields = inject([], { sealed: withSomeToken(sealed), plan, authority, insecure: decision.insecure });
  } catch (error) {
    if (!(error instanceof SidekeyError)) throw error;
    return trail.failed(isCovered ? 'injection' : 'audience', error);
  }
  const carried = describeFields(fields, standing.opened, plan);
  trail.went('injection', `${carried} (${howCarried(standing.opened, grant.provider)})`);
  return `with the credential of ${titleOf(grant)}`;
}

function refusalOf({ code, message, hint }: RefusedToken): SidekeyError {
  return new SidekeyError(code, message, { hint });
}

/** Where there is only a refresh token yet, something stands for the token that it would get. */
function withSomeToken(sealed: SealedCredential): SealedCredential {
  const { credential } = sealed;
  if (credential.type !== 'oauth2' || credential.accessToken !== null) return sealed;
  return { ...sealed, credential: { ...credential, accessToken: 'token' } };
}

/** Names, and what stands before the secret; never a value. */
function describeFields(fields: readonly string[], { grant }: OpenedGrant, plan: InjectPlan): string {
  const names = fields.filter((_, index) => index % 2 === 0);
  const prefix = grant.type === 'basic' ? 'Basic ' : grant.type === 'headers' ? '' : prefixOf(plan);
  return names.map((name) => `${name}: ${prefix}…`).join(', ');
}

function prefixOf(plan: InjectPlan): string {
  return plan.kind === 'bearer' ? 'Bearer ' : plan.prefix;
}

function howCarried({ grant }: OpenedGrant, provider: string): string {
  switch (grant.type) {
    case 'basic':
      return 'user name and password';
    case 'headers':
      return 'the headers that the grant names';
    default:
      return `as the provider ${provider} says`;
  }
}
