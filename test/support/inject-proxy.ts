import { onTestFinished } from 'vitest';
import type { Credential } from '../../src/domain/credential.ts';
import { ask as askH2, openSession } from './h2-client.ts';
import { openTunnel } from './raw-client.ts';
import { apiKey, startSidekey, type TestSidekey } from './sidekey.ts';
import { startH2Upstream, type Upstream } from './upstream.ts';

/** One request as the upstream received it. */
export interface SeenRequest {
  readonly version: string;
  readonly method: string;
  readonly url: string;
  /** Name in lower case, value, name, value… in their order; without the pseudo-header fields of HTTP/2. */
  readonly fields: readonly string[];
  readonly body: Buffer;
}

/** A request to send. */
export interface Asked {
  readonly method?: string;
  readonly path?: string;
  /** Name, value, name, value… */
  readonly fields?: readonly string[];
  readonly body?: string;
  /** HTTP/1.1 only: without Content-Length. */
  readonly isChunked?: boolean;
}

/** The response that the client received. */
export interface Told {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | readonly string[] | undefined>>;
  readonly body: string;
}

export type ClientProtocol = 'HTTP/1.1' | 'HTTP/2';

/**
 * A proxy whose provider has the given `inject`, and an upstream of both protocols that records requests.
 */
export interface InjectProxy {
  readonly sidekey: TestSidekey;
  readonly upstream: Upstream;
  readonly seen: readonly SeenRequest[];
  readonly ask: (protocol: ClientProtocol, request?: Asked) => Promise<Told>;
}

export interface InjectProxyOptions {
  readonly credential?: Credential;
  /** More keys of the config. */
  readonly config?: Readonly<Record<string, object>>;
  readonly now?: () => number;
  /** Fields and body of each response. */
  readonly answer?: (seen: SeenRequest) => {
    readonly fields?: Record<string, string | string[]>;
    readonly body?: string;
  };
  /** More keys of the domain entry, beside its grant. */
  readonly domain?: object;
}

const nothingMore: NonNullable<InjectProxyOptions['answer']> = () => ({});

export async function startInjectProxy(
  inject: unknown,
  options: InjectProxyOptions = {},
): Promise<InjectProxy> {
  const { credential = apiKey, config = {}, now, answer = nothingMore, domain = {} } = options;
  const seen: SeenRequest[] = [];
  const upstream = await startH2Upstream((request, response) => {
    const pieces: Buffer[] = [];
    request.on('data', (piece: Buffer) => pieces.push(piece));
    request.on('end', () => {
      const raw = request.rawHeaders;
      const it = {
        version: request.httpVersion,
        method: request.method,
        url: request.url,
        fields: raw.flatMap((text, i) => {
          const name = raw[i - (i % 2)]!;
          return name.startsWith(':') ? [] : [i % 2 === 0 ? text.toLowerCase() : text];
        }),
        body: Buffer.concat(pieces),
      };
      seen.push(it);
      const { fields = {}, body = 'ok' } = answer(it);
      response.writeHead(200, fields).end(body);
    });
  });
  const sidekey = await startSidekey({
    domains: { [upstream.authority]: { grant: 'acme', ...domain } },
    config: { providers: { acme: { audience: [upstream.authority], inject } }, ...config },
    ...(now === undefined ? {} : { now }),
  });
  await sidekey.grant([upstream.authority], { credential });

  async function overH1({ method = 'GET', path = '/', fields = [], body, isChunked }: Asked): Promise<Told> {
    const client = await openTunnel(sidekey, upstream.authority);
    onTestFinished(() => void client.socket.destroy());
    const lines = fields.flatMap((text, i) => (i % 2 === 0 ? [`${text}: ${fields[i + 1]}\r\n`] : []));
    const framing =
      body === undefined
        ? ''
        : isChunked === true
          ? 'Transfer-Encoding: chunked\r\n'
          : `Content-Length: ${Buffer.byteLength(body, 'latin1')}\r\n`;
    client.send(
      `${method} ${path} HTTP/1.1\r\nHost: ${upstream.authority}\r\n${lines.join('')}${framing}\r\n`,
    );
    if (body !== undefined) {
      const half = Math.ceil(body.length / 2);
      const halves = [body.slice(0, half), body.slice(half)].filter((text) => text !== '');
      if (isChunked !== true) client.send(body);
      else client.send(...halves.map((text) => `${text.length.toString(16)}\r\n${text}\r\n`), '0\r\n\r\n');
    }
    return client.response(method);
  }
  async function overH2({ method = 'GET', path = '/', fields = [], body }: Asked): Promise<Told> {
    const session = await openSession(sidekey, upstream.authority);
    const headers: Record<string, string | string[]> = { ':method': method, ':path': path };
    for (let i = 0; i < fields.length; i += 2) {
      const name = fields[i]!.toLowerCase();
      headers[name] = name in headers ? [headers[name]!, fields[i + 1]!].flat() : fields[i + 1]!;
    }
    return askH2(session, headers, body === undefined ? undefined : Buffer.from(body, 'latin1'));
  }
  return {
    sidekey,
    upstream,
    seen,
    ask: (protocol, request = {}) => (protocol === 'HTTP/2' ? overH2(request) : overH1(request)),
  };
}

/** The values of a field, by its name in lower case. */
export function valuesIn({ fields }: Pick<SeenRequest, 'fields'>, name: string): readonly string[] {
  return fields.filter((_, index) => index % 2 === 1 && fields[index - 1] === name);
}
