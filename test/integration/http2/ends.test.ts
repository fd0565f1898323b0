import { once } from 'node:events';
import { constants } from 'node:http2';
import { describe, expect, test } from 'vitest';
import { granted, grantedRaw, grantedTo, onHeads } from '../../support/granted.ts';
import { answerOf, ask, openSession, request } from '../../support/h2-client.ts';
import { openFrames } from '../../support/frame-client.ts';
import { block, endHeaders, endStream, frame, frameType, number } from '../../support/http2-frames.ts';
import { addAgent } from '../../support/rights.ts';
import { startUpstream } from '../../support/upstream.ts';

describe('an HTTP/2 response that breaks off', () => {
  test.each([
    ['before its length', 'Content-Length: 100\r\n\r\nhalf'],
    ['in a chunk', 'Transfer-Encoding: chunked\r\n\r\n100\r\nhalf'],
    ['between chunks', 'Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n'],
    ['in its trailers', 'Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n0\r\nX-Sum: 1\r\n'],
  ])('%s is reset instead of ended, and the session stays open', async (_where, answer) => {
    let count = 0;
    const { upstream, sidekey } = await grantedRaw((socket) =>
      onHeads(socket, () => {
        count += 1;
        if (count === 1) socket.end(`HTTP/1.1 200 Fine\r\n${answer}`);
        else socket.write('HTTP/1.1 200 Fine\r\nContent-Length: 2\r\n\r\nok');
      }),
    );
    const session = await openSession(sidekey, upstream.authority);
    const broken = await ask(session);
    expect(broken).toMatchObject({ status: 200, whole: false, code: constants.NGHTTP2_INTERNAL_ERROR });
    await expect(sidekey.audited((line) => line.event === 'outcome')).resolves.toMatchObject({
      outcome: 'failed',
    });
    expect(await ask(session)).toMatchObject({ status: 200, body: 'ok', whole: true });
  });

  test('has no END_STREAM in its frames', async () => {
    const { upstream, sidekey } = await grantedRaw((socket) =>
      onHeads(socket, () =>
        socket.end(`HTTP/1.1 200 Fine\r\nContent-Length: 70000\r\n\r\n${'x'.repeat(69_999)}`),
      ),
    );
    const client = await openFrames(sidekey, upstream.authority);
    await client.send(
      frame('window', 0, 0, number(100_000)),
      frame('headers', 1, endHeaders | endStream, block(client.fields())),
    );
    expect(await client.resetOf(1)).toBe(constants.NGHTTP2_INTERNAL_ERROR);
    const ended = client.frames.filter(
      (it) => it.stream === 1 && it.type !== frameType.reset && it.flags & endStream,
    );
    expect(ended).toEqual([]);
  });

  test('beyond its length is reset, and the excess is not forwarded', async () => {
    const { upstream, sidekey } = await grantedRaw((socket) =>
      onHeads(socket, () => socket.write('HTTP/1.1 200 Fine\r\nContent-Length: 2\r\n\r\nok and more')),
    );
    const session = await openSession(sidekey, upstream.authority);
    expect(await ask(session)).toMatchObject({ status: 200, body: 'ok', whole: true });
    expect(await ask(session)).toMatchObject({ body: 'ok' });
    expect(upstream.connections()).toBe(2);
  });
});

describe('an HTTP/2 client that cancels its request', () => {
  test.each([
    ['CANCEL', constants.NGHTTP2_CANCEL],
    ['no error', constants.NGHTTP2_NO_ERROR],
  ])('with %s: the exchange ends, and the session stays open', async (_name, code) => {
    const { upstream, sidekey } = await granted((asked, response) => {
      if (asked.url === '/other') response.end('ok');
      else response.write('begun');
    });
    const session = await openSession(sidekey, upstream.authority);
    const stream = request(session);
    await once(stream, 'data');
    stream.close(code);
    await upstream.allClosed();
    await expect(sidekey.audited((line) => line.event === 'outcome')).resolves.toMatchObject({
      outcome: 'aborted',
    });
    expect(await ask(session, { ':path': '/other' })).toMatchObject({ body: 'ok' });
  });

  test.each([
    ['CANCEL', constants.NGHTTP2_CANCEL],
    ['no error', constants.NGHTTP2_NO_ERROR],
  ])('during its body, with %s: the upstream does not see a complete body', async (_name, code) => {
    const ends: string[] = [];
    const begun = Promise.withResolvers<void>();
    const { upstream, sidekey } = await granted((asked) => {
      asked.on('data', () => begun.resolve());
      asked.on('end', () => ends.push('end')).on('error', () => ends.push('cut'));
    });
    const client = await openFrames(sidekey, upstream.authority);
    // Node's own client would end its body before it resets the stream.
    await client.send(
      frame('headers', 1, endHeaders, block(client.fields({ ':method': 'POST' }))),
      frame('data', 1, 0, Buffer.from('half of it')),
    );
    await begun.promise;
    await client.send(frame('reset', 1, 0, number(code)));
    await upstream.allClosed();
    expect(ends).toEqual(['cut']);
    await expect(sidekey.audited((line) => line.event === 'outcome')).resolves.toMatchObject({
      outcome: 'aborted',
    });
  });

  test('gets a stream reset for the rest of its body after the response', async () => {
    const { upstream, sidekey } = await granted((_asked, response) => {
      response.writeHead(200, { 'Content-Length': '5' }).end('early');
    });
    const session = await openSession(sidekey, upstream.authority);
    const stream = request(session, { ':method': 'POST' }, { endStream: false });
    stream.write('some');
    const answer = await answerOf(stream);
    expect(answer).toMatchObject({
      status: 200,
      body: 'early',
      whole: true,
      code: constants.NGHTTP2_NO_ERROR,
    });
    expect(session.destroyed).toBe(false);
  });

  test('is refused if its body stalls', async () => {
    const { upstream, sidekey } = await granted((asked) => void asked.resume().on('error', () => {}), {
      config: { limits: { client_body_idle: '50ms' } },
    });
    const session = await openSession(sidekey, upstream.authority);
    const stream = request(session, { ':method': 'POST' }, { endStream: false });
    stream.write('some');
    expect(await answerOf(stream)).toMatchObject({ status: 400, whole: true });
    await upstream.allClosed();
  });
});

