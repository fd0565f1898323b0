/**
 * A request that is refused before a grant is known may have its own credential in the path, as Telegram has
 * it. What is not known to be none is not written down.
 */
import { expect, test } from 'vitest';
import { openClient, openTunnel, type RawClient } from '../support/raw-client.ts';
import { startSidekey, type SidekeyOptions, type TestSidekey } from '../support/sidekey.ts';
import { startPlainUpstream, startUpstream } from '../support/upstream.ts';

const secret = '999:own-secret';

/** A provider with its credential in the path, as any of a catalog is. */
const bot = (audience: readonly string[]) => ({ bot: { audience, inject: { path: ['/file/bot', '/bot'] } } });

async function seen(sidekey: TestSidekey, client: RawClient, event: string, text: string) {
  client.send(`${text}\r\n\r\n`);
  const { status, headers } = await client.response();
  const line = await sidekey.audited((each) => each.event === event && each.method !== 'CONNECT');
  expect(JSON.stringify(await sidekey.audit())).not.toContain('own-secret');
  expect(sidekey.logged()).not.toContain('own-secret');
  return { code: headers['sidekey-error'] ?? String(status), path: line.path };
}

async function inTunnel(options: (authority: string) => SidekeyOptions) {
  const upstream = await startUpstream((_request, response) => response.end());
  const sidekey = await startSidekey(options(upstream.authority));
  return { sidekey, authority: upstream.authority, client: await openTunnel(sidekey, upstream.authority) };
}

test.each([
  ['framed in two ways', 'Content-Length: 1\r\nTransfer-Encoding: chunked', 'bad_request'],
  ['with a grant that is no name', 'Sidekey-Grant: no name', 'bad_request'],
])('in a request %s, no path is written at all', async (_why, field, code) => {
  const { sidekey, authority, client } = await inTunnel((host) => ({
    domains: { [host]: { grant: 'bot' } },
    config: { providers: bot([host]) },
  }));
  const request = `POST /bot${secret}/getMe HTTP/1.1\r\nHost: ${authority}\r\n${field}`;
  expect(await seen(sidekey, client, 'denied', request)).toEqual({ code, path: undefined });
});

test('no path of an unknown caller is written', async () => {
  const sidekey = await startSidekey({
    config: { proxy: { listen: '127.0.0.1:0', authentication: 'required' }, providers: bot(['bots.test']) },
    domains: { 'bots.test': { grant: 'bot' } },
  });
  const request = `GET https://bots.test/bot${secret}/getMe HTTP/1.1\r\nHost: bots.test`;
  const client = await openClient(sidekey);
  expect(await seen(sidekey, client, 'denied', request)).toEqual({
    code: 'agent_auth_required',
    path: undefined,
  });
});

test.each<[string, object, string, string, string]>([
  ['not listed', {}, 'http://bots.test', `/bot${secret}/getMe`, 'domain_not_allowed'],
  ['denied', { 'bots.test': 'deny' }, 'https://bots.test', `/bot${secret}/getMe`, 'domain_not_allowed'],
  ['reached by another name', {}, 'http://10.0.0.9:8081', `/file/bot${secret}/a`, 'domain_not_allowed'],
  [
    'asked for in the clear',
    { 'bots.test': { grant: 'x' } },
    'http://bots.test',
    `/bot${secret}/a`,
    'insecure_transport',
  ],
  ['asked for with its prefix encoded', {}, 'http://bots.test', `//%62ot${secret}/a`, 'domain_not_allowed'],
])(
  'for a host that is %s, the path is written without its credential',
  async (_why, domains, url, path, code) => {
    const sidekey = await startSidekey({ domains, config: { providers: bot(['bots.test']) } });
    const client = await openClient(sidekey);
    const request = `GET ${url}${path} HTTP/1.1\r\nHost: ${url.replace(/^.*\//, '')}`;
    const found = await seen(sidekey, client, 'denied', request);
    expect(found.code).toBe(code);
    expect(found.path).toMatch(/^\/(file\/)?bot\/(getMe|a)$/);
  },
);

test('the path of a plaintext tunnel is written without its credential', async () => {
  const upstream = await startPlainUpstream((request, response) => response.end(request.url));
  const sidekey = await startSidekey({
    domains: { [upstream.authority]: 'tunnel' },
    config: { providers: bot([upstream.authority]) },
  });
  const client = await openClient(sidekey);
  const request = `GET ${upstream.url}/bot${secret}/getMe HTTP/1.1\r\nHost: ${upstream.authority}`;
  expect(await seen(sidekey, client, 'outcome', request)).toEqual({ code: '200', path: '/bot/getMe' });
});

test('the path is written whole if the host’s provider sends the credential in another place', async () => {
  const sidekey = await startSidekey({ config: { providers: bot(['bots.test']) } });
  const client = await openClient(sidekey);
  const request = 'GET http://api.github.com/bottles/1 HTTP/1.1\r\nHost: api.github.com';
  expect(await seen(sidekey, client, 'denied', request)).toEqual({
    code: 'domain_not_allowed',
    path: '/bottles/1',
  });
});
