import type { TLSSocket } from 'node:tls';
import { describe, expect, test } from 'vitest';
import { granted, grantedRaw, onHeads } from '../../support/granted.ts';
import { answerOf, ask, grantedH2, openSession, request } from '../../support/h2-client.ts';
import { openTls, openTunnel, problemOf } from '../../support/raw-client.ts';
import { bearerToken } from '../../support/sidekey.ts';

const both = { protocols: ['h2', 'http/1.1'] };

describe('an HTTP/2 client', () => {
  test('is offered the protocol that the upstream speaks', async () => {
    const modern = await grantedH2((_request, response) => response.end('ok'));
    const old = await granted((_request, response) => response.end('ok'));
    const spoken = async ({ sidekey, upstream }: typeof old, protocols: readonly string[]) =>
      (await openTls(sidekey, upstream.authority, { protocols })).alpnProtocol;
    expect(await spoken(modern, ['h2', 'http/1.1'])).toBe('h2');
    expect(await spoken(modern, ['http/1.1'])).toBe('http/1.1');
    expect(await spoken(old, ['h2', 'http/1.1'])).toBe('http/1.1');
    expect(await spoken(old, ['h2'])).toBe('h2');
  });

  test('falls back to HTTP/1.1 if the upstream cannot be reached, and gets the reason on its first request', async () => {
    const { upstream, sidekey } = await granted((_request, response) => response.end('ok'));
    await upstream.close();
    const client = await openTunnel(sidekey, upstream.authority, both);
    expect((client.socket as TLSSocket).alpnProtocol).toBe('http/1.1');
    client.send(`GET / HTTP/1.1\r\nHost: ${upstream.authority}\r\n\r\n`);
    expect(await client.response()).toMatchObject({ status: 502, reason: 'upstream_unreachable' });
  });

  test('gets the credential on its request, and the access is audited', async () => {
    const { upstream, sidekey } = await grantedH2((asked, response) => {
      response.setHeader('x-seen', String(asked.headers['authorization']));
      response.end(`${asked.method} ${asked.url}`);
    });
    const session = await openSession(sidekey, upstream.authority, {}, both);
    const answer = await ask(session, { ':path': '/a?b=%2f', 'sidekey-reason': 'to see' });
    expect(answer).toMatchObject({ status: 200, body: 'GET /a?b=%2f', whole: true, code: 0 });
    expect(answer.headers['x-seen']).toBe(`Bearer ${bearerToken}`);
    const outcome = await sidekey.audited((line) => line.event === 'outcome');
    expect(outcome).toMatchObject({ method: 'GET', path: '/a', status: 200, outcome: 'ok', bytes_out: 12 });
    const events = (await sidekey.audit()).map(({ event }) => event);
    expect(events.filter((event) => event === 'access' || event === 'outcome')).toEqual([
      'access',
      'outcome',
    ]);
  });

  test('has its request translated for an HTTP/1.1 upstream', async () => {
    const heads: string[] = [];
    const { upstream, sidekey } = await grantedRaw((socket) =>
      onHeads(socket, (head) => {
        heads.push(head);
        socket.write(
          'HTTP/1.1 200 Fine\r\nX-Two: 1\r\nX-Two: 2\r\nKeep-Alive: timeout=5\r\nContent-Length: 2\r\n\r\nok',
        );
      }),
    );
    const session = await openSession(sidekey, upstream.authority);
    const answer = await ask(session, {
      ':path': '/p',
      cookie: ['a=1', 'b=2'],
      te: 'trailers',
      'sidekey-reason': 'none of theirs',
      'x-one': 'yes',
    });
    expect(answer).toMatchObject({ status: 200, body: 'ok' });
    expect(answer.headers['x-two']).toBe('1, 2');
    expect(answer.headers['keep-alive']).toBeUndefined();
    const lines = heads[0]?.split('\r\n') ?? [];
    expect(lines[0]).toBe('GET /p HTTP/1.1');
    expect(lines[1]).toBe(`Host: ${upstream.authority}`);
    expect(lines).toContain('cookie: a=1; b=2');
    // The field applies to one connection, and this client accepts trailers in any case.
    expect(lines.some((line) => /^te:/i.test(line))).toBe(false);
    expect(lines).toContain('x-one: yes');
    expect(lines.some((line) => line.includes('none of theirs') || line.startsWith(':'))).toBe(false);
    expect(lines.some((line) => /transfer-encoding|content-length/i.test(line))).toBe(false);
  });

  test.each([
    ['with a length', { 'content-length': '5' }, 'content-length'],
    ['without one', {}, 'transfer-encoding'],
  ])('sends a body %s, and its trailers', async (_how, headers, framing) => {
    const { upstream, sidekey } = await granted((asked, response) => {
      let body = '';
      asked.on('data', (piece: Buffer) => (body += piece.toString()));
      asked.on('end', () => response.end(JSON.stringify([body, asked.headers[framing], asked.trailers])));
    });
    const session = await openSession(sidekey, upstream.authority);
    const stream = session.request(
      { ':path': '/', ':method': 'POST', ...headers },
      { waitForTrailers: true },
    );
    stream
      .on('error', () => {})
      .on('wantTrailers', () => stream.sendTrailers({ 'x-sum': '9', authorization: 'mine', dpop: 'mine' }));
    stream.write('he');
    stream.end('llo');
    const trailers = framing === 'transfer-encoding' ? { 'x-sum': '9' } : {};
    const announced = framing === 'transfer-encoding' ? 'chunked' : '5';
    expect(JSON.parse((await answerOf(stream)).body)).toEqual(['hello', announced, trailers]);
  });

  test('gets trailers and interim responses', async () => {
    const { upstream, sidekey } = await granted((_request, response) => {
      response.writeEarlyHints({ link: ['</a.css>; rel=preload', '</b.css>; rel=preload'] });
      response.writeHead(200, { Trailer: 'X-Sum' });
      response.write('body');
      response.addTrailers({ 'X-Sum': '7', 'Set-Cookie': 'no' });
      response.end();
    });
    const session = await openSession(sidekey, upstream.authority);
    const answer = await ask(session);
    expect(answer).toMatchObject({ status: 200, body: 'body', whole: true });
    expect(answer.trailers['x-sum']).toBe('7');
    expect(answer.interim).toHaveLength(1);
    expect(answer.interim[0]).toMatchObject({
      ':status': 103,
      link: '</a.css>; rel=preload, </b.css>; rel=preload',
    });
  });

  test.each([
    ['HEAD', 200, { 'content-length': '11' }],
    ['GET', 204, {}],
    ['GET', 304, { 'content-length': '11' }],
    ['GET', 205, {}],
  ])('gets no body in the response to %s with %i', async (method, status, headers) => {
    let count = 0;
    const { upstream, sidekey } = await grantedRaw((socket) =>
      onHeads(socket, () => {
        count += 1;
        const length = status === 205 ? 0 : 11;
        socket.write(
          count === 1
            ? `HTTP/1.1 ${status} Fine\r\nContent-Length: ${status === 204 ? 0 : length}\r\n\r\n`
            : 'HTTP/1.1 200 Fine\r\nContent-Length: 4\r\n\r\nnext',
        );
      }),
    );
    const session = await openSession(sidekey, upstream.authority);
    const answer = await ask(session, { ':method': method });
    expect(answer).toMatchObject({ status, body: '', whole: true, code: 0, headers });
    expect(await ask(session)).toMatchObject({ status: 200, body: 'next' });
  });

  test('sends its body after a 100', async () => {
    const { upstream, sidekey } = await granted((asked, response) => {
      asked.resume().on('end', () => response.end('read'));
    });
    const session = await openSession(sidekey, upstream.authority);
    const stream = request(session, { ':method': 'POST', expect: '100-continue' }, { endStream: false });
    const answer = answerOf(stream);
    await new Promise<void>((resolve) => stream.once('continue', resolve));
    stream.end('body');
    expect(await answer).toMatchObject({ status: 200, body: 'read' });
    expect(await ask(session, { expect: 'more' })).toMatchObject({ status: 417 });
  });

  test('gets the same refusal as over HTTP/1.1, and the session stays open', async () => {
    const { upstream, sidekey } = await granted((_request, response) => response.end('ok'));
    const session = await openSession(sidekey, upstream.authority);
    const refused = await ask(session, { 'sidekey-grant': 'none-such' });
    expect(refused).toMatchObject({ status: 403, whole: true });
    expect(refused.headers).toMatchObject({
      'content-type': 'application/problem+json',
      'sidekey-error': 'grant_missing',
    });
    expect(problemOf(refused).code).toBe('grant_missing');
    await expect(sidekey.audited((line) => line.event === 'denied')).resolves.toMatchObject({
      code: 'grant_missing',
      status: 403,
    });
    expect(await ask(session)).toMatchObject({ status: 200, body: 'ok' });
  });

  test('gets each of 100 responses at once on the stream of its request', async () => {
    const held: (() => void)[] = [];
    const { upstream, sidekey } = await granted((asked, response) => {
      const answer = () => {
        response.setHeader('x-path', String(asked.url));
        response.end(`answer to ${asked.url} `.repeat(100));
      };
      held.push(answer);
      // All are under way before the first is answered, the last first.
      if (held.length === 100) for (const next of held.toReversed()) next();
    });
    const session = await openSession(sidekey, upstream.authority);
    const paths = Array.from({ length: 100 }, (_each, index) => `/number/${index}`);
    const answers = await Promise.all(paths.map((path) => ask(session, { ':path': path })));
    answers.forEach((answer, index) => {
      expect(answer.headers['x-path']).toBe(paths[index]);
      expect(answer.body).toBe(`answer to ${paths[index]} `.repeat(100));
      expect(answer.whole).toBe(true);
    });
    await sidekey.audited((line) => line.event === 'outcome');
  });

  test('is never redirected by Alt-Svc, in a field or a frame', async () => {
    const { upstream, sidekey } = await granted((_request, response) => {
      response.setHeader('Alt-Svc', 'h3=":443"');
      response.end('ok');
    });
    const session = await openSession(sidekey, upstream.authority);
    const frames: string[] = [];
    session.on('altsvc', () => frames.push('altsvc')).on('origin', () => frames.push('origin'));
    const answer = await ask(session);
    expect(answer.headers['alt-svc']).toBeUndefined();
    expect(frames).toEqual([]);
  });
});
