import { type Identity, readPresented, selectorsOf } from '../agents/authentication.ts';
import type { Holder } from '../agents/rights.ts';
import type { AuditLog } from '../audit/event.ts';
import type { Arrival } from '../http/message.ts';
import { SidekeyError } from '../lib/errors.ts';
import type { Rooms, Settings } from './deps.ts';
import type { ExchangeRecord } from './record.ts';

/** Who asks, and which grant they choose: by what is known of them now. */
export async function callerOf(
  { head, client }: Arrival,
  { agents: mode }: Pick<Settings, 'agents'>,
  { agents }: Pick<Rooms, 'agents'>,
  record: Pick<ExchangeRecord, 'identity'>,
): Promise<Identity | SidekeyError> {
  const presented = client.tunnel?.presented ?? readPresented(head.fields);
  const identity = await agents.identify(presented, {
    address: client.address,
    loopback: client.loopback,
    mode,
    known: (who) => record.identity(who),
  });
  if (identity instanceof SidekeyError) return identity;
  record.identity(identity);
  const selectors = selectorsOf(head.fields, identity.selectors);
  return selectors instanceof SidekeyError ? selectors : { ...identity, selectors };
}

/** Hears of each caller that is known. `client`: address and port. */
export type SignIns = (holder: Holder, client: string) => void;

/** So many are remembered; who was forgotten is told again. */
const most = 10_000;

/**
 * Tells the audit when a token or a lease is first used from an address, as far as this process knows: a token that somebody
 * else has got hold of shows by that. Each use is on record by itself.
 */
export function createSignIns(audit: Pick<AuditLog, 'note'>): SignIns {
  const seen = new Set<string>();
  return (holder, client) => {
    const { id } = holder.kind === 'lease' ? holder.lease : holder.token;
    const key = `${id} ${client.replace(/:[0-9]+$/, '')}`;
    if (seen.has(key)) return;
    const [oldest] = seen.size >= most ? seen : [];
    if (oldest !== undefined) seen.delete(oldest);
    seen.add(key);
    audit.note({
      event: 'agent.signed_in',
      agent: holder.agent.name,
      lease: holder.kind === 'lease' ? id : undefined,
      client,
      outcome: 'allow',
      reason: holder.kind === 'lease' ? 'by a lease' : `by the token ${holder.token.label}`,
    });
  };
}
