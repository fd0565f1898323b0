import { connectIn, type Connected, type ConnectOptions } from './connect.ts';
import { type Operations, operations } from './operations.ts';
import { type CallOptions, createTransport, type Send, SidekeyError } from './transport.ts';

/**
 * The client of the API (docs/sdk.md): `import { createClient } from 'sidekey/client'`. It has no dependency.
 * Runs in Node.js from 20, Bun, Deno, and pages of the API's own origin.
 */

export type * from './operations.ts';
export { SidekeyError, type CallOptions } from './transport.ts';
export type { Connected, ConnectOptions } from './connect.ts';

export interface ClientOptions {
  /** Default: `SIDEKEY_API_URL`, that of `sidekey login`, or `http://127.0.0.1:8378`. */
  readonly baseUrl?: string;
  /** Default: `SIDEKEY_API_KEY`, or the key of `sidekey login` at this address. */
  readonly apiKey?: string;
  /** True: the key may go to another machine over plain HTTP, such as in the network of a pod. */
  readonly allowPlainHttp?: boolean;
  readonly fetch?: typeof fetch;
}

export interface RequestOptions {
  /** Id or name of the grant; default: the grant of the domain map. */
  readonly grantId?: string;
  /** User of the grant. */
  readonly user?: string;
  /** Agent to act as, under a lease that ends with the request. */
  readonly agent?: string;
  /** Reason, for the audit log and for a person who approves the request. */
  readonly reason?: string;
  readonly headers?: Readonly<Record<string, string>>;
  /** Body: a text, or a value that is sent as JSON. */
  readonly body?: unknown;
  readonly signal?: AbortSignal;
}

export interface ProxyEnvOptions {
  /** Address at which the program reaches the proxy; default: that of the config file. */
  readonly proxy?: string;
  /** Agent that gets a new lease for the grants; default: a caller without a token. */
  readonly agent?: string;
  readonly grants?: readonly string[];
  /** Duration of the lease: `30m`. */
  readonly ttl?: string;
  /** Environment to extend; default: that of this process. */
  readonly base?: Readonly<Record<string, string | undefined>>;
  readonly signal?: AbortSignal;
}

export interface Client extends Operations {
  /** Sends a request through the proxy, with the credential of a grant. */
  request(method: string, url: string, options?: RequestOptions): Promise<Response>;
  /** Connects an account that a person selects in a browser. Resolves when it is done. */
  connect(options: ConnectOptions): Promise<Connected>;
  /** Returns the environment of a proxied program: `spawn('claude', { env: await client.proxyEnv() })`. */
  proxyEnv(options?: ProxyEnvOptions): Promise<Record<string, string>>;
}

/** @throws SidekeyError `input_invalid` without a key, or for plain HTTP to another machine */
export function createClient(options: ClientOptions = {}): Client {
  const given = options.apiKey ?? env('SIDEKEY_API_KEY');
  const saved = given === undefined ? savedLogin() : null;
  const { baseUrl = env('SIDEKEY_API_URL') ?? saved?.url ?? 'http://127.0.0.1:8378' } = options;
  // The key is sent only to its own service.
  const apiKey = given ?? (saved?.url === baseUrl.replace(/\/+$/, '') ? saved.key : undefined);
  if (apiKey === undefined || apiKey === '') {
    const hint =
      'set SIDEKEY_API_KEY to the output of: sidekey api-key create NAME --role operator; or run: sidekey login URL';
    throw new SidekeyError('The client has no API key.', { code: 'input_invalid', hint });
  }
  if (!URL.canParse(baseUrl) || !/^https?:/i.test(baseUrl)) {
    const hint = 'write the address of admin.url in full, such as http://127.0.0.1:8378';
    throw new SidekeyError('The base URL is not an http or https URL.', { code: 'input_invalid', hint });
  }
  const url = new URL(baseUrl);
  if (url.protocol !== 'https:' && !isThisMachine(url.hostname) && options.allowPlainHttp !== true) {
    const hint = 'use https, or set allowPlainHttp in a network that you trust';
    throw new SidekeyError('The key would go to another machine in the clear.', {
      code: 'input_invalid',
      hint,
    });
  }
  const send = createTransport({
    baseUrl: url.href.replace(/\/+$/, ''),
    apiKey,
    fetch: options.fetch ?? globalThis.fetch,
  });
  const methods = Object.fromEntries(
    Object.keys(operations).map((id) => [id, methodOf(id as keyof Operations, send)]),
  ) as unknown as Operations;

  return {
    ...methods,
    async request(method, address, { grantId: grant, headers = {}, body, signal, ...rest } = {}) {
      const isText = typeof body === 'string';
      const given = {
        method,
        url: address,
        grant,
        headers: Object.entries(headers).map((pair) => pair.join(': ')),
        body: isText || body === undefined ? body : JSON.stringify(body),
        ...rest,
      };
      const isRepeatable = method === 'GET' || method === 'HEAD';
      const answer = await send(
        { method: 'POST', path: '/v2/requests', body: given, isRepeatable },
        { signal },
      );
      return responseOf((await answer.json()) as Envelope);
    },
    connect: (wanted) => connectIn(methods, wanted),
    async proxyEnv({ base = globalThis.process?.env ?? {}, signal, ...rest } = {}) {
      const { set, remove } = await methods.getEnvironment(rest, { signal });
      const remaining = Object.entries(base).filter(
        (pair): pair is [string, string] => pair[1] !== undefined && !remove.includes(pair[0]),
      );
      return { ...Object.fromEntries(remaining), ...set };
    },
  };
}

