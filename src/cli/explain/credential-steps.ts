import type { Identity } from '../../agents/authentication.ts';
import { grantEnded } from '../../agents/permissions.ts';
import type { View } from '../../app/state.ts';
import { leakGuardTexts } from '../domain.ts';
import { type Ending, type Trail } from './question.ts';
import { dateTime, relativeTime, spanText } from '../format.ts';
import { expiryOf, titleOf } from '../grant/format.ts';
import { carriedAs } from '../provider.ts';
import { keysText, type SealedCredential } from '../../grants/credential.ts';
import { type Grant, stateNow } from '../../grants/grant.ts';
import type { Placement } from '../../grants/provider.ts';
import type { OpenedGrant } from '../../grants/registry.ts';
import { expiredToken, type RefusedToken, standingOf } from '../../grants/token-result.ts';
import { SidekeyError } from '../../lib/errors.ts';
import { authorityText } from '../../policy/authority.ts';
import type { Decision } from '../../policy/decide.ts';
import { isPattern, matchesPattern, parsePattern } from '../../policy/domain-map.ts';
import { type GrantCandidates, unselected } from '../../proxy/authorize.ts';
import type { ConfigSnapshot } from '../../proxy/deps.ts';
import { echoRefusal } from '../../proxy/inject.ts';
import { applyScheme } from '../../schemes/apply.ts';
import { newDpopKey } from '../../schemes/dpop-proof.ts';
import { type Destination, schemeOf } from '../../schemes/placement.ts';

/** What is known when the credential is looked for. */
interface CredentialQuestion {
  readonly target: Destination;
  readonly method: string;
  readonly decision: Extract<Decision, { grant: string }>;
  readonly offer: GrantCandidates;
  readonly caller: Identity;
  readonly injectPlan: ConfigSnapshot['injectPlan'];
  readonly now: number;
}

/** From the decision to the field that carries the credential. Answers how the request would leave. */
export async function credentialSteps(
  view: View,
  { target, method, decision, offer, caller, injectPlan, now }: CredentialQuestion,
  trail: Trail,
): Promise<Ending> {
  const echoed = echoRefusal(method);
  if (echoed !== null) return trail.failed('injection', echoed);
  const { selected } = offer;
  if (selected.kind !== 'selected') return trail.failed('grant', unselected(selected, decision, caller));
  const { grant } = selected;
  const { authority } = target;
  const plan = injectPlan(grant.provider, target);
  if (plan instanceof SidekeyError) return trail.failed('injection', plan);
  trail.went('grant', `${titleOf(grant)}: provider ${grant.provider}, ${stateNow(grant, now)}`);

  const opened = (await (await view.registry())?.read(grant.id)) ?? null;
  const { tokens, providers } = view.config;
  const clock = { now, skewMs: tokens.skewMs, unwanted: null };
  const standing = standingOf(opened, grant.id, clock, (name) => providers.get(name));
  switch (standing.kind) {
    case 'refused':
      return trail.failed('token', refusalOf(standing));
    case 'ended':
      return trail.failed('token', refusalOf(expiredToken(grant, providers.get(grant.provider))));
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
  const held =
    decision.outcome === 'approve' && (await approvalStep(view, decision, { grant, caller, now }, trail));
  // As the proxy: right before the credential leaves.
  const ended = grantEnded(grant, (await view.store?.grantPolicies.get(grant.id)) ?? null, now);
  if (ended !== null) return trail.failed('grant', ended);

  if (plan.kind === 'own') {
    trail.went('injection', `${carriedAs(plan)} (as the provider ${grant.provider} says)`);
    return { outcome: 'as it is, without a credential', held };
  }
  const name = authorityText(authority);
  const isCovered = sealed.audience
    .map(parsePattern)
    .filter(isPattern)
    .some((pattern) => matchesPattern(pattern, authority));
  if (isCovered) trail.went('audience', `${name} is within ${sealed.audience.join(', ')}`);
  let fields: readonly string[];
  try {
    const { body, ...request } = schemeOf(plan).sample?.(plan) ?? { path: '/', fields: [], body: null };
    const facts = { method, hasBody: body !== null, bodyHash: null, body, now, chunkBytes: 0 };
    const some = {
      sealed: withSomeToken(sealed, plan, standing.kind === 'needed'),
      placement: plan,
      authority,
      insecure: decision.insecure,
      facts,
    };
    ({ fields } = applyScheme(request, some));
  } catch (error) {
    if (!(error instanceof SidekeyError)) throw error;
    return trail.failed(isCovered ? 'injection' : 'audience', error);
  }
  const carried = describeFields(fields, standing.opened, plan);
  trail.went('injection', `${carried} (${howCarried(standing.opened, grant.provider)})`);
  trail.went('echoes', leakGuardTexts[decision.leakGuard ?? 'auto'].inFull);
  return { outcome: `with the credential of ${titleOf(grant)}`, held };
}

/** Whether a person is asked; none is where one said yes before to this and more. */
async function approvalStep(
  { store, config }: View,
  { approvalKey }: Decision,
  { grant, caller, now }: Pick<CredentialQuestion, 'caller' | 'now'> & { readonly grant: Grant },
  trail: Trail,
): Promise<boolean> {
  const who = { agent: caller.agent, lease: caller.lease?.id ?? null, grantId: grant.id };
  const standing =
    store === null || approvalKey === null
      ? null
      : await store.approvals.standing({ ...who, ruleKey: approvalKey }, now);
  if (standing === null) {
    const { timeoutMs } = config.approvals;
    trail.went(
      'approval',
      `a person is asked, and the request waits up to ${spanText(timeoutMs)} for the answer`,
    );
    return true;
  }
  const until = standing.until === null ? 'as long as the lease' : `until ${dateTime(standing.until)}`;
  trail.went('approval', `${standing.by} said yes ${relativeTime(standing.at, now)}, ${until}`);
  return false;
}

function refusalOf({ code, message, hint }: RefusedToken): SidekeyError {
  return new SidekeyError(code, message, { hint });
}

/** Where there is only a refresh token yet, something stands for the token that it would get. */
function withSomeToken(sealed: SealedCredential, plan: Placement, isNeeded: boolean): SealedCredential {
  const { credential } = sealed;
  if (credential.type !== 'oauth2' || !isNeeded) return sealed;
  const { renewal, accessToken, dpop } = credential;
  const token = renewal?.kind === 'aws_role' ? keysText(renewal.keys) : 'token';
  const bound = { key: dpop?.key ?? newDpopKey('ES256'), isBound: true };
  return {
    ...sealed,
    credential: {
      ...credential,
      accessToken: accessToken ?? token,
      ...(plan.kind === 'dpop' ? { dpop: bound } : {}),
    },
  };
}

/** Describes the place of a credential: names of fields, never a value. A credential of several values has its own fields. */
function describeFields(fields: readonly string[], { grant }: OpenedGrant, placement: Placement): string {
  if (fields.length === 0 || schemeOf(placement).accepts !== undefined) return carriedAs(placement);
  const names = fields.filter((_, index) => index % 2 === 0);
  if (names.includes('DPoP')) return carriedAs({ kind: 'dpop' });
  if (grant.type === 'basic') return 'Authorization: Basic …';
  return grant.type === 'headers' ? names.map((name) => `${name}: …`).join(', ') : carriedAs(placement);
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
