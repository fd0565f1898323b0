import type { BodyPlan } from './body-plan.ts';
import type { Injected } from './inject.ts';

/** What frames a body, and what sums it up (RFC 9530, RFC 1864): it is said of the one that came. */
const ofBody: ReadonlySet<string> = new Set([
  'content-length',
  'transfer-encoding',
  'trailer',
  'content-md5',
  'digest',
  'content-digest',
  'repr-digest',
]);

/** A request with another body, which is whole. The one that came is still read to its end: so much is counted, and kept. */
export function withBody(request: Injected, body: Buffer): Injected {
  const fields: string[] = [];
  for (let i = 0; i < request.fields.length; i += 2) {
    if (!ofBody.has(request.fields[i]!.toLowerCase()))
      fields.push(request.fields[i]!, request.fields[i + 1]!);
  }
  fields.push('Content-Length', String(body.length));
  const reframed: BodyPlan = { kind: 'length', bytes: body.length };
  return { ...request, fields, reframed, rewriteBody: (pieces) => inPlaceOf(pieces, body) };
}

async function* inPlaceOf(
  pieces: AsyncIterable<Buffer> | Iterable<Buffer>,
  body: Buffer,
): AsyncGenerator<Buffer> {
  for await (const _ of pieces);
  yield body;
}
