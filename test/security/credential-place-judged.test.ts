/**
 * Rules judge a path without the credential's place, and only where a credential stands there: what an agent
 * writes into that place must not be a way to send a path that no rule has seen.
 */
import { expect, test } from 'vitest';
import { addAgent } from '../support/rights.ts';
import { openTunnel } from '../support/raw-client.ts';
import { startSidekey } from '../support/sidekey.ts';
import { startUpstream } from '../support/upstream.ts';

const basic = (text: string) => `Proxy-Authorization: Basic ${Buffer.from(text).toString('base64')}`;

async function telegram(domain: object) {
  const seen: string[] = [];
  const upstream = await startUpstream((request, response) => {
    seen.push(`${request.url} ${request.headers.authorization ?? 'none'}`);
    response.end('ok');
  });
  const sidekey = await startSidekey({
    domains: { [upstream.authority]: { grant: 'work', ...domain } },
    config: { providers: { tele: { audience: [upstream.authority], inject: { path: ['/bot'] } } } },
  });
  const grant = (user: string, provider: string) =>
    sidekey.grant([upstream.authority], {
      name: 'work',
      user,
      provider,
      credential: { type: 'api_key', value: `key-of-${user}` },
    });
  const send = async (path: string, fields: readonly string[] = [basic('+user=alice:')]) => {
    const client = await openTunnel(sidekey, upstream.authority, { fields });
    client.send(`GET ${path} HTTP/1.1\r\nHost: ${upstream.authority}\r\n\r\n`);
    return (await client.response()).status;
  };
  return { sidekey, grant, send, seen };
}

test('the credential place in a path is judged as plain path if a grant of another provider is used', async () => {
  const { sidekey, grant, send, seen } = await telegram({ rules: [{ paths: ['/bot/getMe'] }] });
  await grant('alice', 'tele');
  const { id } = await grant('bob', 'acme');
  await addAgent(sidekey.proxy.state.store, 'robot', 'own', { bindings: [{ kind: 'grant', value: id }] });
  expect(await send('/bot-of-another/getMe', [basic('robot:own')])).toBe(403);
  expect(seen).toEqual([]);
});

test.each(['/bot;..%2f..%2fadmin/getMe', '/bot%2e%2e/getMe', '/botX;y/getMe', '/bot..\\admin/getMe'])(
  'rules judge a path segment that may contain more than a credential: %s',
  async (path) => {
    const rules = [{ paths: ['/bot/getMe'], outcome: 'tunnel' }];
    const { grant, send, seen } = await telegram({ rules });
    await grant('alice', 'tele');
    expect(await send(path)).toBe(403);
    expect(seen).toEqual([]);
  },
);

test('rules do not see a placeholder in the place of the credential', async () => {
  const { grant, send, seen } = await telegram({ rules: [{ paths: ['/bot/getMe'] }] });
  await grant('alice', 'tele');
  expect(await send('/bot123:placeholder/getMe')).toBe(200);
  expect(await send('/bot123:placeholder/deleteAll')).toBe(403);
  expect(seen).toEqual(['/botkey-of-alice/getMe none']);
});
