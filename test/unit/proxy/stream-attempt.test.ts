import { once } from 'node:events';
import { constants, sensitiveHeaders, type ServerHttp2Stream } from 'node:http2';
import { text } from 'node:stream/consumers';
import { describe, expect, it } from 'vitest';
import { SidekeyError } from '../../../src/lib/errors.ts';
import type { Authority } from '../../../src/proxy/policy/authority.ts';
import { frame, frameType, goaway, headers, reset } from '../../support/http2-frames.ts';
import { answer, frameUpstream, http2Upstream, createUpstreams } from '../../support/http2-upstream.ts';
import { requestBody } from '../../support/request-body.ts';
import { bodyOf, type FakeRequest, framed, lateBody, turn } from './fake-upstream.ts';

const chunked = { kind: 'chunked' } as const;

/** Says where it is when it is asked. */
function gate<T>() {
  return Promise.withResolvers<T>();
}

describe('a request of an HTTP/2 client', () => {
  it('is forwarded over HTTP/2 with pseudo-header fields and without hop-by-hop fields', async () => {
    let seen: readonly string[] = [];
    const upstream = await http2Upstream((stream, raw) => {
      seen = raw;
      stream.respond({ ':status': 201, 'x-answer': 'yes' }, { sendDate: false } as object);
      stream.end('made');
    });
    const { carried, said } = createUpstreams().carry(upstream.authority, {
      method: 'PUT',
      path: '/a?b=c',
      fields: [
        'Host',
        'x',
        'X-Odd',
        'a  b',
        'TE',
        'trailers',
        'Connection',
        'x',
        'Keep-Alive',
        '5',
        'Transfer-Encoding',
        'chunked',
        'x-odd',
        'c',
        'content-type',
        'a',
        'content-type',
        'b',
      ],
    });
    expect(await carried).toMatchObject({ status: 201, outcome: 'complete', bytesOut: 4 });
    expect(seen).toEqual([
      ':method',
      'PUT',
      ':scheme',
      'https',
      ':authority',
      `api.example:${upstream.authority.port}`,
      ':path',
      '/a?b=c',
      'x-odd',
      'a  b',
      'te',
      'trailers',
      'x-odd',
      'c',
      'content-type',
      'a',
      'content-type',
      'b',
    ]);
    expect(said[0]).toEqual(['head', 201, '', 'x-answer', 'yes']);
    expect(said.slice(1)).toEqual([['write', 'made'], ['end']]);
  });

  it('marks its secret fields as never indexed', async () => {
    const seen: (readonly string[])[] = [];
    const upstream = await http2Upstream((stream, _raw, fields) => {
      seen.push((fields as { [sensitiveHeaders]?: string[] })[sensitiveHeaders] ?? []);
      stream.respond({}, { endStream: true });
    });
    const { carry } = createUpstreams();
    const fields = ['Authorization', 'Bearer a', 'Cookie', 'b', 'X-Key', 'c', 'X-Other', 'd'];
    await carry(upstream.authority, { fields, carriedIn: new Set(['authorization', 'x-key']) }).carried;
    await carry(upstream.authority, { fields: [], conceal: (kept) => kept }).carried;
    expect(seen).toEqual([['authorization', 'cookie', 'x-key'], [':path']]);
  });

  it.each([
    ['a target with a space', { path: '/a b' }],
    ['a target with a line end', { path: '/a\r\nx' }],
    ['a target that is no path', { path: '*' }],
    ['a field with a line end', { fields: ['x', 'a\r\nb: c'] }],
    ['a field with a NUL', { fields: ['x', 'a\0b'] }],
    ['an invalid field name', { fields: ['a b', 'c'] }],
    ['a pseudo field', { fields: [':authority', 'other.example'] }],
  ])('with %s is refused without an upstream request', async (_what, more) => {
    const upstream = await http2Upstream(() => {});
    await expect(createUpstreams().carry(upstream.authority, more).carried).rejects.toMatchObject({
      code: 'bad_request',
    });
    expect(upstream.accepted()).toBe(0);
  });

  it('is forwarded with its body as it arrives, and its trailers', async () => {
    const upstream = await http2Upstream((stream) => {
      const trailers = once(stream, 'trailers');
      void Promise.all([text(stream), trailers]).then(([body, [fields]]) => {
        stream.respond({});
        stream.end(`${body} ${JSON.stringify(fields)}`);
      });
    });
    const { carried, said } = createUpstreams().carry(upstream.authority, {
      method: 'POST',
      framing: chunked,
      body: bodyOf('he', '', 'llo'),
      trailers: () => ['X-Sum', '7', 'x-sum', '8'],
    });
    expect(await carried).toMatchObject({ bytesIn: 5, outcome: 'complete' });
    expect(said).toContain('continue');
    expect(said.at(-2)).toEqual(['write', 'hello {"x-sum":"7, 8"}']);
  });

  it('with an announced but empty body ends its stream', async () => {
    const upstream = await http2Upstream((stream) => {
      void text(stream).then((body) => {
        stream.respond({});
        stream.end(`[${body}]`);
      });
    });
    const { carry } = createUpstreams();
    const posted = carry(upstream.authority, { method: 'POST', framing: chunked, body: bodyOf() });
    await posted.carried;
    expect(posted.said.at(-2)).toEqual(['write', '[]']);
  });

  it.each([
    ['shorter', 'hell'],
    ['longer', 'hello!'],
  ])('with a body %s than announced is refused, and its stream is reset', async (_how, sent) => {
    const code = gate<number | undefined>();
    const upstream = await http2Upstream((stream) => {
      stream.resume().on('close', () => code.resolve(stream.rstCode));
    });
    const { carried } = createUpstreams().carry(upstream.authority, {
      method: 'POST',
      fields: ['content-length', '5'],
      framing: { kind: 'length', bytes: 5 },
      body: bodyOf(sent),
    });
    await expect(carried).rejects.toMatchObject({ code: 'bad_request' });
    expect(await code.promise).toBe(constants.NGHTTP2_CANCEL);
  });

  it('has its body read no faster than the upstream accepts it', async () => {
    const opened = gate<ServerHttp2Stream>();
    const upstream = await http2Upstream((stream) => opened.resolve(stream.pause()));
    let read = 0;
    async function* pieces() {
      for (; read < 64; read += 1) yield Buffer.alloc(65_536);
    }
    const { carried } = createUpstreams().carry(upstream.authority, {
      method: 'POST',
      framing: chunked,
      body: pieces(),
    });
    const stream = await opened.promise;
    // The upstream says more by a PING of its own when it has all that was sent to it.
    await new Promise((done) => void stream.session!.ping(done));
    await turn();
    expect(read).toBeLessThan(16);
    stream.resume().on('end', () => stream.respond({}, { endStream: true }));
    expect(await carried).toMatchObject({ outcome: 'complete', bytesIn: 64 * 65_536 });
  });

  it('whose client disconnects has its stream reset, and the session stays open', async () => {
    const codes: unknown[] = [];
    const begun = gate<void>();
    const closed = gate<void>();
    const upstream = await http2Upstream((stream) => {
      stream.on('close', () => {
        codes.push(stream.rstCode);
        closed.resolve();
      });
      stream.respond({});
      stream.write('part');
      begun.resolve();
    });
    const { carry } = createUpstreams();
    const { gone, carried } = carry(upstream.authority);
    await begun.promise;
    await turn();
    gone.tell();
    expect(await carried).toMatchObject({ outcome: 'gone' });
    await closed.promise;
    expect(codes).toEqual([constants.NGHTTP2_CANCEL]);
    expect(upstream.sessions[0]!.closed).toBe(false);
  });
});

