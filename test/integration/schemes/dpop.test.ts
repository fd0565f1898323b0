import { once } from 'node:events';
import { connect, createServer, type AddressInfo } from 'node:net';
import { describe, expect, onTestFinished, test } from 'vitest';
import { onHeads } from '../../support/granted.ts';
import { openClient, openTunnel } from '../../support/raw-client.ts';
import { bound, boundTo, startDpopProxy } from '../../support/dpop-upstream.ts';
import { answerOf, openSession } from '../../support/h2-client.ts';
import { requestBody } from '../../support/request-body.ts';
import {
  startH2Upstream,
  startRawPlainUpstream,
  startRawUpstream,
  upstreamHost,
} from '../../support/upstream.ts';
import { decodeJwt } from 'jose';
import { allGrants } from '../../support/all-grants.ts';

describe.each(['HTTP/1.1', 'HTTP/2'] as const)('a token that is bound to a DPoP key, over %s', (protocol) => {
  test('is sent with a proof for exactly that request, in place of the fields of the client', async () => {
    const at = await startDpopProxy(protocol);
    const answer = await at.ask({
      path: '/things/caf%C3%A9?q=1',
      fields: { authorization: 'DPoP placeholder', dpop: 'of the client', 'x-kept': 'yes' },
    });
    expect(answer).toMatchObject({ status: 200, body: 'ok' });
    const [{ claims, fields } = { claims: {}, fields: {} }] = at.seen;
    expect(claims).toMatchObject({ htu: `${at.upstream.url}/things/caf%C3%A9`, htm: 'GET' });
    expect(claims).not.toHaveProperty('nonce');
    expect(fields).toMatchObject({ 'x-kept': 'yes' });
    expect(JSON.stringify(fields)).not.toContain('of the client');
    expect((await at.ask({ method: 'DELETE', path: '/things' })).status).toBe(200);
    expect(at.seen.map(({ says }) => says)).toEqual(['ok', 'ok']);
  });

  test('is sent again with a nonce if the server requires a nonce, and later with the nonce at once', async () => {
    const at = await startDpopProxy(protocol);
    at.wants.nonce = 'nonce-1';
    expect(await at.ask()).toMatchObject({ status: 200, body: 'ok' });
    expect(await at.ask()).toMatchObject({ status: 200, body: 'ok' });
    expect(at.seen.map(({ says, claims }) => [says, claims['nonce']])).toEqual([
      ['nonce', undefined],
      ['ok', 'nonce-1'],
      ['ok', 'nonce-1'],
    ]);
    expect(new Set(at.seen.map(({ claims }) => claims['jti'])).size).toBe(3);
    expect(at.refreshes).toEqual([]);
    // The 401 was read to its end: nothing had to be dialed anew.
    expect(at.upstream.connections()).toBe(1);
    // One exchange is one access record, however many proofs its request needed.
    await at.sidekey.audited(({ event }) => event === 'outcome');
    expect((await at.sidekey.audit()).filter(({ event }) => event === 'access')).toHaveLength(2);
  });

  test('uses the nonce of the last response, whatever its status', async () => {
    const at = await startDpopProxy(protocol);
    at.wants.next = 'nonce-1';
    await at.ask();
    at.wants.next = 'nonce-2';
    await at.ask();
    at.wants.next = null;
    await at.ask();
    expect(at.seen.map(({ says, claims }) => [says, claims['nonce']])).toEqual([
      ['ok', undefined],
      ['ok', 'nonce-1'],
      ['ok', 'nonce-2'],
    ]);
  });

  test('is refreshed if it has expired too, after the nonce', async () => {
    const at = await startDpopProxy(protocol);
    Object.assign(at.wants, { nonce: 'nonce-1', token: 'another' });
    expect(await at.ask({ method: 'POST', body: 'hello' })).toMatchObject({ status: 200, body: 'ok' });
    expect(at.seen.map(({ says, body }) => [says, body])).toEqual([
      ['nonce', 'hello'],
      ['token', 'hello'],
      ['ok', 'hello'],
    ]);
    expect(at.refreshes).toMatchObject([{ grant_type: 'refresh_token', refresh_token: 'refresh-1' }]);
  });

  test('gets a new proof if the nonce changed during the refresh', async () => {
    const at = await startDpopProxy(protocol);
    Object.assign(at.wants, { token: 'another', next: 'nonce-1' });
    const answering = at.ask();
    // The answer to the ended token says a nonce, and another is wanted from then on.
    for (; at.seen.length === 0;) await new Promise((resolve) => setImmediate(resolve));
    Object.assign(at.wants, { nonce: 'nonce-2', next: null });
    expect(await answering).toMatchObject({ status: 200, body: 'ok' });
    expect(at.seen.map(({ says, claims }) => [says, claims['nonce']])).toEqual([
      ['token', undefined],
      ['nonce', 'nonce-1'],
      ['ok', 'nonce-2'],
    ]);
    expect(at.refreshes).toHaveLength(1);
  });

  test('gets at most two proofs, and is not refreshed because of a nonce', async () => {
    const at = await startDpopProxy(protocol);
    Object.assign(at.wants, { nonce: 'nonce-1', isNever: true });
    const answer = await at.ask();
    expect(answer).toMatchObject({ status: 401, body: 'nonce' });
    expect(answer.headers['www-authenticate']).toContain('use_dpop_nonce');
    expect(at.seen).toHaveLength(2);
    expect(at.refreshes).toEqual([]);
  });

  test('is sent again with its original body, even if no refresh is possible', async () => {
    const at = await startDpopProxy(protocol, {}, { ...bound, refreshToken: null });
    at.wants.nonce = 'nonce-1';
    expect(await at.ask({ method: 'POST', body: 'hello' })).toMatchObject({ status: 200, body: 'ok' });
    expect(at.seen.map(({ says, body }) => [says, body])).toEqual([
      ['nonce', 'hello'],
      ['ok', 'hello'],
    ]);
  });

  test('is not sent again if the body was too long to buffer, and the next request has the nonce', async () => {
    const at = await startDpopProxy(protocol, { config: { limits: { replay_bytes: 1_000 } } });
    at.wants.nonce = 'nonce-1';
    const body = 'x'.repeat(10_000);
    expect(await at.ask({ method: 'POST', body })).toMatchObject({ status: 401, body: 'nonce' });
    expect(await at.ask({ method: 'POST', body })).toMatchObject({ status: 200, body: 'ok' });
    expect(at.seen.map(({ says }) => says)).toEqual(['nonce', 'ok']);
    expect(at.refreshes).toEqual([]);
  });

  test('gets a separate proof for each of many simultaneous requests', async () => {
    const at = await startDpopProxy('HTTP/2');
    at.wants.nonce = 'nonce-1';
    const paths = Array.from({ length: 20 }, (_, index) => `/${index}`);
    const answers = await Promise.all(paths.map((path) => at.ask({ path })));
    expect(answers.map(({ status }) => status)).toEqual(paths.map(() => 200));
    expect(at.seen.every(({ says }) => says === 'ok' || says === 'nonce')).toBe(true);
  });
});

