import { once } from 'node:events';
import { connect, createServer, type AddressInfo } from 'node:net';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { SidekeyError } from '../../src/errors.ts';
import { defaultLimits } from '../../src/policy/limits.ts';
import { framingOf } from '../../src/proxy/framing.ts';
import { ClientConnection } from '../../src/proxy/front/client-connection.ts';
import { refuse } from '../../src/proxy/refusal.ts';
import { serviceOf } from '../unit/proxy/front/service.ts';

/**
 * The front of the proxy without what lies behind it: its codec as the listener sets it up, then the framing rule.
 * A request that both let through is answered with 200 and what its body was.
 */
const passed: string[] = [];
const service = serviceOf(async ({ head, body }, reply) => {
  try {
    const framing = framingOf(head, defaultLimits);
    if (framing instanceof SidekeyError) throw framing;
    let text = '';
    for await (const piece of body ?? []) text += piece.toString('latin1');
    passed.push(`${head.method} ${head.target} ${text}`);
    reply.head(200, 'OK', ['Content-Length', String(text.length)]);
    reply.write(Buffer.from(text, 'latin1'));
    reply.end([]);
  } catch (error) {
    refuse(reply, error, head.method);
  }
});
const client = { address: '127.0.0.1:1', loopback: true, tunnel: null };
const server = createServer({ allowHalfOpen: true }, (socket) => {
  void new ClientConnection(socket, client, service);
});

beforeAll(async () => {
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
});
afterAll(() => {
  server.close();
});

/** Sends the bytes and answers with the status of each response and the requests that got through. */
async function send(bytes: string): Promise<{ statuses: number[]; passed: string[] }> {
  passed.length = 0;
  const socket = connect({ port: (server.address() as AddressInfo).port, host: '127.0.0.1' });
  socket.on('error', () => {});
  socket.end(Buffer.from(bytes, 'latin1'));
  let text = '';
  socket.on('data', (chunk) => (text += chunk.toString('latin1')));
  await once(socket, 'close');
  return {
    statuses: [...text.matchAll(/HTTP\/1\.1 (\d{3})/g)].map(([, status]) => Number(status)),
    passed: [...passed],
  };
}

const post = (fields: string, body = '') => `POST /front HTTP/1.1\r\nHost: a\r\n${fields}\r\n\r\n${body}`;
/** The request that a smuggler hides in what one reader takes for a body. */
const hidden = 'GET /hidden HTTP/1.1\r\nHost: a\r\n\r\n';

