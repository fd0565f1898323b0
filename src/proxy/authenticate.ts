import { type Identity, readPresented, selectorsOf } from '../agents/authentication.ts';
import type { InboundRequest } from '../http/message.ts';
import { SidekeyError } from '../lib/errors.ts';
import type { ProxyServices, ConfigSnapshot } from './deps.ts';
import type { ExchangeRecord } from './record.ts';

/** Who asks, and which grant they choose: by what is known of them now. */
export async function callerOf(
  { head, client }: InboundRequest,
  { agents: mode }: Pick<ConfigSnapshot, 'agents'>,
  { agents }: Pick<ProxyServices, 'agents'>,
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
