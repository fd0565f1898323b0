import { Agent, type IncomingMessage, request as httpRequest, type ServerResponse } from 'node:http';
import { expect } from 'vitest';
import { startSidekey, type TestSidekey } from './sidekey.ts';
import { startUpstream, type Upstream } from './upstream.ts';
import { requestBody } from './request-body.ts';

/** A credential that a service hands out. */
export const mintedSecret = 'S3cret-of-the-Session_0123456789abcdefXYZ';

/** Spellings in which a program could read the credential. */
const spellings = (text: string): string[] => [
  text,
  encodeURIComponent(text),
  ...[0, 1, 2].map((n) =>
    Buffer.from(`${'x'.repeat(n)}${text}yyy`)
      .toString('base64')
      .slice(4, -8),
  ),
  Buffer.from(text).toString('hex'),
  Buffer.from(text).toString('hex').toUpperCase(),
];

/** Expects that nothing of the credential is in what the client received. */
export function expectNothingOf(all: string, real = mintedSecret, name = ''): void {
  for (const text of spellings(real)) expect(all, name).not.toContain(text);
}

/** Everything that a client received: heads, interim responses, body and trailers. */
export interface Seen {
  readonly status: number;
  readonly headers: IncomingMessage['headers'];
  readonly body: string;
  /** All bytes as text. */
  readonly all: string;
}

/** Sends a request in absolute form over a connection of its own. Resolves with what the client received. */
export function seenBy(
  proxy: string,
  url: string,
  options: { method?: string; headers?: Record<string, string>; body?: string; signal?: AbortSignal } = {},
): Promise<Seen> {
  const { hostname, port } = new URL(proxy);
  const { method = 'GET', headers = {}, body, signal } = options;
  // `new URL` would normalize the path.
  const [, host = ''] = /^https:\/\/([^/]+)/.exec(url) ?? [];
  return new Promise((resolve) => {
    const seen: string[] = [];
    const request = httpRequest(
      { hostname, port, path: url, method, headers: { host, ...headers }, agent: new Agent(), signal },
      (response) => {
        let text = '';
        const done = (error?: Error) => {
          seen.push(text, JSON.stringify(response.rawTrailers), error?.message ?? '');
          resolve({
            status: response.statusCode ?? 0,
            headers: response.headers,
            body: text,
            all: seen.join('\n'),
          });
        };
        seen.push(response.statusMessage ?? '', JSON.stringify(response.rawHeaders));
        response.setEncoding('latin1').on('data', (piece: string) => (text += piece));
        response.once('end', () => done());
        response.once('error', done);
      },
    );
    request.on('information', (interim) => seen.push(JSON.stringify(interim)));
    request.once('error', (error) => resolve({ status: 0, headers: {}, body: '', all: error.message }));
    request.end(body);
  });
}

/** A proxy in front of a service that hands out credentials. */
export interface Minting {
  readonly sidekey: TestSidekey;
  readonly api: Upstream;
  /** Requests that the service received. */
  readonly asked: {
    readonly target: string;
    readonly headers: IncomingMessage['headers'];
    readonly body: string;
  }[];
  readonly get: (path: string, options?: Parameters<typeof seenBy>[2]) => Promise<Seen>;
}

/**
 * Starts a service, and a proxy with a grant for it.
 *
 * @param rows `mints` of the provider; `goes_to` is the service where a row names none
 */
export async function startMinting(
  rows: readonly object[],
  answer: (request: IncomingMessage, response: ServerResponse) => void,
  more: {
    readonly provider?: object;
    readonly domainOf?: (host: string) => object;
    /** Entries of the domain map before that of the service. */
    readonly others?: object;
  } = {},
): Promise<Minting> {
  const asked: Minting['asked'] = [];
  const api = await startUpstream((request, response) => {
    void requestBody(request).then((body) => {
      asked.push({ target: request.url ?? '', headers: request.headers, body });
      answer(request, response);
    });
  });
  const goesTo = [api.authority];
  const mints = rows.map((row) => ({ goes_to: goesTo, ...row }));
  const sidekey = await startSidekey({
    domains: { ...more.others, [api.authority]: { grant: 'acme', ...more.domainOf?.(api.authority) } },
    config: {
      providers: { acme: { audience: goesTo, ...(mints.length > 0 ? { mints } : {}), ...more.provider } },
    },
  });
  await sidekey.grant(goesTo);
  return {
    sidekey,
    api,
    asked,
    get: (path, options) => seenBy(sidekey.url, `https://${api.authority}${path}`, options),
  };
}
