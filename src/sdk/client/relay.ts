import { SidekeyError, unexpectedAnswer } from './errors.ts';
import type { ApiRequest, Send } from './transport.ts';

/** Requests that Sidekey sends with the credential of a grant: `POST /v2/relay`. */

export interface GrantOptions {
  /** Id or name of the grant; default: the grant of the domain map. */
  readonly grant?: string | undefined;
  /** User of the grant. */
  readonly user?: string | undefined;
  /** Agent to act as, under a lease that ends with the response. */
  readonly agent?: string | undefined;
  /** Reason, for the audit log and for a person who approves the request. */
  readonly reason?: string | undefined;
  /** Milliseconds until the head of the response; default: that of the client. */
  readonly timeoutMs?: number | undefined;
}

export interface RequestOptions extends GrantOptions {
  readonly headers?: RequestInit['headers'];
  /** A body as `fetch` has it, an async iterable of bytes or texts, or an object that is sent as JSON. */
  readonly body?: RequestInit['body'] | object;
  readonly signal?: AbortSignal | null | undefined;
  /** Default `follow`: Sidekey follows redirects, and checks each. Otherwise the redirect is returned. */
  readonly redirect?: RequestInit['redirect'];
}

type Outgoing = RequestOptions & { readonly method: string; readonly url: string };

/** The field `Sidekey-Answer`. `url`: the address after redirects; absent: there was none. */
type Answer = { readonly status: number; readonly headers: [string, string][]; readonly url?: string };

/** Resolves with the response of the upstream. @throws SidekeyError of a refusal */
export async function relay(send: Send, outgoing: Outgoing): Promise<Response> {
  const { body: given, headers, signal, timeoutMs, redirect = 'follow', ...asked } = outgoing;
  const fields = new Headers(headers ?? {});
  for (const name of ofTheConnection) fields.delete(name);
  // Every runtime decodes these.
  if (!fields.has('accept-encoding')) fields.set('accept-encoding', 'gzip, deflate');
  const broken = new AbortController();
  const { body, type = {} } = encoded(given, broken);
  const head = { ...asked, headers: [...fields], follow: redirect === 'follow' };
  const response = await send(
    {
      method: 'POST',
      path: '/v2/relay',
      headers: { ...type, 'sidekey-relay': ascii(JSON.stringify(head)) },
      body,
      isRepeatable: body === undefined && (asked.method === 'GET' || asked.method === 'HEAD'),
    },
    { signal: AbortSignal.any([broken.signal, ...(signal ? [signal] : [])]), timeoutMs },
  );
  return upstreamResponse(response, asked.url);
}

/** Fields that belong to a connection, which `fetch` of a browser leaves out too. */
const ofTheConnection = ['connection', 'content-length', 'host', 'transfer-encoding'];

/** Returns `fetch` with the credential of a grant. A refusal by Sidekey is a response with `Sidekey-Error`. */
export function fetchWith(send: Send, options: GrantOptions): typeof fetch {
  return async (input, init = {}) => {
    const request = typeof input === 'object' && 'url' in input ? input : undefined;
    const method = (init.method ?? request?.method ?? 'GET').toUpperCase();
    const upload = method === 'GET' || method === 'HEAD' ? undefined : request;
    try {
      return await relay(send, {
        ...options,
        method,
        url: request?.url ?? (input as string | URL).toString(),
        headers: init.headers ?? request?.headers,
        // The length of the body of a request is known only if it is read.
        body: init.body ?? (await upload?.blob()),
        signal: init.signal === undefined ? request?.signal : init.signal,
        redirect: init.redirect ?? request?.redirect,
      });
    } catch (error) {
      // Libraries repeat a call that throws: they take it for a lost connection.
      if (error instanceof SidekeyError && error.status > 0) return refusal(error);
      throw error;
    }
  };
}

/** Returns a response that libraries show: most read `message`, and JSON of this type only. */
function refusal({ status, code, message, hint, retryAfter }: SidekeyError): Response {
  const headers = {
    'sidekey-error': code,
    ...(retryAfter === null ? {} : { 'retry-after': String(retryAfter) }),
  };
  return Response.json({ status, code, message, detail: message, hint }, { status, headers });
}

