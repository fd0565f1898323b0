import { isRecorded } from '../audit/log.ts';
import { SidekeyError } from '../lib/errors.ts';
import { askUserinfo, type IdentityAnswer } from './oauth/identity.ts';
import { parseAbsoluteTarget } from '../proxy/policy/authority.ts';
import type { ActivityNotes } from './activity.ts';
import { accountOf, type Credential, type OpenedGrant } from '../domain/credential.ts';
import type { Grant } from '../domain/grant.ts';
import {
  detailed,
  keepGrant,
  type KeepState,
  type Obtained,
  refuseOtherProvider,
  type WantedGrant,
} from './keep.ts';
import { describeSource } from './sources/source.ts';
import { assertWorks, recordAccess, type Verification, type VerifyRequest } from './verify.ts';

/** Completes a flow: verifies the credential, requests its account, and stores both as a grant. */

interface StoreRequest extends VerifyRequest {
  readonly state: KeepState & { readonly activity: ActivityNotes };
  readonly name: string;
  /** The audience to seal. */
  readonly audience: readonly string[];
  /** Flow that obtained the credential. */
  readonly flow: string;
  /** False: the credential is stored unverified. */
  readonly verify: boolean | undefined;
  /** Reason for the audit log. */
  readonly reason?: string | undefined;
  /** Settings to store with the grant. */
  readonly settings?: WantedGrant['settings'];
  /** Returns the reason why this account must not replace the existing grant; absent: it may. */
  readonly refusesAccount?: (details: Details) => SidekeyError | null;
  readonly now: () => number;
}

type Details = Readonly<Record<string, string>>;

interface Stored {
  readonly grant: Grant;
  /** True if a grant of this name existed. It kept its ID. */
  readonly replaced: boolean;
  readonly details: Details;
  readonly verification: Verification;
  /** Reason for an unknown account, as the end of a sentence; null: known, or no source of the account. */
  readonly unknown: string | null;
}

/**
 * Verifies and stores a credential with the name of its account.
 *
 * @param checking runs the verification
 * @throws SidekeyError `already_exists`, `audit_unavailable`; errors of `assertWorks` and `keepGrant`
 */
export async function storeGrant(
  request: StoreRequest,
  obtained: Obtained,
  checking: <T>(check: () => Promise<T>) => Promise<T> = (check) => check(),
): Promise<Stored> {
  const { state, provider, name, user, flow, audience } = request;
  const { scopes } = obtained;
  const isOwn = flow === 'token' || flow === 'import' || flow === 'source';
  const isRotated = obtained.isRotated === true;
  const how = { isIssued: !isOwn, isRotated, isWanted: request.verify !== false };
  const verification =
    obtained.failure === undefined
      ? await checking(() =>
          assertWorks(request, { credential: obtained.answer ?? obtained.credential, audience }, how),
        )
      : { verified: false, says: 'not verified: there is no usable access token' };
  const identity = await identityOf(request, obtained);
  const credential =
    obtained.credential.type === 'oauth2' ? { ...obtained.credential, flow } : obtained.credential;
  const named = { ...identity.claims, ...obtained.details };
  // The verification response may repeat members of the token response under other names.
  const values = new Set(Object.values(named));
  const more = Object.entries(verification.details ?? {}).filter(([, value]) => !values.has(value));
  const details = { ...Object.fromEntries(more), ...named };
  const refusal = request.refusesAccount?.(details) ?? null;
  if (refusal !== null) throw refusal;
  const { grant, replaced } = await keepGrant(
    state,
    {
      wanted: { name, user, provider: provider.name, scopes },
      sealed: { credential, audience, ...detailed(details) },
      settings: request.settings,
    },
    {
      event: 'grant.connected',
      reason: reasonOf(request, details, credential),
      keepsOut: (existing) => refuseOtherProvider(existing, provider.name),
      now: request.now,
    },
  );
  // The new credential makes an earlier failure obsolete.
  if (replaced && credential.type === 'oauth2') void state.activity.refreshed(grant.id);
  return { grant, replaced, details, verification, unknown: identity.unknown };
}

function reasonOf({ reason }: StoreRequest, details: Details, credential: Credential): string | undefined {
  const account = accountOf(details);
  const parts = [
    ...(account === null ? [] : [`account ${account}`]),
    ...(credential.type === 'source' ? [`source ${describeSource(credential)}`] : []),
    ...(reason === undefined ? [] : [reason]),
  ];
  return parts.length === 0 ? undefined : parts.join('; ');
}

/** Returns the account of a person's consent. The userinfo response takes precedence over the ID token. */
async function identityOf(
  request: StoreRequest,
  { credential, identity = {} }: Obtained,
): Promise<Pick<Stored, 'unknown'> & { readonly claims: Details }> {
  const { provider, flow, upstream, signal, now } = request;
  const endpoint = provider.userinfoEndpoint;
  const target = endpoint === null ? null : parseAbsoluteTarget(endpoint);
  const isConsent = flow === 'authorization_code' || flow === 'device_code';
  if (!isConsent || credential.type !== 'oauth2' || endpoint === null || target === null)
    return { claims: identity, unknown: null };
  const [path = ''] = target.path.split('?', 1);
  const io = { fetch: upstream.fetch, now, signal, userAgent: provider.userAgent };
  const answer = await recordAccess<IdentityAnswer>(
    request,
    { method: 'GET', ...target.authority, path, reason: 'account' },
    () => askUserinfo(endpoint, credential, identity['sub'], io),
    ({ status }) => status,
  );
  return answer.kind === 'known'
    ? { claims: { ...identity, ...answer.claims }, unknown: null }
    : { claims: identity, unknown: answer.reason };
}

/**
 * Connects a grant. Records the attempt before any request to the provider or the user, and a failure.
 *
 * @throws SidekeyError `audit_unavailable`; errors of `connect`
 */
export async function noting<T>(
  { state, provider, user }: Pick<VerifyRequest, 'state' | 'provider' | 'user'>,
  existing: OpenedGrant | null,
  connect: () => Promise<T>,
): Promise<T> {
  const event = { grant: existing?.grant.id, user, provider: provider.name } as const;
  await state.audit.append({ ...event, event: 'grant.connecting' });
  try {
    return await connect();
  } catch (error) {
    if (!isRecorded(error)) {
      const code = error instanceof SidekeyError ? error.code : 'internal';
      state.audit.note({ ...event, event: 'grant.connected', outcome: 'failed', code });
    }
    throw error;
  }
}
