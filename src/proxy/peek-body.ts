import { SidekeyError } from '../errors.ts';

/** The beginning of a body, and the body with it in its place again. */
export interface PeekedBody {
  readonly bytes: Buffer;
  /** Whether that is all there is. */
  readonly isWhole: boolean;
  /** Read at most once; null: there is none. */
  readonly body: AsyncIterableIterator<Buffer> | null;
}

/**
 * Reads up to `most` bytes ahead, or a chunk more; the rest still streams. The body that was given stays held, whether
 * or not the rest is read: whoever gave it ends that (`return`).
 */
export async function peekBody(
  body: AsyncIterableIterator<Buffer> | null,
  most: number,
): Promise<PeekedBody> {
  if (body === null) return { bytes: Buffer.alloc(0), isWhole: true, body };
  const chunks = body[Symbol.asyncIterator]();
  const read: Buffer[] = [];
  let length = 0;
  let isWhole = false;
  while (length <= most) {
    const next = await chunks.next();
    if (next.done === true) {
      isWhole = true;
      break;
    }
    read.push(next.value);
    length += next.value.length;
  }
  async function* again(): AsyncGenerator<Buffer> {
    yield* read;
    if (isWhole) return;
    for (;;) {
      const next = await chunks.next();
      if (next.done === true) return;
      yield next.value;
    }
  }
  return { bytes: Buffer.concat(read), isWhole, body: again() };
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
      hint: 'send less, or raise limits.held_body_bytes',
    },
  );
}

/** As `peekBody`. @throws SidekeyError `bad_request` where the client left in the middle of it */
export function readAhead(body: AsyncIterableIterator<Buffer> | null, most: number): Promise<PeekedBody> {
  return peekBody(body, most).catch((cause: unknown) => {
    if (cause instanceof SidekeyError) throw cause;
    throw new SidekeyError('bad_request', 'The request body ended before it was whole.', { cause });
  });
}
