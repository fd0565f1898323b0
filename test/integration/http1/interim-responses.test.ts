import { once } from 'node:events';
import { writeFile } from 'node:fs/promises';
import type { Http2ServerRequest, Http2ServerResponse } from 'node:http2';
import { join } from 'node:path';
import type { TLSSocket } from 'node:tls';
import { describe, expect, test, vi } from 'vitest';
import { curl, curlMissing } from '../../support/curl.ts';
import { granted, grantedRaw, grantedTo, onHeads } from '../../support/granted.ts';
import { answerOf, openSession, request } from '../../support/h2-client.ts';
import { openClient, openTunnel } from '../../support/raw-client.ts';
import { startSidekey } from '../../support/sidekey.ts';
import { startH2Upstream } from '../../support/upstream.ts';

const waiting = 'Expect: 100-continue\r\nContent-Length: 5\r\n\r\n';

/** An upstream of HTTP/2 and HTTP/1.1 that refuses before it has asked for the body. */
async function refusing(status: number) {
  const upstream = await startH2Upstream(() => {});
  const read: Buffer[] = [];
  upstream.server.on('checkContinue', (request: Http2ServerRequest, response: Http2ServerResponse) => {
    request.on('data', (chunk: Buffer) => read.push(chunk));
    response.writeHead(status).end('no');
  });
  const { sidekey } = await grantedTo(upstream);
  return { upstream, sidekey, read };
}

