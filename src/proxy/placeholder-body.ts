import type { SidekeyError } from '../errors.ts';
import { tooLate } from '../inject/placeholders/refused.ts';
import type { BodySyntax, ShownInBody } from '../inject/placeholders/shown.ts';
import type { FoundCode, PlaceholderCodes } from '../placeholder/codes.ts';
import { findIn, PlaceholderScanner } from '../placeholder/scanner.ts';
import { valuesOf, type RawFields } from './fields.ts';
import type { Departure } from './forward.ts';
import type { Reply } from './message.ts';
import { readAhead } from './peek-body.ts';

/** How a body is looked into. */
export interface BodyLook {
  readonly codes: PlaceholderCodes;
  /** Why what was found may not be there. */
  readonly whyNot: (found: readonly FoundCode[]) => SidekeyError | null;
  /** Bytes that are read ahead. */
  readonly most: number;
}

/** A body that was looked into; it is whole still. */
export interface LookedInto extends Pick<Departure, 'body'> {
  /** Null: nothing in it is replaced. */
  readonly shown: ShownInBody | null;
}

/**
 * Looks for placeholders in a body: ahead within bounds where the credential may take their place, and else while it streams.
 *
 * @throws SidekeyError `bad_request` where the client left in it
 */
export async function lookIntoBody(
  { body, framing, fields, bodyHash, wholeBody }: Departure,
  look: BodyLook,
  isWritten: boolean,
  reply: Pick<Reply, 'continue'>,
): Promise<LookedInto | SidekeyError> {
  // What another way has read, it writes itself.
  const isTaken = bodyHash !== undefined || wholeBody !== undefined;
  const syntax = body === null || isTaken ? null : syntaxOf(fields);
  if (body === null || syntax === null) return { body, shown: null };
  if (!isWritten) return { body: watched(body, look), shown: null };
  // It may be a conversation: nobody knows when more of it comes.
  if (framing.kind === 'chunked') return { body, shown: { syntax, whole: null } };
  reply.continue();
  const read = await readAhead(body[Symbol.asyncIterator]() as AsyncIterableIterator<Buffer>, look.most);
  const found = findIn(read.bytes, look.codes);
  const wrong = found.length === 0 ? null : look.whyNot(found);
  if (wrong !== null) return wrong;
  if (found.length > 0)
    return { body: read.body, shown: { syntax, whole: read.isWhole ? read.bytes : null } };
  if (read.isWhole || read.body === null) return { body: read.body, shown: null };
  return { body: watched(read.body, { ...look, whyNot: () => tooLate(look.most) }), shown: null };
}

/** A body that ends where a placeholder comes in it, before the upstream has all of it. */
async function* watched(
  body: AsyncIterable<Buffer>,
  { codes, whyNot }: Pick<BodyLook, 'codes' | 'whyNot'>,
): AsyncGenerator<Buffer> {
  const scanner = new PlaceholderScanner(codes);
  for await (const piece of body) {
    const found = scanner.push(piece);
    const wrong = found.length === 0 ? null : whyNot(found);
    if (wrong !== null) throw wrong;
    yield piece;
  }
}

/** How values are written in a body of this media type. Null: it is not looked into, or is encoded. */
function syntaxOf(fields: RawFields): BodySyntax | null {
  const encodings = valuesOf(fields, 'content-encoding');
  if (encodings.some((encoding) => encoding.trim().toLowerCase() !== 'identity')) return null;
  const [type = ''] = (valuesOf(fields, 'content-type')[0] ?? '').split(';', 1);
  const media = type.trim().toLowerCase();
  if (media.endsWith('/json') || media.endsWith('+json')) return 'json';
  if (media === 'application/x-www-form-urlencoded') return 'form';
  return media === 'multipart/form-data' || media === 'text/plain' ? 'plain' : null;
}
