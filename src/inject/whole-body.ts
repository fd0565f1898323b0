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
  const reframed: BodyPlan = { kind: 'length', bytes: body.length };
  const fields = [...withoutSums(request.fields), 'Content-Length', String(body.length)];
  return { ...request, fields, reframed, rewriteBody: (pieces) => inPlaceOf(pieces, body) };
}

/** A request whose body is written anew while it streams: nobody knows how long it will be. */
export function streaming(
  request: Injected,
  rewriteBody: (pieces: AsyncIterable<Buffer> | Iterable<Buffer>) => AsyncIterable<Buffer>,
): Injected {
  const fields = [...withoutSums(request.fields), 'Transfer-Encoding', 'chunked'];
  return { ...request, fields, reframed: { kind: 'chunked' }, rewriteBody };
}

function withoutSums(fields: readonly string[]): readonly string[] {
  return fields.filter((_text, i) => !ofBody.has(fields[i - (i % 2)]!.toLowerCase()));
}

async function* inPlaceOf(
  pieces: AsyncIterable<Buffer> | Iterable<Buffer>,
  body: Buffer,
): AsyncGenerator<Buffer> {
  for await (const _ of pieces);
  yield body;
}