describe('a permission that ends', () => {
  test('cuts only its stream, and no other stream of the session', async () => {
    const upstream = await startUpstream((asked, response) => {
      response.write(`begun ${asked.url}`);
      if (asked.url === '/short') response.end();
    });
    const { sidekey } = await grantedTo(upstream, {
      config: { proxy: { listen: '127.0.0.1:0', authentication: 'required' } },
      domains: { [upstream.authority]: { grant: 'acme' } },
    });
    const other = await sidekey.grant([upstream.authority], { name: 'second' });
    const { store } = sidekey.proxy.state;
    await addAgent(store, 'robot', 'secret');
    const field = `Proxy-Authorization: Basic ${Buffer.from('robot:secret').toString('base64')}`;
    const session = await openSession(
      sidekey,
      upstream.authority,
      {},
      { protocols: ['h2'], fields: [field] },
    );
    const kept = request(session, { ':path': '/kept' });
    const cut = request(session, { ':path': '/cut', 'sidekey-grant': 'second' });
    await Promise.all([once(kept, 'data'), once(cut, 'data')]);
    const closed = new Promise<void>((resolve) => cut.once('close', resolve));
    await sidekey.proxy.state.grants.setState(other, 'revoked', 'A test took it away.');
    await closed;
    expect(cut.rstCode).toBe(constants.NGHTTP2_CANCEL);
    const outcome = await sidekey.audited((line) => line.event === 'outcome');
    expect(outcome).toMatchObject({ path: '/cut', outcome: 'aborted', code: 'grant_revoked' });
    expect(kept.closed).toBe(false);
    expect(await ask(session, { ':path': '/short' })).toMatchObject({ body: 'begun /short' });
  });
});

describe('an HTTP/2 session', () => {
  test('closes gracefully when the proxy stops, after its exchanges', async () => {
    const held = Promise.withResolvers<() => void>();
    const { upstream, sidekey } = await granted((_asked, response) => {
      response.write('begun ');
      held.resolve(() => response.end('and finished'));
    });
    const session = await openSession(sidekey, upstream.authority);
    const goaway = once(session, 'goaway');
    const answer = answerOf(request(session));
    const finish = await held.promise;
    const closed = sidekey.proxy.close();
    const [code] = (await goaway) as [number];
    expect(code).toBe(constants.NGHTTP2_NO_ERROR);
    finish();
    expect(await answer).toMatchObject({ status: 200, body: 'begun and finished', whole: true });
    await closed;
  });

  test('is closed after client_idle without requests, but not while an exchange is open', async () => {
    const held = Promise.withResolvers<() => void>();
    const { upstream, sidekey } = await granted(
      (_asked, response) => void setTimeout(() => held.resolve(() => response.end('ok')), 150),
      { config: { limits: { client_idle: '40ms' } } },
    );
    const session = await openSession(sidekey, upstream.authority);
    const goaway = once(session, 'goaway');
    const answer = answerOf(request(session));
    (await held.promise)();
    expect(await answer).toMatchObject({ body: 'ok', whole: true });
    await goaway;
    await once(session, 'close');
  });

  test('is closed after head_timeout without a first request', async () => {
    const { upstream, sidekey } = await granted((_asked, response) => response.end(), {
      config: { limits: { head_timeout: '1s' } },
    });
    const session = await openSession(sidekey, upstream.authority);
    await once(session, 'close');
  });
});