describe('a response over HTTP/2', () => {
  it('keeps its trailers, except those that authenticate', async () => {
    const upstream = await http2Upstream((stream) => {
      stream.respond({}, { waitForTrailers: true });
      stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': '0', 'set-cookie': ['a'] }));
      stream.end('ok');
    });
    const { carried, said } = createUpstreams().carry(upstream.authority);
    await carried;
    expect(said.slice(1)).toEqual([
      ['write', 'ok'],
      ['end', 'grpc-status', '0'],
    ]);
  });

  it('without a body is forwarded in one turn', async () => {
    const upstream = await http2Upstream((stream) => {
      stream.respond({ 'grpc-status': '5' }, { endStream: true });
    });
    const { carry } = createUpstreams();
    const { reply, said, carried } = carry(upstream.authority);
    const head = reply.head.bind(reply);
    Object.assign(reply, {
      head(...of: Parameters<typeof head>) {
        head(...of);
        process.nextTick(() => said.push('another turn'));
      },
    });
    expect(await carried).toMatchObject({ status: 200, outcome: 'complete' });
    await turn();
    expect(said.slice(1)).toEqual([['end'], 'another turn']);
  });

  it('follows its interim responses, except a 100', async () => {
    const upstream = await http2Upstream((stream) => {
      stream.additionalHeaders({ ':status': 100 });
      stream.additionalHeaders({ ':status': 103, link: '</a>' });
      stream.respond({}, { endStream: true });
    });
    const { carried, said } = createUpstreams().carry(upstream.authority);
    await carried;
    expect(said[0]).toEqual(['informational', 103, 'link', '</a>']);
    expect(said[1]).toContain(200);
  });

  it.each([
    ['HEAD', 200, { 'content-length': '5' }],
    ['GET', 204, {}],
    ['GET', 304, { etag: '"a"' }],
  ])('to %s with status %i has no body', async (method, status, fields) => {
    const upstream = await http2Upstream((stream) => {
      stream.respond({ ':status': status, ...fields }, { endStream: true });
    });
    const { carried, said } = createUpstreams().carry(upstream.authority, { method });
    expect(await carried).toMatchObject({ status, outcome: 'complete', bytesOut: 0 });
    expect(said[0]).toEqual(expect.arrayContaining(Object.entries(fields).flat()));
    expect(said).toHaveLength(2);
  });

  it('that its client does not read is paused, without effect on other streams', async () => {
    const size = 8 * 1_048_576;
    const upstream = await http2Upstream((stream, raw) => {
      stream.respond({});
      stream.end(raw.includes('/slow') ? Buffer.alloc(size) : 'quick');
    });
    const { carry } = createUpstreams();
    const slow = carry(upstream.authority, { path: '/slow' });
    slow.state.full = true;
    const quick = Array.from({ length: 20 }, () => carry(upstream.authority));
    for (const { carried } of quick) expect(await carried).toMatchObject({ bytesOut: 5 });
    expect(slow.meter.bytesOut).toBeLessThan(65_536);
    expect(upstream.accepted()).toBe(1);
    slow.state.full = false;
    for (const drain of slow.drains) drain();
    expect(await slow.carried).toMatchObject({ bytesOut: size, outcome: 'complete' });
  });

  it.each(['NO_ERROR', 'CANCEL', 'INTERNAL_ERROR'] as const)(
    'that is reset with %s before its end is incomplete',
    async (name) => {
      const code = constants[`NGHTTP2_${name}`];
      const upstream = await frameUpstream(({ type, stream }, socket) => {
        if (type !== frameType.headers) return;
        socket.write(headers(stream, 0, ':status', '200'));
        socket.write(frame('data', stream, 0, Buffer.from('part')));
        socket.write(reset(stream, code));
      });
      const { carried, said } = createUpstreams().carry(upstream.authority);
      expect(await carried).toMatchObject({ status: 200, outcome: 'broken' });
      await turn();
      expect(said.at(-1)).toBe('abort');
      expect(said.some((it) => Array.isArray(it) && it[0] === 'end')).toBe(false);
    },
  );

  it('that is complete before a reset stays complete', async () => {
    const upstream = await frameUpstream(({ type, stream }, socket) => {
      if (type === frameType.headers)
        socket.write(Buffer.concat([answer(stream), reset(stream, constants.NGHTTP2_NO_ERROR)]));
    });
    const { carried, said } = createUpstreams().carry(upstream.authority, {
      method: 'POST',
      framing: chunked,
      body: bodyOf('never', 'read'),
    });
    expect(await carried).toMatchObject({ outcome: 'complete', bytesOut: 2 });
    expect(said.at(-1)).toEqual(['end']);
  });

  it.each([
    ['ends', (stream: ServerHttp2Stream) => stream.session!.destroy()],
    ['breaks off', (stream: ServerHttp2Stream) => stream.session!.socket.destroy()],
    ['sends GOAWAY with an error', (stream: ServerHttp2Stream) => stream.session!.goaway(2, stream.id)],
  ])('whose session %s before its end is incomplete', async (_how, cut) => {
    const begun = gate<ServerHttp2Stream>();
    const upstream = await http2Upstream((stream) => {
      stream.respond({});
      stream.write('part');
      begun.resolve(stream);
    });
    const { carry } = createUpstreams();
    const { carried, said, reply } = carry(upstream.authority);
    const write = reply.write.bind(reply);
    const written = gate<void>();
    Object.assign(reply, {
      write(chunk: Buffer) {
        written.resolve();
        return write(chunk);
      },
    });
    const stream = await begun.promise;
    await written.promise;
    cut(stream);
    expect(await carried).toMatchObject({ outcome: 'broken', bytesOut: 4 });
    await turn();
    expect(said.at(-1)).toBe('abort');
  });

  it('that is shorter than announced is incomplete', async () => {
    const upstream = await frameUpstream(({ type, stream }, socket) => {
      if (type !== frameType.headers) return;
      socket.write(headers(stream, 0, ':status', '200', 'content-length', '9'));
      socket.write(frame('data', stream, 1, Buffer.from('part')));
    });
    const { carried, said } = createUpstreams().carry(upstream.authority);
    expect(await carried).toMatchObject({ outcome: 'broken' });
    await turn();
    expect(said.at(-1)).toBe('abort');
  });

  it('before the end of its request is forwarded, and the rest of the request is not sent', async () => {
    const code = gate<number>();
    const upstream = await frameUpstream(({ type, stream, payload }, socket) => {
      if (type === frameType.headers) socket.write(answer(stream, 'too much'));
      if (type === frameType.reset) code.resolve(payload.readUInt32BE());
    });
    const never = new Promise<never>(() => {});
    async function* pieces() {
      yield Buffer.from('part');
      await never;
    }
    const { carried, said } = createUpstreams().carry(upstream.authority, {
      method: 'POST',
      framing: chunked,
      body: pieces(),
    });
    expect(await carried).toMatchObject({ outcome: 'complete', bytesOut: 8 });
    expect(said.at(-1)).toEqual(['end']);
    expect(await code.promise).toBe(constants.NGHTTP2_CANCEL);
  });

  it('beyond the size limit of a rule is refused before its head, or cut', async () => {
    const upstream = await http2Upstream((stream, raw) => {
      stream.respond(raw.includes('/said') ? { 'content-length': 9 } : {});
      stream.end('nine byte');
    });
    const { carry } = createUpstreams();
    await expect(carry(upstream.authority, { path: '/said', maxResponse: 8 }).carried).rejects.toMatchObject({
      code: 'rule_denied',
    });
    const streamed = carry(upstream.authority, { maxResponse: 8 });
    expect(await streamed.carried).toMatchObject({ outcome: 'broken', code: 'rule_denied' });
    expect(streamed.said.at(-1)).toBe('abort');
  });

  it('is cut when it exceeds a budget', async () => {
    const upstream = await http2Upstream((stream) => {
      stream.respond({});
      stream.end(Buffer.alloc(2_000_000));
    });
    const over = new SidekeyError('rate_limited', 'No more.');
    const { carried } = createUpstreams().carry(upstream.authority, {
      account: { spend: () => over, countLeak: async () => null },
    });
    expect(await carried).toMatchObject({ outcome: 'broken', code: 'rate_limited' });
  });

  it('contains no credential and no Alt-Svc', async () => {
    const upstream = await http2Upstream((stream) => {
      stream.respond({ location: '/secret/a', 'alt-svc': 'h3=":443"', 'sidekey-x': 'y' });
      stream.end('ok');
    });
    const { carried, said } = createUpstreams().carry(upstream.authority, {
      carriesGrant: true,
      conceal: (fields) => fields.map((it) => it.replace('secret', '*')),
    });
    await carried;
    expect(said[0]).toEqual(['head', 200, '', 'location', '/*/a', 'date', expect.any(String)]);
  });

  it.each([
    ['more bytes', { head_bytes: 1_024 }, { long: 'x'.repeat(2_000) }],
    [
      'more fields',
      { head_fields: 10 },
      Object.fromEntries(Array.from({ length: 20 }, (_, i) => [`x-${i}`, 'y'])),
    ],
  ])('whose head has %s than the limit is refused', async (_what, limits, fields) => {
    const upstream = await http2Upstream((stream) => stream.respond(fields, { endStream: true }));
    await expect(createUpstreams(limits).carry(upstream.authority).carried).rejects.toMatchObject({
      code: 'upstream_protocol',
    });
  });
});

