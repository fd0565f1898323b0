import { describe, expect, it } from 'vitest';
import { SidekeyError } from '../../../src/lib/errors.ts';
import { defaultLimits } from '../../../src/proxy/policy/limits.ts';
import { bodyOf, exchangeOf, framed, lateBody, turn } from './fake-upstream.ts';

const ok = 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok';

describe('a request', () => {
  it('is sent with its fields unchanged, in one write', () => {
    const { give } = exchangeOf({ path: '/a?b', fields: ['Host', 'h', 'x-Odd', 'a  b', 'X-Latin', '\xe9'] });
    expect(give().sent()).toBe('GET /a?b HTTP/1.1\r\nHost: h\r\nx-Odd: a  b\r\nX-Latin: \xe9\r\n\r\n');
  });

  it.each([
    ['a target with a space', { path: '/a b' }],
    ['a target with a line end', { path: '/a\r\nX: 1' }],
    ['a target that is no path', { path: 'x' }],
    ['a field with a line end', { fields: ['X', 'a\r\nY: 1'] }],
    ['an invalid field name', { fields: ['X Y', 'a'] }],
  ])('with %s is refused without an upstream connection', async (_name, more) => {
    const { asked, carried } = exchangeOf(more);
    await expect(carried).rejects.toMatchObject({ code: 'bad_request' });
    expect(asked).toEqual([]);
  });

  it('sends 100 Continue to its client when the connection is available', async () => {
    const { give, said } = exchangeOf({ method: 'POST', ...framed(2), body: bodyOf('hi') });
    expect(said).toEqual([]);
    give();
    expect(said).toEqual(['continue']);
  });

  it('has its body read no faster than the upstream accepts it', async () => {
    let read = 0;
    async function* pieces() {
      for (; read < 5; read += 1) yield Buffer.from('x');
    }
    const { give, asked } = exchangeOf({ method: 'POST', ...framed(5), body: pieces() });
    const { user } = asked[0]!;
    const connection = give();
    connection.full = true;
    await turn();
    expect(read).toBe(0);
    user.drained();
    await turn();
    expect(read).toBe(1);
    connection.full = false;
    user.drained();
    await turn();
    expect([read, connection.sent().endsWith('\r\n\r\nxxxxx')]).toEqual([5, true]);
  });

  it.each([
    ['shorter', 'hell'],
    ['longer', 'hello!'],
  ])('with a body %s than announced is refused, and its connection is cut', async (_how, text) => {
    const { give, carried } = exchangeOf({ method: 'POST', ...framed(5), body: bodyOf(text) });
    const connection = give();
    await expect(carried).rejects.toMatchObject({
      code: 'bad_request',
      message: 'The length of the request body differs from its Content-Length.',
    });
    expect(connection.destroyed).toBe(true);
  });

  it('whose body fails has its connection cut, so the upstream sees it as incomplete', async () => {
    const why = new SidekeyError('bad_request', 'Nothing came.');
    async function* pieces() {
      yield Buffer.from('x');
      throw why;
    }
    const { give, carried } = exchangeOf({ method: 'POST', ...framed('chunked'), body: pieces() });
    const connection = give();
    await expect(carried).rejects.toBe(why);
    expect([connection.destroyed, connection.sent().endsWith('1\r\nx\r\n')]).toEqual([true, true]);
  });
});

