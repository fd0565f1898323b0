import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { curl, curlMissing } from '../support/curl.ts';
import { granted, grantedRaw, onHeads } from '../support/granted.ts';
import { openClient, openTunnel } from '../support/raw-client.ts';
import { startSidekey } from '../support/sidekey.ts';

const waiting = 'Expect: 100-continue\r\nContent-Length: 5\r\n\r\n';

describe('Expect: 100-continue', () => {
  test('is answered by the proxy once policy has said yes and the upstream is there; the body follows', async () => {
    const seen: string[] = [];
    const { upstream, sidekey } = await granted((request, response) => {
      seen.push(String(request.headers.expect));
      request.on('data', (chunk: Buffer) => seen.push(chunk.toString()));
      request.on('end', () => response.end('ok'));
    });
    const client = await openTunnel(sidekey, upstream.authority);
    client.send(`POST / HTTP/1.1\r\nHost: ${upstream.authority}\r\n${waiting}`);
    expect(await client.response()).toMatchObject({ status: 100 });
    expect((await sidekey.audit()).some((line) => line.event === 'access')).toBe(true);
    client.send('hello');
    const answer = await client.response();
    expect(answer).toMatchObject({ status: 200, body: 'ok' });
    expect(answer.headers['connection']).toBe('keep-alive');
    expect(seen).toEqual(['undefined', 'hello']);
  });

  test.each([
    ['a refusal by policy', 'evil.test', 421],
    ['an upstream that cannot be reached', '', 502],
  ])('is answered by %s at once, and the connection ends', async (_name, host, status) => {
    const { upstream, sidekey } = await granted((_request, response) => response.end('ok'));
    const client = await openTunnel(sidekey, upstream.authority);
    if (host === '') await upstream.close();
    client.send(`POST / HTTP/1.1\r\nHost: ${host || upstream.authority}\r\n${waiting}`);
    const answer = await client.response();
    expect(answer).toMatchObject({ status });
    expect(answer.headers['connection']).toBe('close');
    expect(await client.ended()).toBe('');
  });

  test.skipIf(curlMissing)('works with curl -T, also where the answer is a refusal', async () => {
    let bytes = 0;
    const { upstream, sidekey } = await granted((request, response) => {
      request.on('data', (chunk: Buffer) => (bytes += chunk.length));
      request.on('end', () => response.end('stored'));
    });
    const file = join(sidekey.folder, 'upload');
    await writeFile(file, Buffer.alloc(3_000_000, 'x'));
    const common = ['-x', sidekey.url, '--cacert', sidekey.caFile, '-H', 'Expect: 100-continue', '-T', file];
    const stored = await curl(...common, `${upstream.url}/file`);
    expect(stored).toMatchObject({ status: 200, body: 'stored', exitCode: 0 });
    expect(stored.head).toContain('HTTP/1.1 100 Continue');
    expect(bytes).toBe(3_000_000);
    const refused = await curl(...common, '-H', 'Host: evil.test', `${upstream.url}/file`);
    expect(refused).toMatchObject({ status: 421 });
    expect(refused.head).not.toContain('100 Continue');
    expect(bytes).toBe(3_000_000);
  });

  test('with another expectation is refused', async () => {
    const sidekey = await startSidekey();
    const client = await openClient(sidekey);
    client.send('GET http://other.test/ HTTP/1.1\r\nHost: other.test\r\nExpect: miracles\r\n\r\n');
    expect(await client.response()).toMatchObject({ status: 417 });
  });
});

describe('an interim response of the upstream', () => {
  const hints =
    'HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\nX-Hint: 1\r\nSidekey-Error: forged\r\n\r\n';
  const final = 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok';

  test('passes: 103 with its fields, 102', async () => {
    const { upstream, sidekey } = await grantedRaw((socket) => {
      onHeads(socket, () => socket.write(`${hints}HTTP/1.1 102 Processing\r\n\r\n${final}`));
    });
    const client = await openTunnel(sidekey, upstream.authority);
    client.send(`GET / HTTP/1.1\r\nHost: ${upstream.authority}\r\n\r\n`);
    const early = await client.response();
    expect(early).toMatchObject({ status: 103 });
    expect(early.headers).toMatchObject({ link: '</a.css>; rel=preload', 'x-hint': '1' });
    expect(early.headers['sidekey-error']).toBeUndefined();
    expect(await client.response()).toMatchObject({ status: 102 });
    expect(await client.response()).toMatchObject({ status: 200, body: 'ok' });
  });

  test('passes as it was written, and announces no body', async () => {
    const odd = 'HTTP/1.1 103 Early Hints\r\nLink: not a link\r\nContent-Length: 0\r\n\r\n';
    const { upstream, sidekey } = await grantedRaw((socket) => {
      onHeads(socket, () => socket.write(odd + final));
    });
    const client = await openTunnel(sidekey, upstream.authority);
    client.send(`GET / HTTP/1.1\r\nHost: ${upstream.authority}\r\n\r\n`);
    expect(await client.response()).toMatchObject({ status: 103, rawHeaders: ['Link', 'not a link'] });
    expect(await client.response()).toMatchObject({ status: 200, body: 'ok' });
  });

  test.each([
    ['is not for a client of HTTP/1.0', '1.0', hints],
    ['is left out where clients do not know it', '1.1', 'HTTP/1.1 150 Odd\r\n\r\n'],
  ])('%s', async (_name, version, interim) => {
    const { upstream, sidekey } = await grantedRaw((socket) => {
      onHeads(socket, () => socket.write(interim + final));
    });
    const client = await openTunnel(sidekey, upstream.authority);
    client.send(`GET / HTTP/${version}\r\nHost: ${upstream.authority}\r\n\r\n`);
    expect(await client.response()).toMatchObject({ status: 200, body: 'ok' });
  });
});
