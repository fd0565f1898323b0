/** The provider `desk`, as a test wants it to answer, and a place whose config knows it. */
import { writeFile } from 'node:fs/promises';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { text } from 'node:stream/consumers';
import { home, type Home } from './command-line.ts';
import { startUpstream, upstreamCa, upstreamHost } from './upstream.ts';

/** A request to the provider. */
interface Asked {
  readonly path: string;
  readonly form: Readonly<Record<string, string>>;
  readonly headers: IncomingMessage['headers'];
}
/** What the provider says to a request; `count` is how many there have been. */
export type Answer = (asked: Asked, count: number) => readonly [status: number, body: object];

/** A place with such a provider, and what that was asked. */
interface ProviderHome extends Home {
  readonly url: string;
  readonly asked: Asked[];
}

/** A place whose config knows the provider `desk` at this address. */
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

/** A place, and a provider that answers like this and remembers what it was asked. */
export async function homeWithProvider(
  answer: Answer,
  provider: (url: string) => object = () => ({}),
): Promise<ProviderHome> {
  const asked: Asked[] = [];
  const upstream = await startUpstream((request: IncomingMessage, response: ServerResponse) => {
    void text(request).then((body) => {
      const { url: path = '', headers } = request;
      const one = { path, headers, form: Object.fromEntries(new URLSearchParams(body)) };
      asked.push(one);
      const [status, json] = answer(one, asked.length);
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
/** What `grant list` says. */
export const grantsOf = (at: Home) => at.json(['grant', 'list']);
