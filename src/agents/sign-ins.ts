import type { AuditLog } from '../domain/event.ts';
import type { Holder } from './permissions.ts';

/** Called for each authenticated caller. `client`: address and port. */
export type SignIns = (holder: Holder, client: string) => void;

/** Maximum number of remembered pairs of token and address; a removed pair is recorded again. */
const maxRemembered = 10_000;

/**
 * Records in the audit when this process first sees a token or a lease from an address, which reveals a
 * stolen token. Each use has its own record.
 */
export function createSignIns(audit: Pick<AuditLog, 'note'>): SignIns {
  const seen = new Set<string>();
  return (holder, client) => {
    const [id, by] = signInOf(holder);
    const key = `${id} ${client.replace(/:[0-9]+$/, '')}`;
    if (seen.has(key)) return;
    const [oldest] = seen.size >= maxRemembered ? seen : [];
    if (oldest !== undefined) seen.delete(oldest);
    seen.add(key);
    audit.note({
      event: 'agent.signed_in',
      agent: holder.agent.name,
      lease: holder.kind === 'lease' ? id : undefined,
      subject: holder.kind === 'identity' ? holder.identity.subject : undefined,
      client,
      outcome: 'allow',
      reason: `by ${by}`,
    });
  };
}

/** Returns the key that identifies a token, and its name for people. Tokens of one subject have one key. */
function signInOf(holder: Holder): readonly [id: string, by: string] {
  switch (holder.kind) {
    case 'token':
      return [holder.token.id, `the token ${holder.token.label}`];
    case 'lease':
      return [holder.lease.id, 'a lease'];
    case 'identity': {
      const { issuer, subject } = holder.identity;
      return [
        JSON.stringify([issuer, subject]),
        issuer === null ? 'a client certificate' : `a token of agent_issuers.${issuer}`,
      ];
    }
  }
}