/** Echoes to who has the second token. */
const guarded = () =>
  http2Upstream((stream, raw) => {
    stream.respond({ ':status': raw.includes('Bearer second') ? 200 : 401 });
    stream.pipe(stream);
  });

describe('a 401 over HTTP/2', () => {
  const second = { path: '/', fields: ['Authorization', 'Bearer second'] };
  it('causes one replay with its body, over the same session', async () => {
    const upstream = await guarded();
    const { carried, said } = createUpstreams().carry(upstream.authority, {
      method: 'POST',
      framing: chunked,
      body: bodyOf('he', 'llo'),
      renew: async () => second,
    });
    expect(await carried).toMatchObject({ status: 200, outcome: 'complete', bytesOut: 5 });
    expect(said.filter((it) => Array.isArray(it) && it[0] === 'head')).toHaveLength(1);
    expect(upstream.accepted()).toBe(1);
  });

  it('is forwarded if there is no newer token', async () => {
    const upstream = await guarded();
    const { carried, said } = createUpstreams().carry(upstream.authority, { renew: async () => null });
    expect(await carried).toMatchObject({ status: 401, outcome: 'complete' });
    expect(said[0]).toContain(401);
  });
});

describe('a time-out over HTTP/2', () => {
  it('for the response head is enforced', async () => {
    const asked = gate<void>();
    const upstream = await http2Upstream(() => asked.resolve());
    const { carry, clock } = createUpstreams({ upstream_head: 5_000 });
    const { carried } = carry(upstream.authority);
    await asked.promise;
    clock.advance(5_000);
    await expect(carried).rejects.toMatchObject({
      code: 'upstream_timeout',
      message: expect.stringContaining('did not answer in time'),
    });
  });

  it('between two pieces is enforced, and does not run while the client is not reading', async () => {
    const upstream = await http2Upstream((stream) => {
      stream.respond({});
      stream.write('part');
    });
    const { carry, clock } = createUpstreams({ upstream_idle: 5_000 });
    const { carried, state, drains, reply } = carry(upstream.authority);
    state.full = true;
    const waiting = gate<void>();
    Object.assign(reply, {
      onDrain(listener: () => void) {
        drains.push(listener);
        waiting.resolve();
      },
    });
    await waiting.promise;
    clock.advance(5_000);
    state.full = false;
    for (const drain of drains) drain();
    clock.advance(4_999);
    await turn();
    clock.advance(1);
    expect(await carried).toMatchObject({ outcome: 'broken', bytesOut: 4 });
  });
});

