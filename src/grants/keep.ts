import { randomUUID } from 'node:crypto';
import { z } from 'zod';
import type { AuditEvent, AuditEventName, AuditLog } from '../domain/event.ts';
import { recordChange, recordChanges } from '../audit/log.ts';
import { SidekeyError } from '../lib/errors.ts';
import { remedy } from '../lib/hint.ts';
import type { Store } from '../store/store.ts';
import type { Vault } from '../store/vault/vault.ts';
import type { Identity } from './oauth/identity.ts';
import type { Credential, HeldCredential, SealedCredential, OpenedGrant } from '../domain/credential.ts';
import { type Grant, titleOf } from '../domain/grant.ts';
import type { Provider } from '../domain/provider.ts';
import { registeredShape } from './sealed-text.ts';
import type { Addition, NewGrant, Registry } from './registry.ts';

export interface KeepState {
  readonly store: Store;
  readonly vault: Vault;
  readonly grants: Registry;
  readonly audit: AuditLog;
}

/** Result of a flow. */
export interface Obtained {
  readonly credential: Credential;
  /** Output of a source, which is verified but not stored; absent: not a source. */
  readonly answer?: HeldCredential;
  /** Scopes that the provider granted. */
  readonly scopes: readonly string[];
  /** See `SealedCredential`. */
  readonly details?: Readonly<Record<string, string>>;
  /** See `Consented`. */
  readonly identity?: Identity;
  /** True if the flow used up the refresh token of the input. A failed check does not lose its successor. */
  readonly isRotated?: true;
  /** Reason why the credential has no usable access token; absent: it has one, or needs none. */
  readonly failure?: SidekeyError;
}

interface KeepOptions {
  readonly event: Extract<AuditEventName, 'grant.added' | 'grant.connected' | 'grant.minted'>;
  /** Caller for the audit log; absent: not a request. */
  readonly by?: Partial<AuditEvent>;
  /** Reason for the audit log, besides a replacement. */
  readonly reason?: string | undefined;
  /** Returns the reason why a grant must not be replaced; null: it may. */
  readonly keepsOut: (existing: Grant) => SidekeyError | null;
  readonly now: () => number;
  /** ID of a new grant; absent: random. */
  readonly newId?: string;
}

export interface KeptGrant {
  readonly grant: Grant;
  /** True if an older credential was replaced. The grant kept its ID. */
  readonly replaced: boolean;
}

/**
 * Stores a credential of a user. A grant of the same name and user keeps its ID, and becomes `active`. The
 * audit log records it first.
 *
 * @throws SidekeyError of `keepsOut`; `audit_unavailable`; errors of `Registry`
 */
export async function keepGrant(
  state: KeepState,
  wanted: NewGrant,
  sealed: SealedCredential,
  { event: name, by, reason, keepsOut, now, newId }: KeepOptions,
): Promise<KeptGrant> {
  const { user, provider } = wanted;
  const dated = withConsent(sealed, now());
  const existing = await state.grants.named(wanted);
  const refusal = existing === null ? null : keepsOut(existing);
  if (refusal !== null) throw refusal;
  const id = existing?.id ?? newId ?? randomUUID();
  const event = { ...by, event: name, grant: id, user, provider };
  if (existing === null) {
    const grant = await recordChange(state.audit, { ...event, reason }, () =>
      state.grants.add(wanted, dated, id),
    );
    return { grant, replaced: false };
  }
  const why = reason === undefined ? 'replaced' : `replaced; ${reason}`;
  const grant = await recordChange(state.audit, { ...event, reason: why }, () =>
    replaceWhatever(state.grants, id, wanted, dated),
  );
  return { grant, replaced: true };
}

/** A credential to store, and the grant that it is for. */
interface WantedGrant {
  readonly wanted: NewGrant;
  readonly sealed: SealedCredential;
}

/**
 * Stores up to 1,000 credentials as `keepGrant` does: all new ones or none, then replacements one by one.
 *
 * @throws as `keepGrant`
 */
export async function keepGrants(
  state: KeepState,
  entries: readonly WantedGrant[],
  options: Pick<KeepOptions, 'event' | 'now'> & {
    readonly keepsOut: (existing: Grant, wanted: NewGrant) => SidekeyError | null;
  },
): Promise<readonly KeptGrant[]> {
  const { event, now, keepsOut } = options;
  const existing = await grantsNamed(
    state.store,
    entries.map(({ wanted }) => wanted),
  );
  const additions: Addition[] = [];
  for (const { wanted, sealed } of entries) {
    const grant = existing.get(ownedName(wanted));
    const refusal = grant === undefined ? null : keepsOut(grant, wanted);
    if (refusal !== null) throw refusal;
    if (grant === undefined)
      additions.push({ grant: wanted, sealed: withConsent(sealed, now()), id: randomUUID() });
  }
  const events = additions.map(({ grant: { user, provider }, id }) => ({ event, grant: id, user, provider }));
  const added = await recordChanges(state.audit, events, () => state.grants.addAll(additions));
  const kept: KeptGrant[] = [];
  let next = 0;
  for (const { wanted, sealed } of entries) {
    if (!existing.has(ownedName(wanted))) kept.push({ grant: added[next++]!, replaced: false });
    else {
      const refuse = (grant: Grant) => keepsOut(grant, wanted);
      kept.push(await keepGrant(state, wanted, sealed, { event, now, keepsOut: refuse }));
    }
  }
  return kept;
}

