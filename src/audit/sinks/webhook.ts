/**
 * A sink that POSTs lines as they stand in the file (`application/x-ndjson`), so that the receiver has all that their
 * hashes were made over. Signed where a secret is given: `Sidekey-Signature: t=SECONDS,v1=HEX`, an HMAC-SHA256 over
 * `SECONDS.BODY`. `Idempotency-Key` is the same whenever the same lines come again.
 */
import { createHmac } from 'node:crypto';
import { post } from './post.ts';
import type { Sink, SinkExits } from './sink.ts';

/** Where to, and with what. */
export interface WebhookOptions {
  readonly url: string;
  /** Reads the secret of the signature; undefined: nothing is signed. */
  readonly secret: (() => Promise<string>) | undefined;
  readonly exits: () => Pick<SinkExits, 'fetch'>;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
}

/** A sink that POSTs each batch. Any 2xx answer means that it has it. */
export function webhookSink({ url, secret, exits, now }: WebhookOptions): Sink {
  return {
    async deliver({ lines, id }, signal) {
      const body = lines.map(({ text }) => `${text}\n`).join('');
      const headers = {
        'content-type': 'application/x-ndjson',
        'idempotency-key': `"${id}"`,
        ...(secret === undefined ? {} : signature(body, await secret(), now())),
      };
      await post({ url, headers, body }, { fetch: exits().fetch, signal, now: now() });
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
