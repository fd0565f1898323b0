import { SidekeyError } from '../errors.ts';
import { bodyNeed, type BodyNeed } from '../inject/body-need.ts';
import type { MessageFacts } from '../inject/message-facts.ts';
import { sha256 } from '../sigv4/signature.ts';
import type { Departure } from './forward.ts';
import type { Granted } from './judgement.ts';
import type { Reply } from './message.ts';
import { readAhead } from './peek-body.ts';

/**
 * A request whose body was read, where the grant's credential cannot be put into it before that is known: it is signed, or
 * the credential stands in it. Else as it was.
 *
 * @throws SidekeyError `policy_violation`: such a request cannot carry it in any case; `body_too_large`; `bad_request` where
 * the client left in the middle of it
 */
export async function withKnownBody(
  departure: Departure,
  { settings, grant }: Granted,
  reply: Pick<Reply, 'continue'>,
): Promise<Departure> {
  const plan = settings.injectPlan(grant.provider, departure);
  if (plan instanceof SidekeyError || plan.kind === 'own') return departure;
  const need = bodyNeed({ ...departure, hasBody: hasBody(departure) }, plan);
  const { body } = departure;
  if (need === null || body === null) return departure;
  const most = settings.limits[need.limit];
  // None of it is asked for, where that much is announced.
  if (departure.framing.kind === 'length' && departure.framing.bytes > most) throw tooLarge(need, most);
  reply.continue();
  const read = await readAhead(body[Symbol.asyncIterator]() as AsyncIterableIterator<Buffer>, most);
  if (!read.isWhole) throw tooLarge(need, most);
  const { bytes } = read;
  if (need.of === 'hash') return { ...departure, body: read.body, bodyHash: sha256(bytes) };
  need.check?.(bytes);
  return { ...departure, body: once(bytes), wholeBody: bytes };
}

/** What a way to carry a credential may have to know of a request. */
export function messageFacts(
  departure: Departure,
  limits: Granted['settings']['limits'],
  now: number,
): MessageFacts {
  return {
    method: departure.method,
    hasBody: hasBody(departure),
    bodyHash: departure.bodyHash ?? null,
    body: departure.wholeBody ?? null,
    now,
    chunkBytes: limits.signed_body_bytes,
  };
}

function hasBody({ framing }: Departure): boolean {
  return framing.kind === 'chunked' || (framing.kind === 'length' && framing.bytes > 0);
}

function tooLarge({ what, limit }: BodyNeed, most: number): SidekeyError {
  return new SidekeyError('body_too_large', `${what} has at most ${most} bytes.`, {
    hint: `send less, or raise limits.${limit}`,
  });
}

async function* once(bytes: Buffer): AsyncGenerator<Buffer> {
  yield bytes;
}
