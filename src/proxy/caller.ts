import { SidekeyError } from '../errors.ts';
import { readPresented, selectorsOf, type Identity } from './agent.ts';
import type { Arrival } from './message.ts';
import type { ExchangeRecord } from './record.ts';
import type { Rooms, Settings } from './rooms.ts';

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
