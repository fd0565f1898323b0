import { randomUUID } from 'node:crypto';
import { audited } from '../../audit/audited.ts';
import type { AuditEventName } from '../../audit/event.ts';
import type { SidekeyError } from '../../errors.ts';
import type { SealedCredential } from '../../grants/credential.ts';
import type { Grant } from '../../grants/grant.ts';
import { openRegistry, type NewGrant, type Registry } from '../../grants/registry.ts';
import type { State } from '../../state.ts';
import { grantGone } from './pick.ts';

/** How a credential is kept. */
export interface KeepOptions {
  /** What the audit file says of it. */
  readonly event: Extract<AuditEventName, 'grant.added' | 'grant.connected'>;
  /** Why, for the audit file, where there is more to say than that one took the place of another. */
  readonly reason?: string | undefined;
  /** Asked where the user has a grant of that name: why it must stay as it is. Null: it may be replaced. */
  readonly keepsOut: (existing: Grant) => SidekeyError | null;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
}

/** A grant as it is stored now. */
export interface KeptGrant {
  readonly grant: Grant;
  /** Whether it took the place of an older credential; the id is that of the older one. */
  readonly replaced: boolean;
}

/**
 * Stores what a person handed over or consented to. A grant of the same name and user keeps its id, and becomes
 * `active`. The audit file has it first.
 *
 * @throws SidekeyError what `keepsOut` says; `audit_unavailable`; what `Registry` throws
 */
export async function keepGrant(
  state: State,
  wanted: NewGrant,
  sealed: SealedCredential,
  { event: name, reason, keepsOut, now }: KeepOptions,
): Promise<KeptGrant> {
  const { user, provider } = wanted;
  const dated = withConsent(sealed, now());
  const existing = await findExact(state.grants, wanted);
  const refusal = existing === null ? null : keepsOut(existing);
  if (refusal !== null) throw refusal;
  const id = existing?.id ?? randomUUID();
  const event = { event: name, grant: id, user, provider } as const;
  if (existing === null) {
    const registry = openRegistry({ store: state.store, vault: state.vault, now, newId: () => id });
    const grant = await audited(state.audit, { ...event, reason }, () => registry.add(wanted, dated));
    return { grant, replaced: false };
  }
  const why = reason === undefined ? 'replaced' : `replaced; ${reason}`;
  const grant = await audited(state.audit, { ...event, reason: why }, () =>
    replaceWhatever(state.grants, id, wanted, dated),
  );
  return { grant, replaced: true };
}

/** Some refresh tokens end so long after the consent, however often they are used. */
function withConsent(sealed: SealedCredential, consentedAt: number): SealedCredential {
  const { credential } = sealed;
  return credential.type === 'oauth2' ? { ...sealed, credential: { ...credential, consentedAt } } : sealed;
}

/** The grant that a user has under exactly that name; null: none. */
export async function findExact(
  grants: Registry,
  { name, user }: Pick<Grant, 'name' | 'user'>,
): Promise<Grant | null> {
  return (await grants.list()).find((grant) => grant.name === name && grant.user === user) ?? null;
}

/** What a person hands over goes before what a refresh stored meanwhile. */
async function replaceWhatever(
  grants: Registry,
  id: string,
  { provider, scopes }: NewGrant,
  sealed: SealedCredential,
): Promise<Grant> {
  for (;;) {
    const stored = await grants.read(id);
    if (stored === null) throw grantGone();
    const grant = await grants.replaceCredential(stored.grant, sealed, { provider, scopes });
    if (grant !== null) return grant;
  }
}