describe('a request that its upstream refused unprocessed', () => {
  it.each([
    ['refuses its stream', (stream: number) => reset(stream, constants.NGHTTP2_REFUSED_STREAM)],
    ['goes away before it', () => goaway(0, constants.NGHTTP2_NO_ERROR)],
    ['goes away before it with an error', () => goaway(0, constants.NGHTTP2_ENHANCE_YOUR_CALM)],
  ])('is replayed once with its body if the upstream %s, for any method', async (_how, says) => {
    let bodies = '';
    let asked = 0;
    const upstream = await frameUpstream(({ type, stream, payload, flags }, socket) => {
      if (type === frameType.headers) {
        asked += 1;
        if (asked === 1) socket.write(says(stream));
      }
      if (type !== frameType.data || asked === 1) return;
      bodies += payload.toString();
      if ((flags & 1) !== 0) socket.write(answer(stream));
    });
    const rest = gate<void>();
    async function* pieces() {
      yield Buffer.from('he');
      // The rest comes when the first try is over.
      await rest.promise;
      yield Buffer.from('llo');
    }
    const { carried } = createUpstreams().carry(upstream.authority, {
      method: 'POST',
      framing: chunked,
      body: pieces(),
    });
    while (!bodies.includes('he')) await turn();
    rest.resolve();
    expect(await carried).toMatchObject({ status: 200, outcome: 'complete', bytesIn: 5 });
    expect([asked, bodies]).toEqual([2, 'hello']);
  });

  it('is not replayed if its body exceeds the kept size, and not replayed twice', async () => {
    let asked = 0;
    const upstream = await frameUpstream(({ type, stream, flags }, socket) => {
      if (type === frameType.headers) asked += 1;
      const isWhole = stream > 0 && (flags & 1) !== 0;
      if (isWhole) socket.write(reset(stream, constants.NGHTTP2_REFUSED_STREAM));
    });
    const { carry } = createUpstreams({ replay_bytes: 4 });
    const long = carry(upstream.authority, { method: 'POST', framing: chunked, body: bodyOf('hello') });
    await expect(long.carried).rejects.toMatchObject({ code: 'upstream_protocol' });
    expect(asked).toBe(1);
    await expect(carry(upstream.authority).carried).rejects.toMatchObject({
      message: expect.stringContaining('reset the stream of the request (REFUSED_STREAM)'),
    });
    expect(asked).toBe(3);
  });

  it('is replayed over HTTP/1.1 if the upstream requires it', async () => {
    const seen: string[] = [];
    const upstream = await http2Upstream((stream) => stream.close(constants.NGHTTP2_HTTP_1_1_REQUIRED), {
      allowHTTP1: true,
    });
    upstream.server.on('request', (request, response) => {
      if (request.httpVersion !== '1.1') return;
      seen.push(...request.rawHeaders);
      void requestBody(request).then((body) => response.end(body));
    });
    const { carried, said } = createUpstreams().carry(upstream.authority, {
      method: 'POST',
      fields: ['Host', 'api.example', 'te', 'trailers', 'x', 'y', 'Transfer-Encoding', 'chunked'],
      framing: chunked,
      body: bodyOf('hello'),
    });
    expect(await carried).toMatchObject({ status: 200, outcome: 'complete', bytesIn: 5 });
    expect(seen).toEqual(['Host', 'api.example', 'x', 'y', 'Transfer-Encoding', 'chunked']);
    expect(said.at(-2)).toEqual(['write', 'hello']);
  });
});

