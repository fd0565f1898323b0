import { bodyTooLarge } from './framing.ts';
import type { Meter } from './meter.ts';

/** A request body on its way: counted, bounded, and kept as far as it may be needed once more. */
export interface RequestBody {
  /** Read at most once; null where there is no body. Throws SidekeyError `body_too_large`. */
  readonly stream: AsyncIterable<Buffer> | null;
  /** The whole of it, where it has all come and been kept: then it can be sent once more. */
  whole(): { readonly copy: Buffer | null } | null;
}

/** How much may come, and how much is kept; both in bytes. */
export interface RequestBodyBounds {
  /** Bytes that are kept; a longer body cannot be sent again. */
  readonly keep: number;
  /** Bytes that may come; 0: any number. */
  readonly most: number;
}

/** Meters a body while it is read; null stands for none. */
export function meteredBody(
  source: AsyncIterable<Buffer> | null,
  bounds: RequestBodyBounds,
  meter: Meter,
): RequestBody {
  if (source === null) return { stream: null, whole: () => ({ copy: null }) };
  let kept: Buffer[] | null = [];
  let bytes = 0;
  let ended = false;

  async function* metered(chunks: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
    for await (const chunk of chunks) {
      bytes += chunk.length;
      meter.received(chunk.length);
      if (bounds.most > 0 && bytes > bounds.most) throw bodyTooLarge(bounds.most);
      if (bytes > bounds.keep) kept = null;
      else kept?.push(chunk);
      yield chunk;
    }
    ended = true;
  }
  return {
    stream: metered(source),
    whole: () => (ended && kept !== null ? { copy: bytes === 0 ? null : Buffer.concat(kept) } : null),
  };
}