describe('the framing of requests at the front', () => {
  it('lets through what can be read in one way alone', async () => {
    expect(await send(post('Content-Length: 4', 'body') + hidden)).toEqual({
      statuses: [200, 200],
      passed: ['POST /front body', 'GET /hidden '],
    });
    expect(await send(post('Transfer-Encoding: chunked', '4\r\nbody\r\n0\r\n\r\n'))).toEqual({
      statuses: [200],
      passed: ['POST /front body'],
    });
  });

  it('reads a chunked DELETE to its end, and no request out of its body', async () => {
    const chunks = `${hidden.length.toString(16)}\r\n${hidden}\r\n0\r\n\r\n`;
    const answer = await send(
      `DELETE /front HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n${chunks}`,
    );
    expect(answer).toEqual({ statuses: [200], passed: [`DELETE /front ${hidden}`] });
  });

  it.each([
    [
      'Content-Length and Transfer-Encoding',
      post('Content-Length: 4\r\nTransfer-Encoding: chunked', `0\r\n\r\n${hidden}`),
    ],
    [
      'Transfer-Encoding and Content-Length',
      post('Transfer-Encoding: chunked\r\nContent-Length: 0', `0\r\n\r\n${hidden}`),
    ],
    ['two lengths that differ', post(`Content-Length: 0\r\nContent-Length: ${hidden.length}`, hidden)],
    ['two lengths that agree', post('Content-Length: 4\r\nContent-Length: 4', 'body')],
    ['two lengths in one field', post('Content-Length: 4, 4', 'body')],
    ['a length with a sign', post('Content-Length: +4', 'body')],
    ['a negative length', post('Content-Length: -1', hidden)],
    ['a length in hex', post('Content-Length: 0x4', 'body')],
    ['a length with a blank inside', post('Content-Length: 0 4', 'body')],
    ['an empty length', post('Content-Length:', hidden)],
    ['a length beyond all numbers', post('Content-Length: 18446744073709551616', hidden)],
    [
      'Transfer-Encoding twice',
      post('Transfer-Encoding: chunked\r\nTransfer-Encoding: identity', `0\r\n\r\n${hidden}`),
    ],
    ['chunked twice', post('Transfer-Encoding: chunked, chunked', `0\r\n\r\n${hidden}`)],
    ['chunked that is not last', post('Transfer-Encoding: chunked, identity', `0\r\n\r\n${hidden}`)],
    ['an unknown coding', post('Transfer-Encoding: xchunked', `0\r\n\r\n${hidden}`)],
    ['a coding with a vertical tab', post('Transfer-Encoding: \x0bchunked', `0\r\n\r\n${hidden}`)],
    ['a coding over two lines (obs-fold)', post('Transfer-Encoding:\r\n chunked', `0\r\n\r\n${hidden}`)],
    ['a field over two lines (obs-fold)', post('X-A: b\r\n Content-Length: 5\r\nContent-Length: 0', hidden)],
    ['a blank before the colon', post('Transfer-Encoding : chunked', `0\r\n\r\n${hidden}`)],
    ['a blank before the first field', 'POST /front HTTP/1.1\r\n Host: a\r\nContent-Length: 0\r\n\r\n'],
    ['a name with a NUL', post('Content-Length\0: 4', 'body')],
    ['a value with a NUL', post('X: a\0b')],
    ['a value with a bare CR', post('X: a\rContent-Length: 5')],
    ['a line that ends in a bare LF', 'POST /front HTTP/1.1\nHost: a\nContent-Length: 0\n\n'],
    ['a field that ends in a bare LF', 'POST /front HTTP/1.1\r\nHost: a\nContent-Length: 0\r\n\r\n'],
    ['a head that ends in a bare LF', 'POST /front HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\n'],
    ['a field without a colon', post('Content-Length 4', 'body')],
    ['a request line with two versions', 'POST /front HTTP/1.1 HTTP/1.1\r\nHost: a\r\n\r\n'],
    ['a version that nobody speaks', 'POST /front HTTP/1.2\r\nHost: a\r\n\r\n'],
    [
      'Transfer-Encoding in HTTP/1.0',
      `POST /front HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n${hidden}`,
    ],
    ['a chunk size with a sign', post('Transfer-Encoding: chunked', `+4\r\nbody\r\n0\r\n\r\n`)],
    ['a chunk size with 0x', post('Transfer-Encoding: chunked', `0x4\r\nbody\r\n0\r\n\r\n`)],
    [
      'a chunk size beyond all numbers',
      post('Transfer-Encoding: chunked', `fffffffffffffffff\r\nbody\r\n0\r\n\r\n`),
    ],
    ['no chunk size', post('Transfer-Encoding: chunked', `\r\nbody\r\n0\r\n\r\n`)],
    ['a chunk longer than its size', post('Transfer-Encoding: chunked', `2\r\nbody\r\n0\r\n\r\n`)],
    ['a chunk size that ends in a bare LF', post('Transfer-Encoding: chunked', `4\nbody\r\n0\r\n\r\n`)],
    ['a chunk that ends in a bare LF', post('Transfer-Encoding: chunked', `4\r\nbody\n0\r\n\r\n`)],
    ['a chunk size after a blank', post('Transfer-Encoding: chunked', ` 4\r\nbody\r\n0\r\n\r\n`)],
    [
      'a chunk extension that holds a bare LF',
      post('Transfer-Encoding: chunked', `4;a\nb\r\nbody\r\n0\r\n\r\n`),
    ],
    [
      'chunk extensions without end',
      post('Transfer-Encoding: chunked', `4;${'a'.repeat(20_000)}\r\nbody\r\n0\r\n\r\n`),
    ],
  ])('%s is refused, and nothing behind it is read', async (_what, bytes) => {
    const answer = await send(bytes + hidden);
    expect(answer.passed).toEqual([]);
    expect(answer.statuses).toEqual([400]);
  });

  it('a coding beside chunked is refused, though Node’s parser knows where it ends', async () => {
    const answer = await send(post('Transfer-Encoding: gzip, chunked', '0\r\n\r\n'));
    expect(answer).toEqual({ statuses: [400], passed: [] });
  });

  it('a name with an underscore, which some servers take for a dash, frames nothing here', async () => {
    expect(await send(post('Content_Length: 4\r\nTransfer_Encoding: chunked') + hidden)).toEqual({
      statuses: [200, 200],
      passed: ['POST /front ', 'GET /hidden '],
    });
  });
});
