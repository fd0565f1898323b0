import { request as httpsRequest, type Agent } from 'node:https';
import type { IncomingHttpHeaders } from 'node:http';

/** How to reach a server by its public name though that name resolves nowhere. */
export interface Connection {
  /** `https://HOST:PORT`: its name in the URL, in SNI, and in the certificate. */
  readonly issuer: string;
  /** PEM of the authority to trust. */
  readonly ca: string;
  /** What to dial; without it, what the issuer says. */
  readonly connectTo?: { readonly host: string; readonly port: number };
  readonly agent?: Agent;
}

/** A request to send. */
export interface Outgoing {
  readonly method?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string;
}

/** A whole response. */
export interface Answer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: string;
}

const patienceMs = 15_000;

/** Sends one request and reads the whole answer; follows nothing. Throws where no answer comes. */
export function send(connection: Connection, url: URL, outgoing: Outgoing = {}): Promise<Answer> {
  const { method = 'GET', headers = {}, body = '' } = outgoing;
  const port = url.port === '' ? 443 : Number(url.port);
  return new Promise((resolve, reject) => {
    const request = httpsRequest({
      host: connection.connectTo?.host ?? url.hostname,
      port: connection.connectTo?.port ?? port,
      servername: url.hostname,
      ca: connection.ca,
      agent: connection.agent ?? false,
      method,
      path: url.pathname + url.search,
      headers: {
        host: url.host,
        ...headers,
        ...(body === '' ? {} : { 'content-length': Buffer.byteLength(body) }),
      },
      timeout: patienceMs,
    });
    request.once('timeout', () =>
      request.destroy(new Error(`${url.host} did not answer in ${patienceMs / 1000} s.`)),
    );
    request.once('error', reject);
    request.once('response', (response) => {
      const chunks: Buffer[] = [];
      response.on('data', (chunk: Buffer) => chunks.push(chunk));
      response.once('error', reject);
      response.once('end', () => {
        const { statusCode: status = 0, headers } = response;
        resolve({ status, headers, body: Buffer.concat(chunks).toString('utf8') });
      });
    });
    request.end(body);
  });
}
