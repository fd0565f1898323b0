import { Agent, request as httpRequest } from 'node:http';

/** The result of a GET: a status with the start of the body, or the error. */
export type Answer = { readonly status: number; readonly body: string } | { readonly lost: string };

/** Sends a GET through the proxy at this URL over its own connection. Never rejects. */
export function proxiedGet(
  proxy: string,
  url: string,
  headers: Readonly<Record<string, string>> = {},
): Promise<Answer> {
  const { hostname, port } = new URL(proxy);
  return new Promise((resolve) => {
    const request = httpRequest(
      // Absolute-form: the proxy makes the TLS connection to the upstream.
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
