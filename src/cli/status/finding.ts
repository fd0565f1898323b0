import { get } from 'node:http';
import type { Config } from '../../config/config.ts';
import { failures, SidekeyError } from '../../lib/errors.ts';
import { reachable } from '../format.ts';

/** One thing that was looked at. */
export interface Finding {
  readonly name:
    | 'config'
    | 'proxy'
    | 'store'
    | 'key'
    | 'CA'
    | 'domains'
    | 'grants'
    | 'audit'
    | 'permissions'
    | 'clock'
    | 'upstreams';
  readonly ok: boolean;
  /** For people. */
  readonly text: string;
  /** For programs. */
  readonly facts: Readonly<Record<string, unknown>>;
  readonly needs: readonly Need[];
}

/** Something to be done by a person. */
export interface Need {
  readonly sentence: string;
  readonly hint: string | null;
}

/** What was found; `ok` where it needs nothing. */
export function finding(
  name: Finding['name'],
  text: string,
  facts: Finding['facts'],
  needs: readonly Need[] = [],
): Finding {
  return { name, ok: needs.length === 0, text, facts, needs };
}

/** What could not even be looked at. */
export function broken(name: Finding['name'], error: unknown): Finding {
  const known =
    error instanceof SidekeyError
      ? error
      : new SidekeyError('internal', error instanceof Error ? error.message : String(error));
  const need = { sentence: known.message, hint: known.hint ?? null };
  return finding(name, failures[known.code].title.toLowerCase(), { error: known.code }, [need]);
}

/** Looks at one thing for itself: what is broken there hides nothing else. */
export async function attempt(name: Finding['name'], looking: () => Promise<Finding>): Promise<Finding> {
  try {
    return await looking();
  } catch (error) {
    return broken(name, error);
  }
}

/** Whether a proxy answers where the config says that it listens. */
type Health =
  | { readonly kind: 'serving' }
  /** Nothing listens there, or it does not answer in time. */
  | { readonly kind: 'silent'; readonly why: string }
  /** Something answers, and it is no Sidekey. */
  | { readonly kind: 'stranger' }
  /** The port is chosen at the start, so that nobody can know it. */
  | { readonly kind: 'unknown' };

const timeoutMs = 1_000;

/** Asks `GET /healthz`. Never rejects. */
export function askHealth({ host, port }: Config['proxy']['listen']): Promise<Health> {
  if (port === 0) return Promise.resolve({ kind: 'unknown' });
  return new Promise((resolve) => {
    const request = get({
      host: reachable(host),
      port,
      path: '/healthz',
      agent: false,
      signal: AbortSignal.timeout(timeoutMs),
    });
    request.once('error', (error: NodeJS.ErrnoException) => {
      const late = error.name === 'AbortError' || error.name === 'TimeoutError';
      resolve({
        kind: 'silent',
        why: late ? `no answer within ${timeoutMs} ms` : (error.code ?? error.message),
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