describe('a DPoP request that is sent again', () => {
  test('over another connection has another proof, because the server may have seen the first proof', async () => {
    const proofs: string[] = [];
    const upstream = await startRawUpstream((socket) => {
      onHeads(socket, (head, count) => {
        proofs.push(/\r\ndpop: (.*)\r/i.exec(head)?.[1] ?? 'none');
        // The second on this connection is read, and not answered.
        if (count === 2) socket.destroy();
        else socket.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok');
      });
    });
    const { sidekey } = await boundTo(upstream);
    const client = await openTunnel(sidekey, upstream.authority);
    for (const path of ['/1', '/2']) {
      client.send(`GET ${path} HTTP/1.1\r\nHost: ${upstream.authority}\r\n\r\n`);
      expect(await client.response()).toMatchObject({ status: 200, body: 'ok' });
    }
    const ids = proofs.map((proof) => decodeJwt(proof).jti);
    expect(ids).toHaveLength(3);
    expect(new Set(ids).size).toBe(3);
  });

  test('has its complete body, even if the 401 came before the end of the body', async () => {
    const bodies: string[] = [];
    const asked = Promise.withResolvers<void>();
    const upstream = await startRawUpstream((socket) => {
      let text = '';
      let isAnswered = false;
      socket.on('data', (chunk: Buffer) => {
        text += chunk.toString('latin1');
        const [head = '', body] = text.split('\r\n\r\n');
        if (body === undefined) return;
        if (!decodeJwt(/\r\ndpop: (.*)/i.exec(head)?.[1] ?? '')['nonce']) {
          if (!isAnswered) socket.write(`${wanting}n\r\n\r\nno`);
          isAnswered = true;
          return;
        }
        asked.resolve();
        if (body.length < 10) return;
        bodies.push(body);
        socket.end('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok');
      });
    });
    const { sidekey } = await boundTo(upstream);
    const client = await openTunnel(sidekey, upstream.authority);
    client.send(`POST / HTTP/1.1\r\nHost: ${upstream.authority}\r\nContent-Length: 10\r\n\r\n0123`);
    await Promise.race([asked.promise, client.until('HTTP/1.1')]);
    client.send('456789');
    expect(await client.response()).toMatchObject({ status: 200, body: 'ok' });
    expect(bodies).toEqual(['0123456789']);
  });

  test('has its complete body over HTTP/2 too, if the client sends the body only after a response', async () => {
    const bodies: string[] = [];
    const asked = Promise.withResolvers<void>();
    const upstream = await startH2Upstream((request, response) => {
      if (decodeJwt(String(request.headers['dpop']))['nonce'] === undefined) {
        response.writeHead(401, { 'www-authenticate': 'DPoP error="use_dpop_nonce"', 'dpop-nonce': 'n' });
        response.end('no');
        return;
      }
      asked.resolve();
      void requestBody(request).then((body) => {
        bodies.push(body);
        response.end('ok');
      });
    });
    const { sidekey } = await boundTo(upstream);
    const session = await openSession(sidekey, upstream.authority);
    const stream = session.request({ ':method': 'POST', ':path': '/' }).on('error', () => {});
    const answer = answerOf(stream);
    stream.write('0123');
    await Promise.race([asked.promise, answer]);
    stream.end('456789');
    expect(await answer).toMatchObject({ status: 200, body: 'ok' });
    expect(bodies).toEqual(['0123456789']);
  });

  test.each([
    ['whose 401 has an endless body', 'Content-Length: 1000000\r\n\r\n', 100_000],
    ['whose 401 stalls', 'Content-Length: 10\r\n\r\n', 4],
    ['whose 401 is cut off', 'Content-Length: 10\r\n\r\n', -1],
    ['whose 401 ends with its connection', 'Connection: close\r\n\r\n', -1],
  ])('is one %s', async (_what, rest, bytes) => {
    let count = 0;
    const upstream = await startRawUpstream((socket) => {
      onHeads(socket, () => {
        count += 1;
        if (count > 1) {
          socket.end('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok');
          return;
        }
        const head = 'HTTP/1.1 401 No\r\nWWW-Authenticate: DPoP error="use_dpop_nonce"\r\nDPoP-Nonce: n\r\n';
        socket.write(`${head}${rest}`);
        if (bytes < 0) socket.end('half');
        else socket.write('x'.repeat(bytes));
      });
    });
    const { sidekey } = await boundTo(upstream, { config: { limits: { upstream_idle: '200ms' } } });
    const client = await openTunnel(sidekey, upstream.authority);
    client.send(`GET / HTTP/1.1\r\nHost: ${upstream.authority}\r\n\r\n`);
    expect(await client.response()).toMatchObject({ status: 200, body: 'ok' });
    expect(count).toBe(2);
  });
});

