/**
 * A provider that is down, in each way that was seen: the first caller waits two seconds at most, or one
 * time-out of a provider that hangs; the others are refused at once, and all are served as soon as the
 * provider is back.
 */
import { writeFile } from 'node:fs/promises';
import { request as httpRequest, type IncomingHttpHeaders, type RequestListener } from 'node:http';
import { expect, test } from 'vitest';
import { home } from '../../support/command-line.ts';
import { startUpstream, upstreamCa, upstreamHost } from '../../support/upstream.ts';

const isReport = process.env['SIDEKEY_DOWN_REPORT'] !== undefined;
/** Real default values in a report, shorter ones in a test. */
const timeoutMs = isReport ? 10_000 : 1_000;

const count = Number(process.env['SIDEKEY_DOWN_CALLERS'] ?? 10);

type Way = (...args: Parameters<RequestListener>) => void;
const status =
  (code: number, fields: Readonly<Record<string, string>> = {}): Way =>
  (_request, response) => {
    response.writeHead(code, { 'content-type': 'text/html', ...fields }).end('<h1>no</h1>');
  };
const ways: readonly { readonly how: string; readonly way: Way; readonly retryAfter?: number }[] = [
  { how: 'answers 503', way: status(503) },
  {
    how: 'answers 429 and when to come back',
    way: status(429, { 'retry-after': '3' }),
    retryAfter: 3,
  },
  { how: 'hangs', way: () => undefined },
  { how: 'closes the connection', way: (request) => void request.socket.destroy() },
  {
    how: 'answers what is not JSON',
    way: (_request, response) => {
      response.setHeader('content-type', 'application/json').end('{"access_token": ');
    },
  },
  { how: 'answers 403', way: status(403) },
  { how: 'answers 404', way: status(404) },
];

interface Called {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: string;
  readonly ms: number;
}

function call(proxy: string, url: string): Promise<Called> {
  const begun = performance.now();
  const { hostname, port } = new URL(proxy);
  return new Promise((resolve, reject) => {
    const headers = { host: new URL(url).host };
    httpRequest({ hostname, port, path: url, headers, agent: false }, (response) => {
      let body = '';
      response.setEncoding('utf8').on('data', (text: string) => (body += text));
      response.once('end', () => {
        const { statusCode = 0, headers: fields } = response;
        resolve({ status: statusCode, headers: fields, body, ms: performance.now() - begun });
      });
    })
      .once('error', reject)
      .end();
  });
}

test(
  'a provider that is down delays only the first caller, for a bounded time, and is retried until it recovers',
  async () => {
    const providers = await Promise.all(ways.map(startProvider));
    const authorities = providers.map(({ server }) => server.authority);
    const at = await home({
      upstream: {
        ca: ['upstream-ca.pem'],
        resolve: { [upstreamHost]: '127.0.0.1' },
        private_addresses: ['127.0.0.1/32'],
      },
      domains: Object.fromEntries(authorities.map((authority, n) => [authority, { grant: `acme-${n}` }])),
      limits: { refresh_timeout: `${timeoutMs}ms` },
      providers: Object.fromEntries(
        providers.map(({ server: { url, authority } }, n) => [
          `acme-${n}`,
          { token_endpoint: `${url}/token`, client_id: 'sidekey', audience: [authority] },
        ]),
      ),
    });
    await writeFile(at.at('config', 'upstream-ca.pem'), upstreamCa);
    const credential = { access_token: 'a', refresh_token: 'refresh-1', expires_at: Date.now() - 1_000 };
    for (const n of ways.keys()) await at.grant(`acme-${n}`, credential, ['--provider', `acme-${n}`]);
    const proxy = await at.start();
    await Promise.all(providers.map((provider) => expectRecovery(provider, proxy.url)));
  },
  isReport ? 600_000 : 60_000,
);

/** Starts a provider that is down in one way until `recover` is called. */
async function startProvider({ how, way, retryAfter }: (typeof ways)[number]) {
  let isDown = true;
  const server = await startUpstream((request, response) => {
    if (request.url !== '/token') response.end('served');
    else if (isDown) way(request, response);
    else {
      const text = JSON.stringify({
        access_token: 'access-2',
        expires_in: 3_600,
        refresh_token: 'refresh-2',
      });
      response.setHeader('content-type', 'application/json').end(text);
    }
  });
  return { how, retryAfter, server, recover: () => void (isDown = false) };
}

/** Calls through the proxy while a provider is down, and when it has recovered. */
async function expectRecovery(
  { how, retryAfter, server, recover }: Awaited<ReturnType<typeof startProvider>>,
  proxy: string,
): Promise<void> {
  const provider = `a provider that ${how}`;
  const callers: Called[] = [];
  for (let n = 0; n < count; n += 1) callers.push(await call(proxy, `${server.url}/items`));
  if (isReport) console.log(JSON.stringify({ how, ms: callers.map(({ ms }) => Math.round(ms)) }));
  expect(
    callers.map(({ status: code }) => code),
    provider,
  ).toEqual(callers.map(() => 502));
  for (const { headers, body } of callers) {
    expect(JSON.parse(body), provider).toMatchObject({ code: 'refresh_failed' });
    expect(Number(headers['retry-after']), provider).toBeGreaterThanOrEqual(1);
  }
  if (retryAfter !== undefined) expect(callers[0]?.headers['retry-after'], provider).toBe(String(retryAfter));
  // A busy machine needs some time for a request that waits for nothing.
  const [first, ...others] = callers.map(({ ms }) => ms);
  expect(first, provider).toBeLessThan(Math.max(2_000, timeoutMs) + 1_500);
  expect(Math.max(...others), provider).toBeLessThan(1_000);

  recover();
  await expect
    .poll(async () => (await call(proxy, `${server.url}/items`)).status, {
      message: provider,
      timeout: 30_000,
      interval: 100,
    })
    .toBe(200);
}

test('a provider that hangs does not cause a time-out for callers of a second process', async () => {
  const server = await startUpstream(() => undefined);
  const at = await home({
    upstream: {
      ca: ['upstream-ca.pem'],
      resolve: { [upstreamHost]: '127.0.0.1' },
      private_addresses: ['127.0.0.1/32'],
    },
    domains: { [server.authority]: { grant: 'acme' } },
    limits: { refresh_timeout: '6s' },
    providers: {
      acme: {
        token_endpoint: `${server.url}/token`,
        client_id: 'sidekey',
        audience: [server.authority],
      },
    },
  });
  await writeFile(at.at('config', 'upstream-ca.pem'), upstreamCa);
  await at.grant('acme', { access_token: 'a', refresh_token: 'refresh-1', expires_at: Date.now() - 1_000 });
  const [one, other] = [await at.start(), await at.start()];
  expect(await call(one.url, `${server.url}/items`)).toMatchObject({ status: 502 });
  await expect.poll(async () => (await at.run(['status'])).stdout).toContain('could not be refreshed');
  const { status: answered, ms } = await call(other.url, `${server.url}/items`);
  expect(answered).toBe(502);
  expect(ms).toBeLessThan(4_500);
});
