import { randomUUID } from 'node:crypto';
import { z } from 'zod';
import type { AuditEvent, AuditEventName, AuditLog } from '../domain/event.ts';
import { recordChanges } from '../audit/log.ts';
import { SidekeyError } from '../lib/errors.ts';
import { remedy } from '../lib/hint.ts';
import type { PolicyChange, Store } from '../store/store.ts';
import type { Vault } from '../store/vault/vault.ts';
import type { Identity } from './oauth/identity.ts';
import type {
  Credential,
  HeldCredential,
  Metadata,
  OpenedGrant,
  SealedCredential,
} from '../domain/credential.ts';
import { type Grant, titleOf } from '../domain/grant.ts';
import type { Provider } from '../domain/provider.ts';
import { registeredShape } from './sealed-text.ts';
import { type Addition, changedMetadata, type NewGrant, type Registry } from './registry.ts';

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
  /**
   * True if a failed check does not lose the credential: the flow used up the refresh token of the input, or
   * a cloud gave a token with scopes that the check does not fit.
   */
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
  readonly keepsOut: (existing: Grant, wanted: NewGrant) => SidekeyError | null;
  readonly now: () => number;
}

export interface KeptGrant {
  readonly grant: Grant;
  /** True if an older credential was replaced. The grant kept its ID. */
  readonly replaced: boolean;
}

/** Settings that are stored together with a grant. */
export interface KeptSettings {
  readonly policy: PolicyChange;
  /** Added to that of the grant; an empty value removes its key. */
  readonly metadata: Metadata;
  /** The changes, for the audit log. */
  readonly reason: string;
}

/** A credential to store, and the grant that it is for. */
export interface WantedGrant {
  readonly wanted: NewGrant;
  readonly sealed: SealedCredential;
  /** Returns settings of the grant with this ID, which is new if the store does not have it; absent: none. */
  readonly settings?: ((id: string) => Promise<KeptSettings>) | undefined;
  /** ID of a new grant; absent: random. */
  readonly newId?: string;
}

/** Stores one credential as `keepGrants` does. */
export async function keepGrant(
  state: KeepState,
  entry: WantedGrant,
  options: KeepOptions,
): Promise<KeptGrant> {
  return (await keepGrants(state, [entry], options))[0]!;
}

/**
 * Stores up to 1,000 credentials of users, with the settings of their grants: all new ones or none, then
 * replacements one by one. A grant of the same name and user keeps its ID, and becomes `active`. The audit
 * log records each first.
 *
 * @throws SidekeyError of `keepsOut`; `audit_unavailable`; errors of `Registry`
 */
export async function keepGrants(
  state: KeepState,
  entries: readonly WantedGrant[],
  options: KeepOptions,
): Promise<readonly KeptGrant[]> {
  const { event, by, reason, keepsOut, now } = options;
  const names = entries.map(({ wanted }) => wanted);
  const existing = await grantsNamed(state.store, names);
  const writes: (Addition & { readonly events: readonly AuditEvent[]; readonly isNew: boolean })[] = [];
  for (const { wanted: grant, sealed, settings, newId } of entries) {
    const before = existing.get(ownedName(grant));
    const refusal = before === undefined ? null : keepsOut(before, grant);
    if (refusal !== null) throw refusal;
    const id = before?.id ?? newId ?? randomUUID();
    const kept = await settings?.(id);
    const isNew = before === undefined;
    const { user, provider } = grant;
    const why = isNew ? reason : reason === undefined ? 'replaced' : `replaced; ${reason}`;
    const events: AuditEvent[] = [{ ...by, event, grant: id, user, provider, reason: why }];
    if (kept) events.push({ ...by, event: 'grant.changed', grant: id, user, reason: kept.reason });
    const metadata = isNew ? changedMetadata(undefined, kept?.metadata) : kept?.metadata;
    const dated = { ...withConsent(sealed, now()), metadata };
    writes.push({ grant, sealed: dated, id, policy: kept?.policy, events, isNew });
  }
  const additions = writes.filter(({ isNew }) => isNew);
  const additionEvents = additions.flatMap(({ events }) => events);
  let added: readonly Grant[];
  try {
    added = await recordChanges(state.audit, additionEvents, () => state.grants.addAll(additions));
  } catch (error) {
    const isTaken = error instanceof SidekeyError && error.code === 'already_exists';
    if (!isTaken || (await grantsNamed(state.store, names)).size <= existing.size) throw error;
    // Another call stored one of the names since they were read.
    return keepGrants(state, entries, options);
  }
  const kept: KeptGrant[] = [];
  let next = 0;
  for (const { isNew, events, ...write } of writes) {
    const grant = isNew
      ? added[next++]!
      : await recordChanges(state.audit, events, () => replaceWhatever(state.grants, write));
    kept.push({ grant, replaced: !isNew });
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
  { id, grant: { provider, scopes }, sealed, policy }: Addition,
): Promise<Grant> {
  for (;;) {
    const stored = await grants.read(id);
    if (stored === null) throw grantGone();
    const next = { ...sealed, metadata: changedMetadata(stored.sealed.metadata, sealed.metadata) };
    const grant = await grants.replaceCredential(stored.grant, next, { provider, scopes, policy });
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
