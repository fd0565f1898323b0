import { describe, expect, test } from 'vitest';
import { openClient, problemOf } from '../../support/raw-client.ts';
import { bearerToken, startSidekey } from '../../support/sidekey.ts';
import { startPlainUpstream, startUpstream } from '../../support/upstream.ts';

describe('a request in absolute form', () => {
  test('over http gets the credential if the domain sets allow_plain_http: true', async () => {
    const seen: (string | undefined)[] = [];
    const upstream = await startPlainUpstream((request, response) => {
      seen.push(request.url, request.headers.authorization, request.headers.host);
      response.end('ok');
    });
    const sidekey = await startSidekey({
      domains: { [upstream.authority]: { grant: 'acme', allow_plain_http: true } },
    });
    await sidekey.grant([upstream.authority]);
    const client = await openClient(sidekey);
    client.send(`GET ${upstream.url}/a?b HTTP/1.1\r\nHost: ${upstream.authority}\r\n\r\n`);
    expect(await client.response()).toMatchObject({ status: 200, body: 'ok' });
    expect(seen).toEqual(['/a?b', `Bearer ${bearerToken}`, upstream.authority]);
  });

  test('over http is refused without allow_plain_http', async () => {
    let asked = 0;
    const upstream = await startPlainUpstream((_request, response) => response.end(String((asked += 1))));
    const sidekey = await startSidekey({ domains: { [upstream.authority]: { grant: 'acme' } } });
    await sidekey.grant([upstream.authority]);
    const client = await openClient(sidekey);
    client.send(`GET ${upstream.url}/ HTTP/1.1\r\nHost: ${upstream.authority}\r\n\r\n`);
    const answer = await client.response();
    expect(answer).toMatchObject({ status: 403, reason: 'insecure_transport' });
    expect(problemOf(answer).hint).toContain('allow_plain_http: true');
    expect(asked).toBe(0);
  });

  test('over https is forwarded over TLS with the credential', async () => {
    const seen: (string | undefined)[] = [];
    const upstream = await startUpstream((request, response) => {
      seen.push(request.url, request.headers.authorization);
      response.end('ok');
    });
    const sidekey = await startSidekey({ domains: { [upstream.authority]: { grant: 'acme' } } });
    await sidekey.grant([upstream.authority]);
    const client = await openClient(sidekey);
    client.send(`GET ${upstream.url}/tickets HTTP/1.1\r\nHost: ${upstream.authority}\r\n\r\n`);
    expect(await client.response()).toMatchObject({ status: 200, body: 'ok' });
    expect(seen).toEqual(['/tickets', `Bearer ${bearerToken}`]);
  });

  test('for a tunnel domain is forwarded with the credential that the client sent', async () => {
    const seen: (string | undefined)[] = [];
    const upstream = await startPlainUpstream((request, response) => {
      seen.push(request.headers.authorization);
      response.end('ok');
    });
    const sidekey = await startSidekey({ domains: { [upstream.authority]: 'tunnel' } });
    const client = await openClient(sidekey);
    client.send(
      `GET ${upstream.url}/ HTTP/1.1\r\nHost: ${upstream.authority}\r\nAuthorization: Bearer own\r\n\r\n`,
    );
    expect(await client.response()).toMatchObject({ status: 200, body: 'ok' });
    expect(seen).toEqual(['Bearer own']);
  });

  test.each([
    ['two Host fields', ['Host: AUTHORITY', 'Host: AUTHORITY'], 400, 'bad_request'],
    ['a Host of another', ['Host: evil.test'], 421, 'authority_mismatch'],
    ['no Host', [], 400, 'bad_request'],
  ])('with %s is refused', async (_name, lines, status, code) => {
    const sidekey = await startSidekey({ domains: { 'api.acme.test:81': { grant: 'acme' } } });
    const client = await openClient(sidekey);
    const fields = lines.map((line) => `${line.replace('AUTHORITY', 'api.acme.test:81')}\r\n`);
    client.send('GET https://api.acme.test:81/ HTTP/1.1\r\n', ...fields, '\r\n');
    expect(await client.response()).toMatchObject({ status, reason: code });
  });
});

describe('a request to the proxy itself', () => {
  test('succeeds for /healthz, and is refused with a hint for any other path', async () => {
    const sidekey = await startSidekey();
    const client = await openClient(sidekey);
    client.send('GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n');
    expect(await client.response()).toMatchObject({
      status: 200,
      body: expect.stringMatching(/^\{"status":"ok","instance":"[0-9a-f]{16}"\}\n$/),
    });
    client.send('GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n');
    const answer = await client.response();
    expect(answer).toMatchObject({ status: 400, reason: 'bad_request' });
    expect(problemOf(answer).hint).toContain('HTTPS_PROXY');
  });
});
