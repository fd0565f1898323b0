import { describe, expect, test } from 'vitest';
import { openTunnel } from '../support/raw-client.ts';
import { apiKey, startSidekey } from '../support/sidekey.ts';
import { startUpstream } from '../support/upstream.ts';

describe('a grant of another provider', () => {
  test.each([
    ['the domain map names the grant', [], 'stranger'],
    ['the request names the grant', ['Sidekey-Grant: stranger'], 'acme'],
  ])('is not sent to a host outside its audience because %s', async (_name, fields, entry) => {
    let asked = 0;
    const upstream = await startUpstream((_request, response) => response.end(String((asked += 1))));
    const sidekey = await startSidekey({ domains: { [upstream.authority]: { grant: entry } } });
    await sidekey.grant([upstream.authority]);
    await sidekey.grant(['api.stranger.test', upstream.authority.replace(/:\d+$/, '')], {
      name: 'stranger',
      provider: 'stranger',
      credential: apiKey,
    });
    const client = await openTunnel(sidekey, upstream.authority);
    client.send(
      `GET / HTTP/1.1\r\nHost: ${upstream.authority}\r\n`,
      ...fields.map((it) => `${it}\r\n`),
      '\r\n',
    );
    const answer = await client.response();
    expect(answer.status).toBe(403);
    expect(answer.reason).toBe(fields.length > 0 ? 'grant_missing' : 'policy_violation');
    expect([asked, upstream.connections()]).toEqual([0, 0]);
    expect((await sidekey.audit()).some(({ event }) => event === 'access')).toBe(false);
  });

  test('does not reach a WebSocket either', async () => {
    const upstream = await startUpstream((_request, response) => response.end('ok'));
    const sidekey = await startSidekey({ domains: { [upstream.authority]: { grant: 'acme' } } });
    await sidekey.grant(['api.stranger.test']);
    const client = await openTunnel(sidekey, upstream.authority);
    client.send(
      `GET / HTTP/1.1\r\nHost: ${upstream.authority}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n`,
    );
    expect(await client.response()).toMatchObject({ status: 403, reason: 'policy_violation' });
    expect(upstream.connections()).toBe(0);
  });
});
