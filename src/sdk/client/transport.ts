/** HTTP of the client: a request, its retries, and its failures. Runs in Node.js, Bun, Deno and pages. */

export interface CallOptions {
  readonly signal?: AbortSignal | undefined;
  /** `Idempotency-Key` of a POST; default: a random one, so that a retry does not do the work twice. */
  readonly idempotencyKey?: string | undefined;
  /** ETag that the resource must still have. */
  readonly ifMatch?: string | undefined;
  /** Receives the header fields of the response, such as `ETag`. */
  readonly onHeaders?: ((headers: Headers) => void) | undefined;
}

export interface ApiRequest {
  readonly method: string;
  /** Path and query. */
  readonly path: string;
  readonly body?: unknown;
  /** True: repeated if its response was lost. Default: true for a GET and with an `Idempotency-Key`. */
  readonly isRepeatable?: boolean;
}

/** Sends a request. Resolves with a successful response. @throws SidekeyError */
export type Send = (request: ApiRequest, options?: CallOptions) => Promise<Response>;

interface Failure {
  readonly code: string;
  readonly status?: number;
  readonly hint?: string | undefined;
  readonly retryAfter?: number | null;
}

/** A failure with a hint. */
export class SidekeyError extends Error {
  override readonly name = 'SidekeyError';
  /** Stable code; docs/errors.md lists those of the service. `unreachable`: the service did not respond. */
  readonly code: string;
  /** HTTP status of the response; 0: none. */
  readonly status: number;
  readonly hint: string | undefined;
  /** Seconds after which a retry may succeed. */
  readonly retryAfter: number | null;

  constructor(
    message: string,
    { code, status = 0, hint, retryAfter = null }: Failure,
    options?: ErrorOptions,
  ) {
    super(message, options);
    this.code = code;
    this.status = status;
    this.hint = hint;
    this.retryAfter = retryAfter;
  }
}

const maxRetries = 3;
const firstWaitMs = 250;
/** Seconds. The caller handles a longer `Retry-After`. */
const maxWaitSeconds = 30;

export interface Service {
  readonly baseUrl: string;
  readonly apiKey: string;
  readonly fetch: typeof fetch;
}

export function createTransport({ baseUrl, apiKey, fetch }: Service): Send {
  return async (request, options = {}) => {
    const { method, path, body } = request;
    const { signal, ifMatch, onHeaders } = options;
    const isKeyed = method === 'POST' && request.isRepeatable === undefined;
    const key = options.idempotencyKey ?? (isKeyed ? crypto.randomUUID() : undefined);
    const isRepeatable = request.isRepeatable ?? (method === 'GET' || key !== undefined);
    const headers = {
      authorization: `Bearer ${apiKey}`,
      ...(body === undefined ? {} : { 'content-type': 'application/json' }),
      ...(key === undefined ? {} : { 'idempotency-key': key }),
      ...(ifMatch === undefined ? {} : { 'if-match': ifMatch }),
    };
    const init = {
      method,
      headers,
      // The key is sent only to this address.
      redirect: 'error',
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      ...(signal === undefined ? {} : { signal }),
    } satisfies RequestInit;

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
        signal?.throwIfAborted();
        failure = unreachable(baseUrl, cause);
      }
      const { status, code, retryAfter } = failure;
      const isWorthIt =
        // Refused before any work.
        status === 429 ||
        // The first attempt is still under way.
        (code === 'idempotency_conflict' && retries > 0) ||
        (isRepeatable && [0, 502, 503, 504].includes(status));
      if (!isWorthIt || retries === maxRetries || (retryAfter ?? 0) > maxWaitSeconds) throw failure;
      const backoffMs = firstWaitMs * 2 ** retries * (1 + Math.random());
      await wait(retryAfter === null ? backoffMs : retryAfter * 1_000, signal);
    }
  };
}

/** Returns the failure of a request without an answer. `cause`: the error of `fetch`. */
function unreachable(baseUrl: string, cause: unknown): SidekeyError {
  const { code = '' } = ((cause as Error).cause ?? {}) as { readonly code?: string };
  if (/CERT|SELF_SIGNED|UNABLE_TO/.test(code)) {
    const hint = 'set NODE_EXTRA_CA_CERTS to the file of its CA, or correct SIDEKEY_API_URL';
    const sentence = `The certificate of ${baseUrl} is not trusted (${code}).`;
    return new SidekeyError(sentence, { code: 'unreachable', hint }, { cause });
  }
  const why = code === '' ? '' : ` (${code})`;
  const hint = 'is it running, with admin.listen? sidekey status';
  return new SidekeyError(`${baseUrl} does not answer${why}.`, { code: 'unreachable', hint }, { cause });
}

async function failureOf(response: Response): Promise<SidekeyError> {
  const { status, headers } = response;
  const problem = (await response.json().catch(() => null)) as Readonly<Record<string, unknown>> | null;
  const textOf = (name: string) => (typeof problem?.[name] === 'string' ? problem[name] : undefined);
  const seconds = Number(headers.get('retry-after') ?? Number.NaN);
  return new SidekeyError(textOf('detail') ?? `The service answered ${status}.`, {
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
