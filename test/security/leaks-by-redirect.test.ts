/**
 * A server that redirects repeats the path and the query that it was asked for. A credential that stood there
 * came back in `Location`: the agent learned it, and sent it to whatever host it was led to.
 */
import { describe, expect, test } from 'vitest';
import { openTunnel } from '../support/raw-client.ts';
import { startSidekey } from '../support/sidekey.ts';
import { startUpstream } from '../support/upstream.ts';

const token = '123:bot-Secret';

async function redirected(inject: object, target: string, headers = '') {
  const upstream = await startUpstream((request, response) => {
    const asked = request.url ?? '';
    response.writeHead(301, {
      location: `https://elsewhere.test${asked}`,
      link: `<https://elsewhere.test${asked.replace('%3A', '%3a')}>; rel="canonical", </${encodeURIComponent(asked)}>`,
    });
    response.end();
  });
  const sidekey = await startSidekey({
    domains: { [upstream.authority]: { grant: 'acme' } },
    config: { providers: { acme: { audience: [upstream.authority], inject } } },
  });
  await sidekey.grant([upstream.authority], { credential: { type: 'api_key', value: token } });
  const client = await openTunnel(sidekey, upstream.authority);
  client.send(`GET ${target} HTTP/1.1\r\nHost: ${upstream.authority}\r\n${headers}\r\n`);
  const answer = await client.response();
  return { location: answer.headers['location'], all: JSON.stringify(answer.headers) };
}

const handshake =
  'Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n';

describe.each([
  ['a request', ''],
  ['a WebSocket handshake', handshake],
])('%s that is redirected', (_what, headers) => {
  test('does not return a credential in the path to the client', async () => {
    const { location, all } = await redirected({ path: ['/bot'] }, '/bot/getMe?a=1', headers);
    expect(location).toBe('https://elsewhere.test/bot/getMe?a=1');
    expect(all).not.toContain('Secret');
  });

  test('does not return a credential in the query to the client', async () => {
    const { location, all } = await redirected({ query: 'key' }, '/v1?a=1', headers);
    expect(location).toBe('https://elsewhere.test/v1?a=1&key=');
    expect(all).not.toContain('Secret');
  });
});
