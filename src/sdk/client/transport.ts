import type { CallOptions } from './call.ts';
import { errorOf, type SidekeyError } from './errors.ts';

/** HTTP of the client: a request, its retries, and its failures. Runs in Node.js, Bun, Deno and pages. */

export interface ApiRequest {
  readonly method: string;
  /** Path and query. */
  readonly path: string;
  readonly body?: RequestInit['body'];
  readonly headers?: Readonly<Record<string, string>>;
  /** True: repeated if its response was lost. Default: true for a GET and with an `Idempotency-Key`. */
  readonly isRepeatable?: boolean;
}

/** Sends a request. Resolves with a successful response. @throws SidekeyError */
export type Send = (request: ApiRequest, options?: CallOptions) => Promise<Response>;

const maxRetries = 3;
const firstWaitMs = 250;
/** Seconds. The caller handles a longer `Retry-After`. */
const maxWaitSeconds = 30;
/** Longest delay of a timer; a longer one would end at once. */
const maxTimerMs = 2 ** 31 - 1;

export interface Service {
  readonly baseUrl: string;
  readonly apiKey: string;
  readonly timeoutMs: number;
  readonly fetch: typeof fetch;
}

export function createTransport({ baseUrl, apiKey, fetch, ...service }: Service): Send {
  return async (request, options = {}) => {
    const { method, path, body } = request;
    const { ifMatch, onHeaders, timeoutMs = service.timeoutMs } = options;
    const isKeyed = method === 'POST' && request.isRepeatable === undefined;
    const key = options.idempotencyKey ?? (isKeyed ? crypto.randomUUID() : undefined);
    const isRepeatable = request.isRepeatable ?? (method === 'GET' || key !== undefined);
    const isStream = body instanceof ReadableStream;
    const headers = {
      authorization: `Bearer ${apiKey}`,
      ...(key === undefined ? {} : { 'idempotency-key': key }),
      ...(ifMatch === undefined ? {} : { 'if-match': ifMatch }),
      ...request.headers,
    };
    const late = new AbortController();
    const timer = setTimeout(() => late.abort(timedOut(baseUrl, timeoutMs)), Math.min(timeoutMs, maxTimerMs));
    const signal = AbortSignal.any([late.signal, ...(options.signal ? [options.signal] : [])]);
    const init = {
      method,
      headers,
      // The key is sent only to this address.
      redirect: 'error',
      ...(body === undefined ? {} : { body }),
      ...(isStream ? { duplex: 'half' } : {}),
      signal,
    } satisfies RequestInit;

    try {
      for (let retries = 0; ; retries += 1) {
        let failure: SidekeyError;
        try {
          const response = await fetch(baseUrl + path, init);
          if (response.ok) {
            onHeaders?.(response.headers);
            return response;
          }
          failure = await failureOf(response);
        } catch (cause) {
          signal.throwIfAborted();
          failure = unreachable(baseUrl, cause);
        }
        const { status, code, retryAfter } = failure;
        const isWorthIt =
          // Refused before any work.
          status === 429 ||
          // The first attempt is still under way.
          (code === 'idempotency_conflict' && retries > 0) ||
          (isRepeatable && [0, 502, 503, 504].includes(status));
        if (isStream || !isWorthIt || retries === maxRetries || (retryAfter ?? 0) > maxWaitSeconds)
          throw failure;
        const backoffMs = firstWaitMs * 2 ** retries * (1 + Math.random());
        await wait(retryAfter === null ? backoffMs : retryAfter * 1_000, signal);
      }
    } finally {
      clearTimeout(timer);
    }
  };
}

function timedOut(baseUrl: string, timeoutMs: number): SidekeyError {
  const hint = 'raise timeoutMs if the call may take longer, such as until a person approves it';
  return errorOf(`${baseUrl} did not answer within ${timeoutMs} ms.`, { code: 'timeout', hint });
}

/** Returns the failure of a request without an answer. `cause`: the error of `fetch`. */
function unreachable(baseUrl: string, cause: unknown): SidekeyError {
  const { code = '' } = ((cause as Error).cause ?? {}) as { readonly code?: string };
  if (/CERT|SELF_SIGNED|UNABLE_TO/.test(code)) {
    const hint = 'set NODE_EXTRA_CA_CERTS to the file of its CA, or correct SIDEKEY_API_URL';
    const sentence = `The certificate of ${baseUrl} is not trusted (${code}).`;
    return errorOf(sentence, { code: 'unreachable', hint }, { cause });
  }
  const why = code === '' ? '' : ` (${code})`;
  const hint = 'is it running, with admin.listen? sidekey status';
  return errorOf(`${baseUrl} does not answer${why}.`, { code: 'unreachable', hint }, { cause });
}

async function failureOf(response: Response): Promise<SidekeyError> {
  const { status, headers } = response;
  const problem = (await response.json().catch(() => null)) as Readonly<Record<string, unknown>> | null;
  const textOf = (name: string) => (typeof problem?.[name] === 'string' ? problem[name] : undefined);
  const seconds = Number(headers.get('retry-after') ?? Number.NaN);
  return errorOf(textOf('detail') ?? `The service answered ${status}.`, {
    code: textOf('code') ?? 'unexpected_answer',
    status,
    hint: textOf('hint'),
    retryAfter: Number.isFinite(seconds) ? seconds : null,
  });
}

/** Resolves after `ms` milliseconds. @throws the reason of the signal, if it is aborted first */
export function wait(ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    signal?.throwIfAborted();
    const aborted = () => {
      clearTimeout(timer);
      // The reason is the caller's own.
      // oxlint-disable-next-line typescript/prefer-promise-reject-errors
      reject(signal?.reason);
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener('abort', aborted);
      resolve();
    }, ms);
    signal?.addEventListener('abort', aborted, { once: true });
  });
}