/** Returns the login of `sidekey login`; null: none, or this program cannot read files. */
function savedLogin(): { readonly url: string; readonly key: string } | null {
  const isWindows = globalThis.process?.platform === 'win32';
  const xdg = env('XDG_CONFIG_HOME') || `${env('HOME') ?? ''}/.config`;
  const home = env('SIDEKEY_HOME');
  const folder = home ? `${home}/config` : `${isWindows ? (env('APPDATA') ?? '') : xdg}/sidekey`;
  // In a relative folder, the author of the working folder could plant a login.
  if (!/^(?:\/|[A-Za-z]:[\\/])/.test(folder)) return null;
  try {
    const { readFileSync } = globalThis.process.getBuiltinModule('node:fs');
    return JSON.parse(readFileSync(`${folder}/login.json`, 'utf8')) as { url: string; key: string };
  } catch {
    return null;
  }
}

function env(name: string): string | undefined {
  return globalThis.process?.env[name];
}

function isThisMachine(host: string): boolean {
  return host === 'localhost' || host === '[::1]' || /^127\.\d+\.\d+\.\d+$/.test(host);
}

type Input = Readonly<Record<string, unknown>>;

/** Returns the method of an operation. Input members that are not in the path or the query form the body. */
function methodOf(id: keyof Operations, send: Send) {
  const [method, template, kind, query] = operations[id];
  const requestOf = (input: Input) => {
    const rest = new Map(Object.entries(input).filter(([, value]) => value !== undefined));
    const taken = (name: string) => {
      const value = rest.get(name);
      rest.delete(name);
      return encodeURIComponent(value as string);
    };
    const path = template.replace(/\{(\w+)\}/g, (_all, name: string) => taken(name));
    const asked = new URLSearchParams();
    for (const name of [...query, 'cursor']) {
      const value = rest.get(name);
      for (const each of Array.isArray(value) ? value : value === undefined ? [] : [value])
        asked.append(name, String(each));
      rest.delete(name);
    }
    const hasBody = method !== 'GET' && method !== 'DELETE';
    return {
      method,
      path: asked.size === 0 ? path : `${path}?${asked.toString()}`,
      ...(hasBody ? { body: Object.fromEntries(rest) } : {}),
    };
  };
  if (kind === 'list') {
    return async function* list(input: Input = {}, options?: CallOptions) {
      let cursor: string | null | undefined;
      do {
        const response = await send(requestOf({ ...input, cursor }), options);
        const page = (await response.json()) as {
          readonly data: readonly unknown[];
          readonly next_cursor: string | null;
        };
        yield* page.data;
        cursor = page.next_cursor;
      } while (cursor !== null);
    };
  }
  if (kind === 'stream') {
    return async function* stream(input: Input = {}, options?: CallOptions) {
      yield* events(await send(requestOf(input), options));
    };
  }
  return async (input: Input = {}, options?: CallOptions) => {
    const response = await send(requestOf(input), options);
    return response.status === 204 ? undefined : response.json();
  };
}

/** Yields the data of server-sent events (https://html.spec.whatwg.org/multipage/server-sent-events.html). */
async function* events({ body }: Response): AsyncGenerator<unknown, void, undefined> {
  if (body === null) return;
  let rest = '';
  for await (const text of body.pipeThrough(new TextDecoderStream()) as unknown as AsyncIterable<string>) {
    const lines = (rest + text).split('\n');
    rest = lines.pop() ?? '';
    for (const line of lines) if (line.startsWith('data: ')) yield JSON.parse(line.slice(6)) as unknown;
  }
}

/** The response of `POST /v2/requests`. */
interface Envelope {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | readonly string[]>>;
  readonly body?: string;
  readonly body_base64?: string;
}

function responseOf({ status, headers, body = '', body_base64: base64 }: Envelope): Response {
  const fields = Object.entries(headers).flatMap(([name, value]) =>
    [value].flat().map((each): [string, string] => [name, each]),
  );
  const bytes =
    base64 === undefined ? body : Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
  const hasNone = [204, 205, 304].includes(status);
  return new Response(hasNone ? null : bytes, { status, headers: fields });
}