const handshake = (authority: string) =>
  `GET /chat HTTP/1.1\r\nHost: ${authority}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nDPoP: own\r\n` +
  'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n';

const wanting =
  'HTTP/1.1 401 No\r\nWWW-Authenticate: DPoP error="use_dpop_nonce"\r\nContent-Length: 2\r\nDPoP-Nonce: ';
const switched = 'HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n';

/** Shakes hands like this, one answer for each handshake. */
async function shaken(...answers: readonly string[]) {
  const proofs: string[] = [];
  const upstream = await startRawUpstream((socket) => {
    onHeads(socket, (head) => {
      proofs.push(...[...head.matchAll(/\r\ndpop: (.*)\r/gi)].map(([, proof = '']) => proof));
      socket.write(answers[proofs.length - 1] ?? 'HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n');
    });
  });
  const { sidekey } = await boundTo(upstream);
  const client = await openTunnel(sidekey, upstream.authority);
  client.send(handshake(upstream.authority));
  return { proofs, client, upstream };
}

describe('a WebSocket with a DPoP token', () => {
  test('gets a second proof if the server requires a nonce', async () => {
    const { proofs, client, upstream } = await shaken(`${wanting}n-1\r\n\r\nno`, `${switched}frames`);
    expect(await client.until('frames')).toMatch(/^HTTP\/1\.1 101 /);
    expect(proofs.map((proof) => decodeJwt(proof))).toMatchObject([
      { htm: 'GET', htu: `${upstream.url}/chat` },
      { nonce: 'n-1', htu: `${upstream.url}/chat` },
    ]);
  });

  test('does not get a third proof', async () => {
    const { proofs, client } = await shaken(`${wanting}n-1\r\n\r\nno`, `${wanting}n-2\r\n\r\nno`);
    expect(await client.response()).toMatchObject({ status: 401, body: 'no' });
    expect(proofs).toHaveLength(2);
  });

  test('does not get a second proof if its grant was revoked in between', async () => {
    const heads: string[] = [];
    const upstream = await startRawPlainUpstream((socket) => {
      onHeads(socket, (head) => {
        heads.push(head);
        socket.write(`${wanting}n-1\r\n\r\nno`);
      });
    });
    const gate = await startGate(upstream.port);
    const { authority } = upstream;
    const where = { ...upstream, url: `https://${authority}` };
    const { sidekey } = await boundTo(where, {
      domains: { [authority]: { grant: 'acme', allow_plain_http: true } },
      config: {
        upstream: {
          resolve: { [upstreamHost]: '127.0.0.1' },
          private_addresses: ['127.0.0.1/32'],
          proxy: `http://127.0.0.1:${gate.port}`,
        },
      },
    });
    const client = await openClient(sidekey);
    client.send(handshake(authority).replace('/chat', `http://${authority}/chat`));
    const { open, closed } = await gate.second;
    const { grants, store } = sidekey.proxy.state;
    const [grant] = await allGrants(store);
    await grants.setState(grant!, 'revoked', 'a person took it away');
    for (; !sidekey.logged().includes('a connection was cut');)
      await new Promise((resolve) => setImmediate(resolve));
    open();
    await closed;
    await upstream.allClosed();
    expect(heads).toHaveLength(1);
  });
});

/** A company's proxy, whose second tunnel waits until it is let through. */
async function startGate(port: number) {
  const second = Promise.withResolvers<{ open: () => void; closed: Promise<unknown> }>();
  let count = 0;
  const server = createServer((socket) => {
    socket.on('error', () => socket.destroy());
    socket.once('data', () => {
      count += 1;
      const open = () => {
        const to = connect(port, '127.0.0.1').on('error', () => socket.destroy());
        socket.pipe(to).pipe(socket);
        socket.write('HTTP/1.1 200 OK\r\n\r\n');
      };
      if (count === 2) second.resolve({ open, closed: once(socket, 'close') });
      else open();
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  onTestFinished(() => void server.close());
  return { port: (server.address() as AddressInfo).port, second: second.promise };
}