describe('a response', () => {
  it('without a body releases its connection', async () => {
    const { give, carried } = exchangeOf();
    const connection = give();
    connection.says('HTTP/1.1 304 Not Modified\r\nETag: "a"\r\n\r\n');
    expect(await carried).toMatchObject({ status: 304, outcome: 'complete' });
    expect(connection.released).toBe(true);
  });

  it.each([
    ['has Connection: close', 'HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok'],
    ['has version HTTP/1.0', 'HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok'],
    ['is followed by more bytes', `${ok}!`],
    ['announces a body that its status excludes', 'HTTP/1.1 204 No Content\r\nContent-Length: 2\r\n\r\n'],
  ])('closes its connection if it %s', async (_why, text) => {
    const { give, carried } = exchangeOf();
    const connection = give();
    connection.says(text);
    expect(await carried).toMatchObject({ outcome: 'complete' });
    expect([connection.released, connection.destroyed]).toEqual([false, true]);
  });

  it('does not forward the length that a 204 announces', async () => {
    const { give, said } = exchangeOf();
    give().says('HTTP/1.1 204 No Content\r\nContent-Length: 2\r\nX: 1\r\n\r\n');
    expect(said[0]).toEqual(['head', 204, 'No Content', 'X', '1']);
  });

  it.each([
    ['timeout=5 is 5 seconds', 'timeout=5, max=100', 5_000],
    ['without timeout there is no limit', 'max=100', null],
    ['an unknown parameter sets no limit', 'x-timeout=5', null],
  ])('with a Keep-Alive time-out limits the reuse of its connection: %s', (_how, value, kept) => {
    const { give } = exchangeOf();
    const connection = give();
    connection.says(`HTTP/1.1 200 OK\r\nKeep-Alive: ${value}\r\nContent-Length: 0\r\n\r\n`);
    expect(connection.kept).toBe(kept);
  });

  it('before the end of the request is forwarded, and its connection not reused', async () => {
    const never = new Promise<never>(() => {});
    async function* pieces() {
      yield Buffer.from('part');
      await never;
    }
    const { give, carried, said } = exchangeOf({ method: 'POST', ...framed(9), body: pieces() });
    const connection = give();
    await turn();
    connection.says(ok);
    expect(await carried).toMatchObject({ status: 200, outcome: 'complete', bytesIn: 4 });
    expect([connection.released, connection.destroyed]).toEqual([false, true]);
    expect(said.at(-1)).toEqual(['end']);
  });

  it('to a request that is not fully sent closes its connection', async () => {
    const { give, carried } = exchangeOf({ method: 'POST', ...framed(2), body: bodyOf('hi') });
    const connection = give();
    await turn();
    connection.full = true;
    connection.says(ok);
    await carried;
    expect(connection.released).toBe(false);
  });

  it('delimited by the end of the connection is complete', async () => {
    const { give, carried, said } = exchangeOf();
    const connection = give();
    connection.says('HTTP/1.1 200 OK\r\n\r\nhel');
    connection.says('lo');
    connection.user.ended();
    expect(await carried).toMatchObject({ outcome: 'complete', bytesOut: 5 });
    expect(said).toEqual([['head', 200, 'OK'], ['write', 'hello'], ['end']]);
    expect(connection.destroyed).toBe(true);
  });

  it('delimited by the end of the connection is incomplete after a reset', async () => {
    const { give, carried, said } = exchangeOf();
    const connection = give();
    connection.says('HTTP/1.1 200 OK\r\n\r\nhel');
    connection.user.lost(new Error('reset'));
    expect(await carried).toMatchObject({ outcome: 'broken' });
    await turn();
    expect(said.at(-1)).toBe('abort');
  });

  it('keeps its trailers, except those that authenticate', async () => {
    const { give, said } = exchangeOf();
    give().says(
      'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-Sum: 7\r\nSet-Cookie: a\r\n\r\n',
    );
    expect(said.at(-1)).toEqual(['end', 'X-Sum', '7']);
  });

  it('to a request without Expect forwards every interim response but 100', () => {
    const { give, said } = exchangeOf();
    give().says(`HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n${ok}`);
    expect(said.slice(0, 2)).toEqual([
      ['informational', 103, 'Link', '</a>'],
      ['head', 200, 'OK', 'Content-Length', '2'],
    ]);
  });

  it.each([
    ['garbage', 'SSH-2.0-OpenSSH\r\n'],
    ['a switch of protocols', 'HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\n\r\n'],
    ['two lengths', 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok'],
  ])('that is %s is refused, and its connection is cut', async (_what, text) => {
    const { give, carried, said } = exchangeOf();
    const connection = give();
    connection.says(text);
    await expect(carried).rejects.toMatchObject({ code: 'upstream_protocol' });
    expect([connection.destroyed, said]).toEqual([true, []]);
  });

  it('beyond the size limit of a rule is refused before its head, or cut', async () => {
    const announced = exchangeOf({ maxResponse: 1 });
    announced.give().says(ok);
    await expect(announced.carried).rejects.toMatchObject({ code: 'rule_denied' });
    const streamed = exchangeOf({ maxResponse: 4 });
    const connection = streamed.give();
    connection.says('HTTP/1.1 200 OK\r\n\r\nfour');
    connection.says('!');
    expect(await streamed.carried).toMatchObject({ outcome: 'broken', code: 'rule_denied', bytesOut: 4 });
    expect(connection.destroyed).toBe(true);
  });

  it('stays unchanged for a caller that keeps it after its read buffer is reused', async () => {
    const { give, reply } = exchangeOf();
    const kept: Buffer[] = [];
    reply.write = (chunk) => kept.push(chunk) > 0;
    const connection = give();
    connection.says('HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab');
    connection.says('cd');
    expect(Buffer.concat(kept).toString()).toBe('abcd');
  });

  it('in chunks is compacted in the read buffer, followed by its trailers', async () => {
    const { give, reply, said } = exchangeOf();
    const written: string[] = [];
    Object.assign(reply, { copies: true });
    reply.write = (chunk) => written.push(chunk.toString()) > 0;
    const connection = give();
    const head = 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n';
    connection.says(`${head}2;x=y\r\nab\r\n3\r\ncde\r\n1`);
    connection.says('0\r\n0123456789abcdef\r\n1\r\nf\r\n0\r\nX-Sum: 7\r\n\r\n');
    expect(written).toEqual(['abcde', '0123456789abcdeff']);
    expect(said.at(-1)).toEqual(['end', 'X-Sum', '7']);
  });

  it('that is held during a refresh is unchanged if there is no newer token', async () => {
    const renewal = Promise.withResolvers<null>();
    const { give, reply, carried } = exchangeOf({ renew: () => renewal.promise });
    const written: string[] = [];
    Object.assign(reply, { copies: true });
    reply.write = (chunk) => written.push(chunk.toString()) > 0;
    const connection = give();
    connection.says('HTTP/1.1 401 No\r\nContent-Length: 4\r\n\r\nab');
    connection.says('cd');
    renewal.resolve(null);
    expect(await carried).toMatchObject({ status: 401, outcome: 'complete' });
    expect(written.join('')).toBe('abcd');
  });

  it('that the reply fails to write ends only this exchange', async () => {
    const { give, reply, carried } = exchangeOf();
    Object.assign(reply, {
      head() {
        throw new Error('cannot be written');
      },
    });
    const connection = give();
    expect(() => connection.says(ok)).toThrow('cannot be written');
    connection.user.lost(new Error('cannot be written'));
    await expect(carried).rejects.toMatchObject({ code: 'upstream_protocol' });
  });
});

describe('a request with Expect: 100-continue', () => {
  const waiting = { waits: true };
  const post = (more: Parameters<typeof exchangeOf>[0] = {}) =>
    exchangeOf({ method: 'POST', body: bodyOf('hello'), ...framed(5), ...more }, undefined, waiting);

  it('forwards the expectation, and the 100 of the upstream', async () => {
    const { body, come } = lateBody();
    const { give, said, carried } = post({ body });
    const connection = give();
    expect(connection.sent()).toBe(
      'POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n',
    );
    expect(said).toEqual([]);
    connection.says('HTTP/1.1 100 Continue\r\n\r\n');
    expect(said).toEqual(['continue']);
    come();
    await turn();
    expect(connection.sent()).toMatch(/\r\n\r\nhello$/);
    connection.says(ok);
    expect(await carried).toMatchObject({ status: 200, bytesIn: 5 });
    expect(connection.released).toBe(true);
  });

  it('gets a 100 from the proxy if the upstream is silent for two seconds', async () => {
    const { body, come } = lateBody();
    const { give, said, carried } = post({ body });
    const connection = give();
    expect(connection.due).toBe(2_000);
    connection.user.expired();
    expect(said).toEqual(['continue']);
    expect(connection.due).toBe(defaultLimits.upstream_head);
    come();
    await turn();
    connection.says(ok);
    expect(await carried).toMatchObject({ status: 200 });
  });

  it('whose body arrives early is read, and gets no 100', async () => {
    const { give, said, carried } = post();
    const connection = give();
    await turn();
    expect(connection.sent()).toMatch(/\r\n\r\nhello$/);
    connection.says(ok);
    await carried;
    expect(said).not.toContain('continue');
  });

  it('is replayed with a newer token after a 401 that preceded its body', async () => {
    const { body, come } = lateBody();
    const fresh = { path: '/', fields: ['Host', 'h', 'Content-Length', '5', 'Authorization', 'Bearer new'] };
    const { give, said, carried } = post({ body, renew: () => Promise.resolve(fresh) });
    const first = give();
    first.says('HTTP/1.1 401 No\r\nContent-Length: 0\r\n\r\n');
    await turn();
    const second = give();
    expect(second.sent()).toContain('Bearer new\r\nExpect: 100-continue\r\n');
    second.says('HTTP/1.1 100 Continue\r\n\r\n');
    come();
    await turn();
    expect(first.sent()).not.toContain('hello');
    expect(first.released).toBe(false);
    expect(second.sent()).toMatch(/\r\n\r\nhello$/);
    second.says(ok);
    expect(await carried).toMatchObject({ status: 200, bytesIn: 5 });
    expect(said).not.toContain(401);
  });

  it('gets the 401 if there is no newer token, and its body is discarded', async () => {
    const { body, come } = lateBody();
    const { give, carried, said } = post({ body, renew: () => Promise.resolve(null) });
    const connection = give();
    connection.says('HTTP/1.1 401 No\r\nContent-Length: 0\r\n\r\n');
    come();
    expect(await carried).toMatchObject({ status: 401 });
    expect(connection.sent()).not.toContain('hello');
    expect(connection.destroyed).toBe(true);
    expect(said).not.toContain('continue');
  });
});