/** Returns the grants that have one of up to 1,000 names of users, by `ownedName`. */
export async function grantsNamed(
  store: Pick<Store, 'grants'>,
  named: readonly Pick<Grant, 'name' | 'user'>[],
): Promise<ReadonlyMap<string, Grant>> {
  const records = await store.grants.find({ named });
  return new Map(records.map((record) => [ownedName(record), record]));
}

/** Returns a key for the name of a grant and its user. */
export function ownedName({ name, user }: Pick<Grant, 'name' | 'user'>): string {
  return `${user}\n${name}`;
}

/** Returns the `details` member, if there are details. */
export function detailed(details: SealedCredential['details'] = {}): Pick<SealedCredential, 'details'> {
  return Object.keys(details).length === 0 ? {} : { details };
}

/** Adds the time of consent: some refresh tokens expire a fixed time after it. */
function withConsent(sealed: SealedCredential, consentedAt: number): SealedCredential {
  const { credential } = sealed;
  return credential.type === 'oauth2' ? { ...sealed, credential: { ...credential, consentedAt } } : sealed;
}

/** Replaces the credential, even if a refresh stored one meanwhile. Metadata is kept. */
async function replaceWhatever(
  grants: Registry,
  id: string,
  { provider, scopes }: NewGrant,
  sealed: SealedCredential,
): Promise<Grant> {
  for (;;) {
    const stored = await grants.read(id);
    if (stored === null) throw grantGone();
    const next = { ...sealed, metadata: stored.sealed.metadata };
    const grant = await grants.replaceCredential(stored.grant, next, { provider, scopes });
    if (grant !== null) return grant;
  }
}

/**
 * Returns the grant to reconnect; null: no grant of the name.
 *
 * @throws SidekeyError `already_exists`: the grant is of another provider
 */
export async function existingGrant(
  { grants }: Pick<KeepState, 'grants'>,
  wanted: Pick<Grant, 'name' | 'user' | 'provider'>,
): Promise<OpenedGrant | null> {
  const grant = await grants.named(wanted);
  if (grant === null) return null;
  const refusal = refuseOtherProvider(grant, wanted.provider);
  if (refusal !== null) throw refusal;
  return grants.read(grant.id);
}

/** Returns the error for another provider: a consent never changes that of a grant. */
export function refuseOtherProvider(existing: Grant, provider: string): SidekeyError | null {
  if (existing.provider === provider) return null;
  return new SidekeyError(
    'already_exists',
    `There is a grant ${titleOf(existing)} already, of the provider ${existing.provider}.`,
    { hint: 'call this one by another name: --name NAME' },
  );
}

/** Client of grants, besides its ID. */
export const ownClientShape = z.object({
  /** Null: a public client. */
  secret: z.string().nullable(),
  registered: registeredShape.optional(),
});

/** Most grants of others that a search for a client opens. */
const mostRead = 20;

export type OwnClient = z.infer<typeof ownClientShape>;

/**
 * Returns the client of the existing grant, else the client that Sidekey registered for another grant of the
 * provider; null: the definition has the whole client.
 */
export async function ownClient(
  { store, grants }: Pick<KeepState, 'store' | 'grants'>,
  provider: Pick<Provider, 'name' | 'clientId' | 'clientSecret'>,
  existing: OpenedGrant | null,
): Promise<OwnClient | null> {
  if (provider.clientSecret !== null || provider.clientId === null) return null;
  const clientIn = (opened: OpenedGrant | null) => {
    const credential = opened?.sealed.credential;
    return credential?.type === 'oauth2' && credential.clientId === provider.clientId
      ? { secret: credential.clientSecret, registered: credential.registered }
      : null;
  };
  const own = clientIn(existing);
  if (own !== null) return own;
  // A few suffice, because every grant of a registered client has its mark.
  for (const record of await store.grants.newest(provider.name, mostRead)) {
    const other = clientIn(await grants.openRecord(record));
    if (other?.registered !== undefined) return other;
  }
  return null;
}

/** Returns the provider with this client. */
export function withClient(provider: Provider, { secret, registered }: OwnClient): Provider {
  const marked = registered === undefined ? provider : { ...provider, registered };
  return secret === null ? marked : { ...marked, clientSecret: async () => secret };
}

/** Adds the client to an obtained credential: later refreshes need it, also if the provider has another. */
export function sealingSecret(
  obtained: Obtained,
  { clientId, registered }: Provider,
  secret: string | null,
): Obtained {
  const { credential } = obtained;
  if ((secret === null && registered === undefined) || credential.type !== 'oauth2') return obtained;
  const client = { clientId, clientSecret: secret, ...(registered === undefined ? {} : { registered }) };
  return { ...obtained, credential: { ...credential, ...client } };
}

export function grantGone(): SidekeyError {
  return new SidekeyError('grant_missing', 'The grant was removed at the same time.', {
    hint: remedy('grant.list'),
  });
}
