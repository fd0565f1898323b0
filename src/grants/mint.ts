import { recordChange } from '../audit/log.ts';
import type { AuditEvent } from '../domain/event.ts';
import {
  type AwsKeys,
  type Credential,
  type SealedCredential,
  secretText,
  withoutToken,
} from '../domain/credential.ts';
import { type Grant, hasEnded, titleOf } from '../domain/grant.ts';
import { SidekeyError } from '../lib/errors.ts';
import { grantEvent } from './activity.ts';
import { createFingerprint } from '../proxy/schemes/apply.ts';
import { isWithin as covers, patternsOf } from '../proxy/policy/domain-map.ts';
import { regionOf } from '../proxy/schemes/sigv4/sigv4.ts';
import { grantGone, keepGrant, type KeepState } from './keep.ts';
import { isWithin } from './refresh.ts';

/** A credential that a response contained. */
export type MintedSecret = string | { readonly username: string; readonly password: string } | AwsKeys;

/** A response that contained a credential, and the caller that may use it. */
export interface MintRequest {
  /** Grant of the request. */
  readonly parent: Grant;
  /** Name of the row of `mints`. */
  readonly mint: string;
  readonly secret: MintedSecret;
  /** Expiry that the response states, in milliseconds since the epoch; null: none. */
  readonly expiresAt: number | null;
  /** Maximum lifetime in milliseconds. */
  readonly maxMs: number;
  /** Domain patterns of the hosts that the credential may be sent to. */
  readonly audience: readonly string[];
  /** True: the provider's revocation endpoint accepts the credential. */
  readonly isRevocable: boolean;
  /** Lease of the caller; null: a caller without one. */
  readonly lease: { readonly id: string } | null;
  /** Caller for the audit log. */
  readonly by: Pick<AuditEvent, 'exchange' | 'agent' | 'lease' | 'subject' | 'client'>;
}

/** A minted grant. */
export interface Minted {
  readonly grant: Grant;
  /** False: an earlier response contained the same credential. */
  readonly isNew: boolean;
}

/** Maximum live grants of one parent, row and lease. Callers without a lease share one such number. */
const mostLive = 50;
/** Maximum rows that are counted, ended ones included. */
const mostRows = 10 * mostLive;

/**
 * Stores a credential that a response contained as a grant below the grant of the request. The same
 * credential for the same lease is the same grant. The grant ends at the stated expiry or after the maximum
 * lifetime, and is removed before with its parent, or with its lease, which may be renewed until then.
 *
 * @throws SidekeyError `mint_limit`; `grant_missing`: the parent ended or lost scopes; errors of `keepGrant`
 */
export async function mintGrant(
  { parent, mint, secret, audience, isRevocable, lease, by, ...ends }: MintRequest,
  state: MintState,
): Promise<Minted> {
  const { grants, store, vault, now } = state;
  const at = now();
  // The store is asked, because the memory of this process may be older.
  const root = await store.grants.get(parent.parent ?? parent.id);
  // The answer to a request that was sent before a revocation, or with scopes that the grant has lost since.
  if (root === null || root.state === 'revoked' || !isWithin(parent.scopes, root.scopes)) throw grantGone();
  const expiresAt = Math.min(ends.expiresAt ?? Infinity, at + ends.maxMs);
  const sealed =
    typeof secret === 'object' && 'accessKeyId' in secret
      ? await keysBelow(root.id, grants, { ...secret, expiresAt, audience })
      : { credential: credentialOf(secret, { at, expiresAt, isRevocable }), audience };
  const fingerprint = (text: string) => vault.mac('credential-fingerprint', text);
  // The ID and name follow from the credential, so that two processes never store it twice: see `keepGrants`.
  const id = uuidOf(fingerprint([root.id, mint, lease?.id, secretText(sealed.credential)].join('\n')));
  const existing = await grants.current(id);
  if (existing?.state === 'active' && existing.expiresAt! >= expiresAt)
    return { grant: existing, isNew: false };
  const place = { root, mint, lease, id };
  if (existing === null) await assertRoom(place, state);
  const suffix = `.${mint}-${id.slice(0, 8)}`;
  const wanted = {
    name: `${root.name.slice(0, 64 - suffix.length)}${suffix}`,
    user: root.user,
    provider: root.provider,
    scopes: [],
    ...(lease === null ? {} : { lease: lease.id }),
    parent: root.id,
    mint,
  };
  const { grant, replaced } = await keepGrant(
    state,
    { wanted, sealed, newId: id },
    {
      event: 'grant.minted',
      by,
      reason: `${mint} of ${titleOf(root)}`,
      keepsOut: (named) => (named.id === id ? null : nameTaken(named)),
      now,
    },
  );
  if (!replaced) await assertRoomOrRemove(grant, place, state);
  if (isRevocable && lease !== null)
    await store.tokenUses.note(
      { grantId: id, token: createFingerprint(fingerprint)(sealed), lease: lease.id },
      at,
    );
  return { grant, isNew: !replaced };
}

