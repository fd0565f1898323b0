import type { AuditLog } from '../domain/event.ts';
import type { Holder } from './permissions.ts';

/** Hears of each authenticated caller. `client`: address and port. */
export type SignIns = (holder: Holder, client: string) => void;

/** Pairs of token and address that are remembered; a forgotten one is recorded again. */
const maxRemembered = 10_000;

/**
 * Records in the audit when a token or a lease is first used from an address, as far as this process knows.
 * The record shows a stolen token. Each use has its own record.
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

/** Returns what tells a token from others, and its name for people. Tokens of one subject are alike. */
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
