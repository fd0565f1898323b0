import { SidekeyError } from '../errors.ts';
import { wantsBodyHash, type SigningFacts } from '../inject/sigv4/sign-request.ts';
import { sha256 } from '../sigv4/signature.ts';
import type { Departure } from './forward.ts';
import type { Granted } from './judgement.ts';
import type { Reply } from './message.ts';
import { readAhead } from './peek-body.ts';

/**
 * A request whose body was read and hashed, where the grant's credential signs it by that; else as it was. S3 needs none
 * of this: its clients say in a field how the body is signed.
 *
 * @throws SidekeyError `policy_violation`: it is not signed in any case; `body_too_large`; `bad_request` where the client
 * left in the middle of it
 */
export async function withBodyHash(
  departure: Departure,
  { settings, grant }: Granted,
  reply: Pick<Reply, 'continue'>,
): Promise<Departure> {
  const plan = settings.injectPlan(grant.provider, departure);
  const { body } = departure;
  if (plan instanceof SidekeyError || plan.kind !== 'aws_sigv4' || body === null) return departure;
  if (!wantsBodyHash({ ...departure, hasBody: hasBody(departure) }, plan)) return departure;
  reply.continue();
  const most = settings.limits.signed_body_bytes;
  const read = await readAhead(body[Symbol.asyncIterator]() as AsyncIterableIterator<Buffer>, most);
  if (!read.isWhole || read.bytes.length > most) {
    throw new SidekeyError(
      'body_too_large',
      `A request body that is signed by its hash has at most ${most} bytes.`,
      {
        hint: 'send less, or raise limits.signed_body_bytes',
      },
    );
  }
  return { ...departure, body: read.body, bodyHash: sha256(read.bytes) };
}

/** What a signature has to know of a request. */
export function signingFacts(
  departure: Departure,
  limits: Granted['settings']['limits'],
  now: number,
): SigningFacts {
  return {
    method: departure.method,
    hasBody: hasBody(departure),
    bodyHash: departure.bodyHash ?? null,
    now,
    chunkBytes: limits.signed_body_bytes,
  };
}

function hasBody({ framing }: Departure): boolean {
  return framing.kind === 'chunked' || (framing.kind === 'length' && framing.bytes > 0);
}