/** Loses its first session. */
const losing = async () => {
  let asked = 0;
  const upstream = await http2Upstream((stream) => {
    asked += 1;
    if (asked === 1) stream.session!.destroy();
    else stream.respond({}, { endStream: true });
  });
  return { ...upstream, asked: () => asked };
};

describe('a request whose session is lost', () => {
  it('is replayed once if it is safe', async () => {
    const upstream = await losing();
    expect(await createUpstreams().carry(upstream.authority).carried).toMatchObject({ status: 200 });
    expect([upstream.asked(), upstream.accepted()]).toEqual([2, 2]);
  });

  it('is not replayed if it is not safe', async () => {
    const upstream = await losing();
    await expect(
      createUpstreams().carry(upstream.authority, { method: 'POST' }).carried,
    ).rejects.toMatchObject({
      code: 'upstream_unreachable',
    });
    expect(upstream.asked()).toBe(1);
  });

  it.each([
    ['PUT', [], 'is replayed once on a reused session', 3],
    ['POST', ['Idempotency-Key', 'a'], 'is replayed once on a reused session', 3],
    ['POST', [], 'is not replayed', 2],
  ] as const)('%s %j %s', async (method, fields, _what, times) => {
    let asked = 0;
    const upstream = await http2Upstream((stream) => {
      asked += 1;
      if (asked === 2) stream.session!.destroy();
      else stream.respond({}, { endStream: true });
    });
    const { carry } = createUpstreams();
    await carry(upstream.authority).carried;
    const { carried } = carry(upstream.authority, { method, fields: [...fields] });
    if (times === 3) expect(await carried).toMatchObject({ status: 200 });
    else await expect(carried).rejects.toMatchObject({ code: 'upstream_unreachable' });
    expect(asked).toBe(times);
  });

  it('is not replayed on a new session, if it is not safe', async () => {
    const upstream = await losing();
    const { carried } = createUpstreams().carry(upstream.authority, { method: 'PUT' });
    await expect(carried).rejects.toMatchObject({ code: 'upstream_unreachable' });
    expect(upstream.asked()).toBe(1);
  });

  it('is not replayed if its upstream may have processed it', async () => {
    let asked = 0;
    const upstream = await frameUpstream(({ type, stream }, socket) => {
      if (type !== frameType.headers) return;
      asked += 1;
      socket.end(goaway(stream, constants.NGHTTP2_INTERNAL_ERROR));
    });
    const { carried } = createUpstreams().carry(upstream.authority, { method: 'POST' });
    await expect(carried).rejects.toMatchObject({ code: 'upstream_unreachable' });
    expect(asked).toBe(1);
  });
});

