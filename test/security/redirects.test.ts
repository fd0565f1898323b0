import { describe, expect, test } from 'vitest';
import { curl, curlMissing } from '../support/curl.ts';
import { granted } from '../support/granted.ts';
import { openTunnel } from '../support/raw-client.ts';
import { bearerToken, startSidekey } from '../support/sidekey.ts';
import { startUpstream } from '../support/upstream.ts';

describe('a redirect to another host', () => {
  test.each([301, 302, 303, 307, 308])('is forwarded unchanged and not followed: %d', async (status) => {
    const elsewhere = await startUpstream((_request, response) => response.end('stolen'));
    const { upstream, sidekey } = await granted((_request, response) => {
      response.writeHead(status, { location: `${elsewhere.url}/steal` }).end();
    });
    const client = await openTunnel(sidekey, upstream.authority);
    client.send(`GET / HTTP/1.1\r\nHost: ${upstream.authority}\r\n\r\n`);
    const answer = await client.response();
    expect(answer.status).toBe(status);
    expect(answer.headers['location']).toBe(`${elsewhere.url}/steal`);
    expect(elsewhere.connections()).toBe(0);
  });

  test.skipIf(curlMissing)('does not take the credential along if the client follows it (curl)', async () => {
    const seen: (string | undefined)[] = [];
    const elsewhere = await startUpstream((request, response) => {
      seen.push(request.headers.authorization);
      response.end('elsewhere');
    });
    const upstream = await startUpstream((request, response) => {
      seen.push(request.headers.authorization);
      response.writeHead(302, { location: elsewhere.url }).end();
    });
    const sidekey = await startSidekey({
      domains: { [upstream.authority]: { grant: 'acme' }, [elsewhere.authority]: 'tunnel' },
    });
    await sidekey.grant([upstream.authority]);
    const answer = await curl('-L', '-k', '-x', sidekey.url, upstream.url);
    expect(answer).toMatchObject({ status: 200, body: 'elsewhere' });
    expect(seen).toEqual([`Bearer ${bearerToken}`, undefined]);
  });
});
