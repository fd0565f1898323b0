import { SidekeyError } from '../errors.ts';
import { authorityText } from '../policy/authority.ts';
import { decide } from '../policy/decide.ts';
import { readPresented, selectorsOf } from './agent.ts';
import { requestFields } from './fields.ts';
import type { Departure } from './forward.ts';
import { framingOf } from './framing.ts';
import { withCredential } from './credential.ts';
import type { Arrival, Carried, Reply } from './message.ts';
import { beginRecord, type ExchangeRecord } from './record.ts';
import { refuse } from './refusal.ts';
import type { Rooms, Settings } from './rooms.ts';
import { targetOf } from './target.ts';

/** Sends a request that has been admitted, and streams what comes back into the reply. */
export type Carrier = (departure: Departure, reply: Reply, settings: Settings) => Promise<Carried>;

/**
 * One request and its response: the whole product on one screen. Each step goes on with what the one before found, or
 * refuses. Whatever happens, the client gets an answer or a closed connection, and the audit says which.
 */
export async function exchange(arrival: Arrival, reply: Reply, rooms: Rooms, carry: Carrier): Promise<void> {
  const record = beginRecord(arrival, rooms.now);
  let end: Carried | SidekeyError;
  try {
    const settings = rooms.settings();
    const departure = await admit(arrival, rooms, settings, record);
    end = departure instanceof SidekeyError ? departure : await carry(departure, reply, settings);
  } catch (error) {
    if (!(error instanceof SidekeyError)) rooms.log.error({ err: error }, 'an exchange failed');
    end =
      error instanceof SidekeyError
        ? error
        : new SidekeyError('internal', 'Sidekey failed; its log says why.');
  }
  if (end instanceof SidekeyError)
    rooms.audit.note(record.refused(end, refuse(reply, end, arrival.head.method)));
  else rooms.audit.note(record.outcome(end));
}

/** From what arrived to what may leave. When it answers with a departure, the access is on disk. */
async function admit(
  { head, body, client }: Arrival,
  rooms: Rooms,
  settings: Settings,
  record: ExchangeRecord,
): Promise<Departure | SidekeyError> {
  // 1 authority; first of all where the request ends, for what stands behind it depends on that
  const framing = framingOf(head, settings.limits);
  const target = targetOf(head, client.tunnel);
  if (!(target instanceof SidekeyError)) record.target(target);
  if (framing instanceof SidekeyError) return framing;
  if (target instanceof SidekeyError) return target;
  const { authority, path } = target;

  // 2 agent
  const presented = client.tunnel?.presented ?? readPresented(head.fields);
  const identity = await rooms.agents.identify(presented, {
    loopback: client.loopback,
    mode: settings.agents,
  });
  if (identity instanceof SidekeyError) return identity;
  record.identity(identity);
  const selectors = selectorsOf(head.fields, identity.selectors);
  if (selectors instanceof SidekeyError) return selectors;

  // 3 decision
  const decision = decide(settings.policy, authority);
  if (decision.outcome === 'deny')
    return new SidekeyError(decision.code, `${decision.reason}.`, { hint: decision.hint });

  const departure: Departure = {
    authority,
    method: head.method,
    path,
    fields: requestFields(head.fields, authorityText(authority)),
    body,
    carriesGrant: false,
  };
  if (decision.outcome === 'tunnel') {
    await rooms.audit.append(record.access());
    return departure;
  }
  // 4 credential, 5 audit, 6 injection
  return withCredential(departure, decision, selectors, rooms, settings, record);
}
