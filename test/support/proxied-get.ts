import { Agent, request as httpRequest } from 'node:http';

/** What a client got: a status with the start of the body, or why there was none. */
export type Answer = { readonly status: number; readonly body: string } | { readonly lost: string };

/** A GET through the proxy at this URL, with a connection of its own. Never rejects. */
export function getThrough(
  proxy: string,
  url: string,
  headers: Readonly<Record<string, string>> = {},
): Promise<Answer> {
  const { hostname, port } = new URL(proxy);
  return new Promise((resolve) => {
    const request = httpRequest(
      // Absolute-form: the proxy itself speaks TLS with the upstream.
      { hostname, port, path: url, headers: { host: new URL(url).host, ...headers }, agent: new Agent() },
      (response) => {
        let body = '';
        response.setEncoding('utf8').on('data', (text: string) => (body += text));
        response.once('end', () => resolve({ status: response.statusCode ?? 0, body }));
        response.once('error', (error) => resolve({ lost: error.message }));
      },
    );
    request.once('error', (error) => resolve({ lost: error.message }));
    request.end();
  });
}
