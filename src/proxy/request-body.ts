import { bodyTooLarge } from '../http/framing.ts';
import { readAhead } from '../http/read-ahead.ts';
import type { Meter } from '../http/message.ts';
import { SidekeyError } from '../lib/errors.ts';

/** A request body on its way: counted, bounded, and kept as far as it may be needed once more. */
export interface RequestBody {
  /** Null where there is no body. Throws SidekeyError `body_too_large`. */
  readonly stream: AsyncIterable<Buffer> | null;
  /** The whole of it, where it has all come and been kept: then it can be sent once more. */
  whole(): { readonly copy: Buffer | null } | null;
  /**
   * All of it from the first byte on, what is still to come included, where all that has come was kept. Whoever reads the
   * body goes on with it by this from now on.
   */
  again(): { readonly copy: AsyncIterable<Buffer> | null } | null;
}

/** Limits of a request body, in bytes. */
interface RequestBodyBounds {
  /** Bytes that are kept; a longer body cannot be sent again. */
  readonly keep: number;
  /** Bytes that may come; 0: any number. */
  readonly most: number;
}

/** A piece, and what comes behind it. Whoever holds one holds all that come later, and nothing else does. */
interface Link {
  readonly piece: Buffer;
  next: Promise<Link | null> | null;
}

const nothing = Buffer.alloc(0);

/** Meters a body while it is read; null stands for none. */
export function meteredBody(
  source: AsyncIterable<Buffer> | null,
  bounds: RequestBodyBounds,
  meter: Meter,
): RequestBody {
  if (source === null) return { stream: null, whole: () => ({ copy: null }), again: () => ({ copy: null }) };
  const pieces = source[Symbol.asyncIterator]();
  let first: Link | null = { piece: nothing, next: null };
  let kept: Buffer[] | null = [];
  let bytes = 0;
  let ended = false;

  async function pull(): Promise<Link | null> {
    const { done, value } = await pieces.next();
    if (done === true) {
      ended = true;
      return null;
    }
    bytes += value.length;
    meter.received(value.length);
    if (bounds.most > 0 && bytes > bounds.most) throw bodyTooLarge(bounds.most);
    if (bytes > bounds.keep) first = kept = null;
    else kept?.push(value);
    return { piece: value, next: null };
  }
  /** @param at of all pieces it holds this one alone: a name for the first would hold the whole body */
  async function* from(at: Link | null): AsyncGenerator<Buffer> {
    while (at !== null) {
      // One that waits for the next piece already, and wants it no more, does not take it from this one.
      at = await (at.next ??= pull());
      if (at !== null) yield at.piece;
    }
  }
  return {
    stream: from(first),
    whole: () => (ended && kept !== null ? { copy: bytes === 0 ? null : Buffer.concat(kept) } : null),
    again: () => (first === null ? null : { copy: from(first) }),
  };
}

/**
 * Reads a body to its end, and answers with it in memory.
 *
 * @throws SidekeyError `body_too_large` where it has more than `most` bytes; `bad_request` where the client left in it
 */
export async function wholeBody(
  body: AsyncIterableIterator<Buffer> | null,
  most: number,
): Promise<AsyncIterableIterator<Buffer> | null> {
  if (body === null) return null;
  const peeked = await readAhead(body, most);
  if (peeked.isWhole && peeked.bytes.length <= most) return peeked.body;
  throw new SidekeyError(
    'body_too_large',
    `A request body that waits for approval has at most ${most} bytes.`,
    {
      hint: 'send less, or raise limits.approval_body_bytes',
    },
  );
}
