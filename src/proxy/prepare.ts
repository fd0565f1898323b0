import { SidekeyError } from '../errors.ts';
import type { Departure } from './forward.ts';
import type { Granted } from './judgement.ts';
import { withKnownBody } from './known-body.ts';
import type { Carried, Reply } from './message.ts';
import { strayInHead, withPlaceholders, type ShownFacts } from './placeholders.ts';
import type { ExchangeRecord } from './record.ts';
import type { Rooms } from './rooms.ts';
import { answerTokenRequest, isTokenRequest } from './token-answer.ts';

/**
 * A request that a grant is meant for, with all that has to be known of it before the credential can be put into it: its
 * placeholders, and its body as far as that is needed. Or the end of it, where it asks for a token and gets a placeholder.
 *
 * @returns SidekeyError why it cannot leave
 * @throws SidekeyError as `withKnownBody`
 */
export async function prepare(
  departure: Departure,
  granted: Granted,
  shown: Pick<ShownFacts, 'offer' | 'inHead'>,
  reply: Reply,
  rooms: Rooms,
  record: ExchangeRecord,
): Promise<Departure | Carried | SidekeyError> {
  const { settings, caller, grant } = granted;
  const facts: ShownFacts = { ...shown, settings, caller, grant };
  const stray = strayInHead(departure, facts, rooms.placeholders);
  if (stray !== null) return stray;
  let leaving = departure;
  if (isTokenRequest(departure, settings.provider(grant.provider))) {
    const answered = await answerTokenRequest(departure, granted, reply, rooms, record);
    if (answered instanceof SidekeyError || 'fate' in answered) return answered;
    leaving = { ...departure, ...answered };
  }
  const known = await withKnownBody(leaving, granted, reply);
  return withPlaceholders(known, facts, rooms.placeholders, reply, () => rooms.audit.note(record.strayed()));
}
