import type { CallOptions } from './call.ts';
import { connectIn, type Connected, type ConnectOptions, type OpenBrowser } from './connect.ts';
import { errorOf, unexpectedAnswer } from './errors.ts';
import { type Operations, operations } from './operations.ts';
import { fetchWith, type GrantOptions, relay, type RequestOptions } from './relay.ts';
import { createTransport, type Send } from './transport.ts';

/**
 * The client of the API (docs/sdk.md): the package `@sidekey/client`. It has no dependency, and runs where
 * `fetch` is: in Node.js from 20.3, Bun, Deno, and pages of the API's own origin. `node.ts` adds what needs
 * a machine.
 */

export type * from './operations.ts';
export { errors, type ErrorCode, SidekeyError } from './errors.ts';
export type { CallOptions } from './call.ts';
export type { Connected, ConnectOptions } from './connect.ts';
export type { GrantOptions, RequestOptions } from './relay.ts';

export interface ClientOptions {
  /** Default: `http://127.0.0.1:8378`. */
  readonly baseUrl?: string | undefined;
  readonly apiKey?: string | undefined;
  /** True: the key may go to another machine over plain HTTP, such as in the network of a pod. */
  readonly allowPlainHttp?: boolean;
  /** Milliseconds until the head of a response; default: 300,000. `Infinity`: no limit. */
  readonly timeoutMs?: number;
  readonly fetch?: typeof fetch;
  /** Opens a browser for `connect`; default: none. */
  readonly openBrowser?: OpenBrowser | null;
  /** Environment that `proxyEnv` extends; default: empty. */
  readonly env?: Readonly<Record<string, string | undefined>>;
}

export interface ProxyEnvOptions {
  /** Address at which the program reaches the proxy; default: that of the config file. */
  readonly proxy?: string;
  /** Agent that gets a new lease for the grants; default: a caller without a token. */
  readonly agent?: string;
  readonly grants?: readonly string[];
  /** Duration of the lease: `30m`. */
  readonly ttl?: string;
  /** Environment to extend; default: that of the client. */
  readonly base?: Readonly<Record<string, string | undefined>>;
  readonly signal?: AbortSignal;
}

export interface Client extends Operations {
  /** Sends a request through the proxy, with the credential of a grant. @throws SidekeyError of a refusal */
  request(method: string, url: string, options?: RequestOptions): Promise<Response>;
  /** Returns a `fetch` for other libraries: `new Octokit({ request: { fetch: client.fetch({ grant }) } })`. */
  fetch(options?: GrantOptions): typeof fetch;
  /** Connects an account that a person selects in a browser. Resolves when it is done. */
  connect(options: ConnectOptions): Promise<Connected>;
  /** Returns the environment of a proxied program: `spawn('claude', { env: await client.proxyEnv() })`. */
  proxyEnv(options?: ProxyEnvOptions): Promise<Record<string, string>>;
}