/**
 * Returns what `fetch` sends, and the type if `fetch` does not know it.
 *
 * @param broken is aborted with the error of a body that cannot be read
 * @throws TypeError for a value that has no encoding
 */
function encoded(
  given: RequestOptions['body'],
  broken: AbortController,
): Pick<ApiRequest, 'body'> & { readonly type?: object } {
  if (given === undefined || given === null) return { body: undefined };
  // `fetch` of Bun sends no type.
  if (typeof given === 'string') return { body: given, type: { 'content-type': 'text/plain;charset=UTF-8' } };
  if (ArrayBuffer.isView(given)) return { body: given as Uint8Array };
  // So is a ReadableStream, except in old browsers.
  if (Symbol.asyncIterator in Object(given)) return { body: streamOf(given as AsyncIterable<Chunk>, broken) };
  const kinds = [ArrayBuffer, Blob, FormData, ReadableStream, URLSearchParams];
  if (kinds.some((kind) => given instanceof kind)) return { body: given as Blob };
  return { body: JSON.stringify(given, plain), type: { 'content-type': 'application/json' } };
}

type Chunk = Uint8Array | string;

/** Returns a value of a body if JSON has it. @throws TypeError otherwise: JSON would lose a part of it */
function plain(_name: string, value: unknown): unknown {
  const isObject = typeof value === 'object' && value !== null;
  const prototype: unknown = isObject && !Array.isArray(value) ? Object.getPrototypeOf(value) : null;
  // The prototype of a plain object has none itself, in any realm.
  const isPlain = prototype === null || Object.getPrototypeOf(prototype) === null;
  if (isPlain && typeof value !== 'function' && typeof value !== 'symbol') return value;
  const name = isObject ? (value.constructor as { readonly name: string }).name : typeof value;
  throw new TypeError(`A body cannot contain a ${name}: give a plain object, or encode it first.`);
}

function streamOf(chunks: AsyncIterable<Chunk>, broken: AbortController): ReadableStream<Uint8Array> {
  const iterator = chunks[Symbol.asyncIterator]();
  const encoder = new TextEncoder();
  return new ReadableStream({
    async pull(controller) {
      try {
        const { done, value } = await iterator.next();
        const bytes: Uint8Array = typeof value === 'string' ? encoder.encode(value) : value;
        if (done === true) controller.close();
        else if (ArrayBuffer.isView(bytes)) controller.enqueue(bytes);
        else throw new TypeError('A stream of a body contains something other than bytes and text.');
      } catch (error) {
        broken.abort(error);
        throw error;
      }
    },
    cancel: async (reason) => void (await iterator.return?.(reason)),
  });
}

/** Escapes what a header field cannot contain. */
function ascii(json: string): string {
  return json.replace(/[^ -~]/g, (each) => `\\u${each.charCodeAt(0).toString(16).padStart(4, '0')}`);
}

async function upstreamResponse(response: Response, asked: string): Promise<Response> {
  const answer = response.headers.get('sidekey-answer');
  if (answer === null) throw unexpectedAnswer(response);
  const { status, headers, url = asked } = JSON.parse(answer) as Answer;
  // `fetch` has decoded the body, so its encoding and its length are no longer true.
  const isDecoded = headers.some(([name]) => name.toLowerCase() === 'content-encoding');
  const fields = headers.filter(([name]) => !isDecoded || !/^content-(?:encoding|length)$/i.test(name));
  const hasBody = ![101, 103, 204, 205, 304].includes(status);
  if (!hasBody) await response.body?.cancel();
  // A stream of its own: Node.js cancels that of `response` when nothing refers to `response` any more.
  const body = hasBody ? (response.body?.pipeThrough(new TransformStream()) ?? null) : null;
  const result = new Response(body, { status, headers: fields });
  return Object.defineProperties(result, { url: { value: url }, redirected: { value: url !== asked } });
}
