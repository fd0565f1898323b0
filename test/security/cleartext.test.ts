import { describe, expect, test } from 'vitest';
import { openClient, openTunnel } from '../support/raw-client.ts';
import { startSidekey } from '../support/sidekey.ts';
import { startPlainUpstream } from '../support/upstream.ts';

describe('a domain entry with only a host', () => {
  test('sends no credential over plain http, in absolute form or inside CONNECT', async () => {
    let asked = 0;
    const upstream = await startPlainUpstream((_request, response) => response.end(String((asked += 1))));
    const sidekey = await startSidekey({ domains: { [upstream.authority]: { grant: 'acme' } } });
    await sidekey.grant([upstream.authority]);

    const direct = await openClient(sidekey);
    direct.send(`GET ${upstream.url}/ HTTP/1.1\r\nHost: ${upstream.authority}\r\n\r\n`);
    expect(await direct.response()).toMatchObject({ status: 403, reason: 'insecure_transport' });

    const inside = await openClient(sidekey);
    inside.send(`CONNECT ${upstream.authority} HTTP/1.1\r\nHost: ${upstream.authority}\r\n\r\n`);
    expect(await inside.response('CONNECT')).toMatchObject({ status: 200 });
    inside.send(`GET / HTTP/1.1\r\nHost: ${upstream.authority}\r\n\r\n`);
    expect(await inside.response()).toMatchObject({ status: 403, reason: 'insecure_transport' });

    const upgrading = await openClient(sidekey);
    upgrading.send(
      `GET ${upstream.url}/ HTTP/1.1\r\nHost: ${upstream.authority}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n`,
    );
    expect(await upgrading.response()).toMatchObject({ status: 403, reason: 'insecure_transport' });
    expect([asked, upstream.connections()]).toEqual([0, 0]);
  });

  test('does not match http on its default port', async () => {
    const sidekey = await startSidekey({ domains: { 'api.acme.test': { grant: 'acme' } } });
    await sidekey.grant(['api.acme.test']);
    const client = await openClient(sidekey);
    client.send('GET http://api.acme.test/ HTTP/1.1\r\nHost: api.acme.test\r\n\r\n');
    expect(await client.response()).toMatchObject({ status: 403, reason: 'insecure_transport' });
  });

  test('does not allow an absolute http target inside an https tunnel', async () => {
    const sidekey = await startSidekey({
      domains: { 'api.acme.test:444': { grant: 'acme', allow_plain_http: true } },
    });
    await sidekey.grant(['api.acme.test:444']);
    const client = await openTunnel(sidekey, 'api.acme.test:444');
    client.send('GET http://api.acme.test:444/ HTTP/1.1\r\nHost: api.acme.test:444\r\n\r\n');
    expect(await client.response()).toMatchObject({ status: 421, reason: 'authority_mismatch' });
  });
});