/** @throws SidekeyError `input_invalid` without a key, or for plain HTTP to another machine */
export function createClient(options: ClientOptions = {}): Client {
  const { apiKey, baseUrl = 'http://127.0.0.1:8378', timeoutMs = 300_000 } = options;
  if (apiKey === undefined || apiKey === '') {
    const hint =
      'set SIDEKEY_API_KEY to the output of: sidekey api-key create NAME --role operator; or run: sidekey login URL';
    throw invalid('The client has no API key.', hint);
  }
  // The error of `fetch` would contain the key.
  if (!/^[!-~]+$/.test(apiKey))
    throw invalid('The API key contains a space, a line break or another character.', 'copy the key alone');
  if (!/^https?:\/\/[^@?#]*$/i.test(baseUrl) || !URL.canParse(baseUrl)) {
    const hint = 'write the address of admin.url in full, such as http://127.0.0.1:8378';
    throw invalid('The base URL is not an http or https URL, or has a user name or a query.', hint);
  }
  const url = new URL(baseUrl);
  if (url.protocol !== 'https:' && !isThisMachine(url.hostname) && options.allowPlainHttp !== true) {
    const hint = 'use https, or set allowPlainHttp in a network that you trust';
    throw invalid('The key would go to another machine in the clear.', hint);
  }
  const send = createTransport({
    baseUrl: url.href.replace(/\/+$/, ''),
    apiKey,
    timeoutMs,
    fetch: options.fetch ?? globalThis.fetch,
  });
  const methods = Object.fromEntries(
    Object.keys(operations).map((id) => [id, methodOf(id as keyof Operations, send)]),
  ) as unknown as Operations;

  return {
    ...methods,
    request: (method, address, rest) => relay(send, { method, url: address, ...rest }),
    fetch: (rest = {}) => fetchWith(send, rest),
    connect: (wanted) => connectIn(methods, wanted, options.openBrowser ?? null),
    async proxyEnv({ base = options.env ?? {}, signal, ...rest } = {}) {
      const { set, remove } = await methods.getEnvironment(rest, { signal });
      const remaining = Object.entries(base).filter(
        (pair): pair is [string, string] => pair[1] !== undefined && !remove.includes(pair[0]),
      );
      return { ...Object.fromEntries(remaining), ...set };
    },
  };
}

function invalid(sentence: string, hint: string): Error {
  return errorOf(sentence, { code: 'input_invalid', hint });
}

function isThisMachine(host: string): boolean {
  return host === 'localhost' || host === '[::1]' || /^127\.\d+\.\d+\.\d+$/.test(host);
}

const json = { 'content-type': 'application/json' };

type Input = Readonly<Record<string, unknown>>;

/** Returns the method of an operation. Input members that are not in the path or the query form the body. */
function methodOf(id: keyof Operations, send: Send) {
  const [kind = '', template = '', ...named] = operations[id].split(/[ ?]/);
  const isRead = kind === 'GET' || kind === 'DELETE' || kind === 'LIST' || kind === 'STREAM';
  const requestOf = (input: Input) => {
    const rest = new Map(Object.entries(input).filter(([, value]) => value !== undefined));
    const taken = (name: string) => {
      const value = rest.get(name);
      rest.delete(name);
      return value;
    };
    const path = template.replace(/\{(\w+)\}/g, (_all, name: string) => {
      const value = taken(name);
      // An empty segment or dots would be another path.
      if (typeof value === 'string' && !/^\.{0,2}$/.test(value)) return encodeURIComponent(value);
      throw invalid(
        `${id}: ${name} is ${JSON.stringify(value)}, which names nothing.`,
        `give ${name} as a text`,
      );
    });
    const query = (isRead ? [...rest.keys()] : named).flatMap((name) => {
      const value = taken(name);
      return (Array.isArray(value) ? value : value === undefined ? [] : [value]).map((each) => [
        name,
        String(each),
      ]);
    });
    return {
      method: kind === 'LIST' || kind === 'STREAM' ? 'GET' : kind,
      path: `/v2${path}${query.length === 0 ? '' : `?${new URLSearchParams(query).toString()}`}`,
      ...(isRead ? {} : { headers: json, body: JSON.stringify(Object.fromEntries(rest)) }),
    };
  };
  if (kind === 'LIST') {
    return async function* list(input: Input = {}, options?: CallOptions) {
      let cursor: string | null | undefined;
      do {
        const page = (await jsonOf(await send(requestOf({ ...input, cursor }), options), options)) as {
          readonly data: readonly unknown[];
          readonly next_cursor: string | null;
        };
        yield* page.data;
        cursor = page.next_cursor;
      } while (cursor !== null);
    };
  }
  if (kind === 'STREAM') {
    return async function* stream(input: Input = {}, options?: CallOptions) {
      yield* events(await send(requestOf(input), options), options);
    };
  }
  return async (input: Input = {}, options?: CallOptions) => {
    const response = await send(requestOf(input), options);
    return response.status === 204 ? undefined : jsonOf(response, options);
  };
}

async function jsonOf(response: Response, options?: CallOptions): Promise<unknown> {
  try {
    return await response.json();
  } catch (cause) {
    throw errorOfBody(response, cause, options);
  }
}

/** Yields the data of server-sent events (https://html.spec.whatwg.org/multipage/server-sent-events.html). */
async function* events(response: Response, options?: CallOptions): AsyncGenerator<unknown, void, undefined> {
  const texts = response.body?.pipeThrough(new TextDecoderStream()) as unknown as AsyncIterable<string>;
  let rest = '';
  let count = 0;
  try {
    for await (const text of texts) {
      const lines = (rest + text).split('\n');
      rest = lines.pop() ?? '';
      for (const line of lines) {
        if (!line.startsWith('data: ')) continue;
        yield JSON.parse(line.slice(6)) as unknown;
        count += 1;
      }
    }
  } catch (cause) {
    throw errorOfBody(response, cause, options, count);
  }
}

/**
 * Returns the error of a response that breaks off, or of another server; `cause` if the caller aborted it.
 *
 * @param count events that were received; absent: not a stream
 */
function errorOfBody(response: Response, cause: unknown, options?: CallOptions, count?: number): unknown {
  if (options?.signal?.aborted === true) return cause;
  if (cause instanceof SyntaxError) return unexpectedAnswer(response, { cause });
  const sentence = `The response of ${response.url} broke off.`;
  if (count === undefined) return errorOf(sentence, { code: 'unreachable' }, { cause });
  const hint = 'stream again; listAuditEvents({ since }) has the events of the gap';
  return errorOf(`${sentence} Received events: ${count}.`, { code: 'unreachable', hint }, { cause });
}