describe('a reset stream', () => {
  it('is reported with its error code', async () => {
    const upstream = await http2Upstream((stream) => stream.close(constants.NGHTTP2_INTERNAL_ERROR));
    await expect(createUpstreams().carry(upstream.authority).carried).rejects.toMatchObject({
      code: 'upstream_protocol',
      message: `api.example:${upstream.authority.port} reset the stream of the request (INTERNAL_ERROR).`,
    });
  });
});

const post = (authority: Authority, more: FakeRequest): FakeRequest => ({
  authority,
  method: 'POST',
  ...framed(5),
  ...more,
});

describe('a stream with Expect: 100-continue', () => {
  it('gets a 100 from the proxy if the upstream is silent for two seconds', async () => {
    const expectations: unknown[] = [];
    const asked = gate<void>();
    const upstream = await http2Upstream((stream, _raw, fields) => {
      expectations.push(fields['expect']);
      asked.resolve();
      stream.resume().on('end', () => {
        stream.respond({});
        stream.end('ok');
      });
    });
    const { clock, carry } = createUpstreams();
    const { body, come } = lateBody();
    const { carried, said } = carry(upstream.authority, post(upstream.authority, { body }), true);
    await asked.promise;
    expect(said).toEqual([]);
    clock.advance(2_000);
    expect(said).toEqual(['continue']);
    come();
    expect(await carried).toMatchObject({ status: 200, bytesIn: 5 });
    expect(expectations).toEqual(['100-continue']);
  });

  it('is replayed with a newer token after a 401 that preceded its body', async () => {
    const tokens: unknown[] = [];
    const { body, come } = lateBody();
    let read = '';
    const upstream = await http2Upstream((stream, _raw, fields) => {
      tokens.push(fields['authorization']);
      if (tokens.length === 1) {
        stream.respond({ ':status': 401 }, { endStream: true });
        return;
      }
      stream.additionalHeaders({ ':status': 100 });
      stream.on('data', (piece: Buffer) => (read += piece.toString()));
      stream.on('end', () => {
        stream.respond({});
        stream.end('ok');
      });
    });
    const fields = [...framed(5).fields, 'Authorization', 'Bearer new'];
    const more = { body, renew: () => Promise.resolve({ path: '/', fields }) };
    const { carried, said } = createUpstreams().carry(
      upstream.authority,
      post(upstream.authority, more),
      true,
    );
    while (!said.includes('continue')) await turn();
    expect(read).toBe('');
    come();
    expect(await carried).toMatchObject({ status: 200, bytesIn: 5 });
    expect(tokens).toEqual([undefined, 'Bearer new']);
    expect(read).toBe('hello');
  });
});
