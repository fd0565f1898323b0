import { createHmac } from 'node:crypto';
import { type Sink, type SinkTransports, SinkFailure } from './sink.ts';

/**
 * A sink that POSTs lines as they stand in the file (`application/x-ndjson`), so that the receiver has all that their
 * hashes were made over. Signed where a secret is given: `Sidekey-Signature: t=SECONDS,v1=HEX`, an HMAC-SHA256 over
 * `SECONDS.BODY`. `Idempotency-Key` is the same whenever the same lines come again.
 */

/** Where to, and with what. */
interface WebhookOptions {
  readonly url: string;
  /** Reads the secret of the signature; undefined: nothing is signed. */
  readonly secret: (() => Promise<string>) | undefined;
  readonly transports: () => Pick<SinkTransports, 'fetch'>;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
}

/** A sink that POSTs each batch. Any 2xx answer means that it has it. */
export function webhookSink({ url, secret, transports: transports, now }: WebhookOptions): Sink {
  return {
    async deliver({ lines, id }, signal) {
      const body = lines.map(({ text }) => `${text}\n`).join('');
      const headers = {
        'content-type': 'application/x-ndjson',
        'idempotency-key': `"${id}"`,
        ...(secret === undefined ? {} : signature(body, await secret(), now())),
      };
      await post({ url, headers, body }, { fetch: transports().fetch, signal, now: now() });
    },
    close() {},
  };
}

/**
 * The header that proves who sent a body, and when.
 * @param now Milliseconds since the epoch.
 */
export function signature(body: string, secret: string, now: number): { 'sidekey-signature': string } {
  const seconds = Math.floor(now / 1_000);
  const mac = createHmac('sha256', secret).update(`${seconds}.${body}`).digest('hex');
  return { 'sidekey-signature': `t=${seconds},v1=${mac}` };
}

/** One POST to a receiver of audit lines, and what its answer means. */

/** More of an answer is not read. */
const mostAnswer = 65_536;
/** A receiver may ask for this much patience, in milliseconds. */
const longestRetryAfter = 3_600_000;

/** A request. */
interface Post {
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
