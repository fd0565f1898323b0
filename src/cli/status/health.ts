import { get } from 'node:http';
import type { Config } from '../../config/config.ts';
import { reachable } from '../proxy-url.ts';

/** Whether a proxy answers where the config says that it listens. */
export type Health =
  | { readonly kind: 'serving' }
  /** Nothing listens there, or it does not answer in time. */
  | { readonly kind: 'silent'; readonly why: string }
  /** Something answers, and it is no Sidekey. */
  | { readonly kind: 'stranger' }
  /** The port is chosen at the start, so that nobody can know it. */
  | { readonly kind: 'unknown' };

const patienceMs = 1_000;

/** Asks `GET /healthz`. Never rejects. */
export function askHealth({ host, port }: Config['proxy']['listen']): Promise<Health> {
  if (port === 0) return Promise.resolve({ kind: 'unknown' });
  return new Promise((resolve) => {
    const request = get({
      host: reachable(host),
      port,
      path: '/healthz',
      agent: false,
      signal: AbortSignal.timeout(patienceMs),
    });
    request.once('error', (error: NodeJS.ErrnoException) => {
      const late = error.name === 'AbortError' || error.name === 'TimeoutError';
      resolve({
        kind: 'silent',
        why: late ? `no answer within ${patienceMs} ms` : (error.code ?? error.message),
      });
    });
    request.once('response', (response) => {
      let text = '';
      response.setEncoding('utf8');
      response.on('error', () => resolve({ kind: 'silent', why: 'the answer broke off' }));
      response.on('data', (piece: string) => {
        text += piece;
        if (text.length > 1_000) response.destroy();
      });
      response.on('close', () => {
        const ours = response.statusCode === 200 && text.trim() === '{"status":"ok"}';
        resolve({ kind: ours ? 'serving' : 'stranger' });
      });
    });
  });
}
