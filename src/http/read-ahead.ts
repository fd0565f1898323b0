import { SidekeyError } from '../lib/errors.ts';

/** The first bytes of a body, and the whole body. */
interface BodyStart {
  readonly bytes: Buffer;
  /** True if `bytes` is the whole body. */
  readonly isWhole: boolean;
  /** The whole body, which is read at most once; null: there is none. */
  readonly body: AsyncIterableIterator<Buffer> | null;
}

/**
 * Reads up to `max` bytes of a body, or one chunk more; the rest still streams. The caller ends the given body (`return`),
 * whether or not the rest is read.
 *
 * @throws SidekeyError `bad_request`: the client disconnected within the body
 */
export async function readAhead(body: AsyncIterableIterator<Buffer> | null, max: number): Promise<BodyStart> {
  if (body === null) return { bytes: Buffer.alloc(0), isWhole: true, body };
  const chunks = body[Symbol.asyncIterator]();
  const read: Buffer[] = [];
  let length = 0;
  let isWhole = false;
  try {
    while (length <= max) {
      const next = await chunks.next();
      if (next.done === true) {
        isWhole = true;
        break;
      }
      read.push(next.value);
      length += next.value.length;
    }
  } catch (cause) {
    if (cause instanceof SidekeyError) throw cause;
    throw new SidekeyError('bad_request', 'The request body ended before it was whole.', { cause });
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