/** Removes a minted grant, and records why. */
export async function removeMinted(
  { audit, grants }: Pick<KeepState, 'audit' | 'grants'>,
  record: Grant,
  reason: string,
): Promise<void> {
  const event = grantEvent(record, { event: 'grant.removed', lease: record.lease ?? undefined, reason });
  await recordChange(audit, event, () => grants.remove(record.id));
}

type MintState = KeepState & { readonly now: () => number };

/** The parent, row and lease that a limit is for, and the ID of the grant that does not count. */
interface MintPlace extends Pick<MintRequest, 'mint' | 'lease'> {
  readonly root: Grant;
  readonly id: string;
}

/** Other responses may have passed the first check at the same time. */
async function assertRoomOrRemove(grant: Grant, place: MintPlace, state: MintState): Promise<void> {
  try {
    await assertRoom(place, state);
  } catch (error) {
    await removeMinted(state, grant, 'mint_limit');
    throw error;
  }
}

async function assertRoom({ root, mint, lease, id }: MintPlace, { store, now }: MintState): Promise<void> {
  const query = { parents: [root.id], mint, lease: lease?.id ?? null, limit: mostRows + 1 };
  const others = (await store.grants.minted(query)).filter((record) => record.id !== id);
  // More rows than one page may have live ones.
  const isKnown = others.length < mostRows;
  if (isKnown && others.filter((record) => !hasEnded(record, now())).length < mostLive) return;
  throw new SidekeyError(
    'mint_limit',
    `The caller holds ${mostLive} credentials of ${mint} that ${titleOf(root)} returned.`,
  );
}

/** Returns the patterns of one audience that another covers. */
function covered(some: readonly string[], all: readonly string[]): readonly string[] {
  return patternsOf(some).flatMap((pattern) => (covers(all, pattern) ? [pattern.text] : []));
}

/** Returns keys of AWS for no more of their hosts and regions than the parent, if that has any of them. */
async function keysBelow(
  root: string,
  grants: KeepState['grants'],
  { audience, ...keys }: AwsKeys & Pick<MintRequest, 'audience' | 'expiresAt'>,
): Promise<SealedCredential> {
  const opened = await grants.read(root);
  if (opened === null) throw grantGone();
  const { audience: reached, credential } = opened.sealed;
  const common = new Set([...covered(audience, reached), ...covered(reached, audience)]);
  return {
    credential: { ...keys, type: 'aws', region: regionOf(credential) },
    audience: common.size === 0 ? audience : [...common],
  };
}

function credentialOf(
  secret: Exclude<MintedSecret, AwsKeys>,
  {
    at,
    expiresAt,
    isRevocable,
  }: { readonly at: number; readonly expiresAt: number; readonly isRevocable: boolean },
): Credential {
  if (typeof secret !== 'string') return { ...secret, type: 'basic', expiresAt };
  return {
    ...withoutToken({}, at),
    accessToken: secret,
    expiresAt,
    flow: 'mint',
    // A token of another server than the provider's is never sent to its revocation endpoint.
    tokenEndpoint: isRevocable ? null : '',
  };
}

function nameTaken(named: Grant): SidekeyError {
  return new SidekeyError('already_exists', `There is a grant ${titleOf(named)} already.`);
}

/** Returns a UUID (RFC 9562 §5.8) of the first bits of a hash. */
function uuidOf(hex: string): string {
  const parts = [hex.slice(0, 8), hex.slice(8, 12), `8${hex.slice(13, 16)}`, `a${hex.slice(17, 20)}`];
  return [...parts, hex.slice(20, 32)].join('-');
}
