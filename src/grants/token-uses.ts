import type { Config } from '../config/config.ts';
import type { AuditEvent } from '../domain/event.ts';
import type { Store } from '../store/store.ts';

/** Events by which a caller gets an access token, or has it sent. */
const uses: ReadonlySet<string> = new Set(['access', 'credential.added', 'token.read']);

/**
 * Returns the listener of audit events that notes who used which token, for leases that revoke their tokens
 * when they end. It writes only the first use by a lease, and by callers without one; a failed write is
 * repeated at the next use.
 *
 * @param config the configuration in force, read for each event
 */
export function tokenUseNotes(
  store: Pick<Store, 'tokenUses'>,
  now: () => number,
  config: () => { readonly leases: Pick<Config['leases'], 'revokesTokens'> },
): (event: AuditEvent) => void {
  /** The current token of each grant, and its users so far. */
  const noted = new Map<string, { readonly token: string; readonly users: Map<string, number> }>();
  return ({ event, grant: grantId, credential: token, lease = null }) => {
    if (!uses.has(event) || grantId === undefined || token === undefined || !config().leases.revokesTokens)
      return;
    let known = noted.get(grantId);
    if (known?.token !== token) {
      // Grants of leases come and go.
      if (noted.size >= maxGrants) noted.clear();
      noted.set(grantId, (known = { token, users: new Map() }));
    }
    const { users } = known;
    const user = lease ?? '';
    const at = now();
    // A lease that ended, and was renewed since, counts again.
    if (at < (users.get(user) ?? 0) + noteEveryMs) return;
    if (users.size >= maxUsers) users.clear();
    users.set(user, at);
    store.tokenUses.note({ grantId, token, lease }, at).catch(() => users.delete(user));
  };
}

/** Milliseconds after which the use of a token is written again. */
const noteEveryMs = 60_000;
/** Maximum number of grants in memory. */
const maxGrants = 10_000;
/** Maximum number of users of one token in memory. */
const maxUsers = 10_000;
