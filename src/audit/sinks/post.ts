/** One POST to a receiver of audit lines, and what its answer means. */
import { SinkFailure } from './sink.ts';

/** More of an answer is not read. */
const mostAnswer = 65_536;
/** A receiver may ask for this much patience, in milliseconds. */
const longestRetryAfter = 3_600_000;

/** A request. */
export interface Post {
  readonly url: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
}

/**
 * Sends it and answers the body of a 2xx answer.
 * @param now Milliseconds since the epoch, for a `Retry-After` that is a date.
 * @throws SinkFailure for any other answer, and where there is none
 */
export async function post(
  { url, headers, body }: Post,
  {
    fetch,
    signal,
    now,
  }: { readonly fetch: typeof globalThis.fetch; readonly signal: AbortSignal; readonly now: number },
): Promise<string> {
  const { host } = new URL(url);
  let response: Response;
  let text: string;
  try {
    response = await fetch(url, { method: 'POST', headers, body, signal });
    text = await readBounded(response);
  } catch (cause) {
    throw new SinkFailure(`${host} gave no answer (${reasonOf(cause)})`, { cause });
  }
  if (response.ok) return text;
  throw new SinkFailure(`${host} answered ${response.status}`, {
    retryAfterMs: retryAfter(response.headers.get('retry-after'), now),
    tooLarge: response.status === 413,
  });
}

async function readBounded(response: Response): Promise<string> {
  const pieces: Uint8Array[] = [];
  let size = 0;
  for await (const piece of response.body ?? []) {
    size += piece.length;
    // The rest is not needed; leaving the loop cancels it.
    if (size > mostAnswer) break;
    pieces.push(piece);
  }
  return Buffer.concat(pieces).toString('utf8');
}

function retryAfter(value: string | null, now: number): number | undefined {
  if (value === null) return undefined;
  const ms = /^\d{1,9}$/.test(value) ? Number(value) * 1_000 : Date.parse(value) - now;
  return ms > 0 ? Math.min(ms, longestRetryAfter) : undefined;
}

/** A code or name of what went wrong beneath; never its message, which may hold anything. */
export function reasonOf(error: unknown): string {
  for (let at = error; at instanceof Error; at = at.cause) {
    if ('code' in at && typeof at.code === 'string') return at.code;
  }
  return error instanceof Error ? error.name : 'unknown';
}