describe('Expect: 100-continue', () => {
  test('is forwarded: the upstream answers with 100, and the client then sends the body', async () => {
    const sockets: TLSSocket[] = [];
    const { upstream, sidekey } = await grantedRaw((socket) => {
      onHeads(socket, (head) => {
        if (!/\r\nExpect: 100-continue\r\n/.test(head)) throw new Error('no expectation came');
        sockets.push(socket);
      });
    });
    const client = await openTunnel(sidekey, upstream.authority);
    client.send(`POST / HTTP/1.1\r\nHost: ${upstream.authority}\r\n${waiting}`);
    await vi.waitUntil(() => sockets.length > 0);
    expect((await sidekey.audit()).some((line) => line.event === 'access')).toBe(true);
    expect(client.received()).toBe('');
    const [socket] = sockets as [TLSSocket];
    socket.write('HTTP/1.1 100 Continue\r\n\r\n');
    expect(await client.response()).toMatchObject({ status: 100 });
    const body = once(socket, 'data');
    client.send('hello');
    expect(String((await body)[0])).toBe('hello');
    socket.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok');
    const answer = await client.response();
    expect(answer).toMatchObject({ status: 200, body: 'ok' });
    expect(answer.headers['connection']).toBe('keep-alive');
  });

  test.each([401, 413, 417])(
    'gets no 100 if the upstream responds %i at once, and no body is sent',
    async (status) => {
      let text = '';
      const { upstream, sidekey } = await grantedRaw((socket) => {
        socket.on('data', (piece: Buffer) => (text += piece.toString('latin1')));
        onHeads(socket, () => socket.write(`HTTP/1.1 ${status} No\r\nContent-Length: 2\r\n\r\nno`));
      });
      const client = await openTunnel(sidekey, upstream.authority);
      client.send(`POST / HTTP/1.1\r\nHost: ${upstream.authority}\r\n${waiting}`);
      const answer = await client.response();
      expect(answer).toMatchObject({ status, body: 'no' });
      expect(answer.headers['connection']).toBe('close');
      expect(await client.ended()).toBe('');
      await upstream.allClosed();
      expect(text.endsWith('\r\n\r\n')).toBe(true);
    },
  );

  test('has no effect if the client sends its body at once', async () => {
    const { upstream, sidekey } = await grantedRaw((socket) => {
      let text = '';
      socket.on('data', (piece: Buffer) => {
        text += piece.toString('latin1');
        if (text.endsWith('hello')) socket.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok');
      });
    });
    const client = await openTunnel(sidekey, upstream.authority);
    client.send(`POST / HTTP/1.1\r\nHost: ${upstream.authority}\r\n${waiting}hello`);
    await client.until('HTTP/1.1 200 OK');
  });

  test('gets a 100 from the proxy itself if a rule needs the body first', async () => {
    const seen: unknown[] = [];
    const { upstream, sidekey } = await granted((request, response) => {
      seen.push(request.headers.expect);
      request.resume().on('end', () => response.end('ok'));
    });
    await sidekey.configure({
      domains: { [upstream.authority]: { grant: 'acme', rules: [{ jsonrpc: { methods: ['ping'] } }] } },
    });
    const client = await openTunnel(sidekey, upstream.authority);
    const ask = async (body: string) => {
      client.send(
        `POST / HTTP/1.1\r\nHost: ${upstream.authority}\r\nContent-Type: application/json\r\n`,
        `Expect: 100-continue\r\nContent-Length: ${body.length}\r\n\r\n`,
      );
      expect(await client.response()).toMatchObject({ status: 100 });
      expect(upstream.connections()).toBe(seen.length);
      client.send(body);
      return client.response();
    };
    expect(await ask('{"jsonrpc":"2.0","id":1,"method":"ping"}')).toMatchObject({ status: 200, body: 'ok' });
    expect(seen).toEqual([undefined]);
  });

  test.skipIf(curlMissing).each([401, 413])(
    'of a large upload by curl ends with the %i of the upstream, and no byte of the body is sent',
    async (status) => {
      const { upstream, sidekey, read } = await refusing(status);
      const file = join(sidekey.folder, 'upload');
      await writeFile(file, Buffer.alloc(3_000_000, 'x'));
      const options = ['-x', sidekey.url, '--cacert', sidekey.caFile, '--http1.1'];
      const answer = await curl(...options, '-H', 'Expect: 100-continue', '-T', file, `${upstream.url}/file`);
      expect(answer).toMatchObject({ status, body: 'no' });
      expect(answer.head).not.toContain('HTTP/1.1 100');
      expect(read).toEqual([]);
    },
  );

  test('over HTTP/2 on both sides gets the 100 of the upstream or its refusal', async () => {
    const { upstream, sidekey, read } = await refusing(413);
    const session = await openSession(sidekey, upstream.authority);
    const upload = () =>
      request(session, { ':method': 'POST', expect: '100-continue' }, { endStream: false });
    const refused = upload();
    refused.once('continue', () => refused.end('body'));
    expect(await answerOf(refused)).toMatchObject({ status: 413, body: 'no' });
    expect(read).toEqual([]);
    upstream.server.removeAllListeners('checkContinue');
    upstream.server.on('checkContinue', (asked: Http2ServerRequest, response: Http2ServerResponse) => {
      response.writeContinue();
      asked.on('data', (chunk: Buffer) => read.push(chunk)).on('end', () => response.end('read'));
    });
    const taken = upload();
    taken.once('continue', () => taken.end('body'));
    expect(await answerOf(taken)).toMatchObject({ status: 200, body: 'read' });
    expect(read.join('')).toBe('body');
  });

  test.each([
    ['a refusal by policy', 'evil.test', 421],
    ['an upstream that cannot be reached', '', 502],
  ])('gets %s at once, and the connection closes', async (_name, host, status) => {
    const { upstream, sidekey } = await granted((_request, response) => response.end('ok'));
    const client = await openTunnel(sidekey, upstream.authority);
    if (host === '') await upstream.close();
    client.send(`POST / HTTP/1.1\r\nHost: ${host || upstream.authority}\r\n${waiting}`);
    const answer = await client.response();
    expect(answer).toMatchObject({ status });
    expect(answer.headers['connection']).toBe('close');
    expect(await client.ended()).toBe('');
  });

  test.skipIf(curlMissing)('works with curl -T, even if the response is a refusal', async () => {
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

  test('is refused if it contains another expectation', async () => {
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

  test('is forwarded: 103 with its fields, 102', async () => {
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

  test('is forwarded with unusual fields, but without announcing a body', async () => {
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
