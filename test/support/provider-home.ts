/** The provider `desk` with given responses, and a home whose config has it. */
import { writeFile } from 'node:fs/promises';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { home, type Home } from './command-line.ts';
import { requestBody } from './request-body.ts';
import { startUpstream, upstreamCa, upstreamHost } from './upstream.ts';

/** A request to the provider. */
interface Asked {
  readonly path: string;
  readonly form: Readonly<Record<string, string>>;
  readonly headers: IncomingMessage['headers'];
}
/** The provider's response to a request; `count` is the number of requests so far. */
export type Answer = (asked: Asked, count: number) => StatusAndBody | Promise<StatusAndBody>;

type StatusAndBody = readonly [status: number, body: object];

/** A home with such a provider, and the requests that the provider received. */
interface ProviderHome extends Home {
  readonly url: string;
  readonly asked: Asked[];
}

/** Creates a home whose config has the provider `desk` at this address. */
export async function homeForProvider(url: string, provider: object): Promise<Home> {
  const at = await home({
    upstream: {
      ca: ['upstream-ca.pem'],
      resolve: { [upstreamHost]: '127.0.0.1' },
      private_addresses: ['127.0.0.1/32'],
    },
    providers: {
      desk: {
        title: 'The Desk',
        token_endpoint: `${url}/token`,
        audience: ['desk.acme.test'],
        ...provider,
      },
    },
  });
  await writeFile(at.at('config', 'upstream-ca.pem'), upstreamCa);
  return at;
}

/** Creates a home, and a provider with these responses that records its requests. */
export async function homeWithProvider(
  answer: Answer,
  provider: (url: string) => object = () => ({}),
): Promise<ProviderHome> {
  const asked: Asked[] = [];
  const upstream = await startUpstream((request: IncomingMessage, response: ServerResponse) => {
    void requestBody(request).then(async (body) => {
      const { url: path = '', headers } = request;
      const one = { path, headers, form: Object.fromEntries(new URLSearchParams(body)) };
      asked.push(one);
      const [status, json] = await answer(one, asked.length);
      response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(json));
    });
  });
  return { ...(await homeForProvider(upstream.url, provider(upstream.url))), url: upstream.url, asked };
}

/** The last line of the audit file. */
export const lastEvent = async (at: Home) => {
  const { stdout } = await at.run(['audit', 'tail', '-n', '1', '--json']);
  return JSON.parse(stdout) as unknown;
};
/** The output of `grant list`. */
export const grantsOf = (at: Home) => at.json(['grant', 'list']);
