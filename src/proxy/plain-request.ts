import type { RawFields } from './fields.ts';

/** What lets a response be a part, or compressed: in lower case. */
const asksForLess = new Set(['accept-encoding', 'range', 'if-range', 'a-im', 'grpc-accept-encoding']);

/**
 * The fields of a request whose response is looked into: it is asked for as a whole and without a coding, so that it can be
 * passed on as it came.
 */
export function plainRequest(fields: RawFields): string[] {
  const kept = fields.filter((_text, i) => !asksForLess.has(fields[i - (i % 2)]!.toLowerCase()));
  return [...kept, 'Accept-Encoding', 'identity'];
}
